"""A repository of the hub is a source as a folder on a disk is, and what it has now is what is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from llaso_data import formats
from llaso_data.cli import main
from llaso_data.io import hub_requests, storage
from llaso_data.io.store_errors import AddressError, StoreError
from llaso_data.recipe import SourceSpec
from tests.conftest import Clip
from tests.support.corpora import english, files
from tests.support.fake_hub import FakeHub, fake_hub

ROOT = "hf://datasets/me/speech"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with a data set of a card and two files in a folder."""
    monkeypatch.setattr(hub_requests, "_FIRST_WAIT_S", 0.002)
    folder = tmp_path / "hub" / "me" / "speech"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_bytes(b"# speech\n")
    (folder / ".gitattributes").write_bytes(b"x")
    (folder / "data" / "a.bin").write_bytes(b"a" * 5000)
    with fake_hub(tmp_path / "hub") as running:
        yield running


def test_a_listing_has_sums_as_versions_and_costs_one_list(hub: FakeHub) -> None:
    listed = storage.listing(ROOT)
    assert [(row["path"], row["size"]) for row in listed] == [("README.md", 9), ("data/a.bin", 5000)]
    assert listed[1]["version"] == hub.entry("datasets", "me/speech", "data/a.bin")["lfs"]["oid"]
    assert listed[1]["name"] == "datasets/me/speech/data/a.bin"
    assert len(hub.seen) == 3  # the commit, and four entries in two pages
    assert storage.stat(f"{ROOT}/data/a.bin")["version"] == listed[1]["version"]
    assert storage.stat(f"{ROOT}/README.md")["version"] == listed[0]["version"]
    assert [row["path"] for row in storage.listing(f"{ROOT}/data")] == ["a.bin"]
    assert storage.listing(f"{ROOT}/nowhere") == []


def test_nothing_stale_is_believed(hub: FakeHub) -> None:
    assert storage.read_bytes(f"{ROOT}/data/a.bin") == b"a" * 5000
    (hub.root / "me" / "speech" / "data" / "a.bin").write_bytes(b"b" * 6000)
    (hub.root / "me" / "speech" / "data" / "c.bin").write_bytes(b"c")
    assert storage.read_bytes(f"{ROOT}/data/a.bin") == b"b" * 6000
    assert storage.exists(f"{ROOT}/data/c.bin")
    assert [row["path"] for row in storage.listing(f"{ROOT}/data")] == ["a.bin", "c.bin"]


def test_an_open_file_is_read_by_one_request_a_block(hub: FakeHub) -> None:
    with storage.open_read(f"{ROOT}/data/a.bin") as file:
        file.seek(4000)
        assert file.read(10) == b"a" * 10
        file.seek(0)
        assert len(file.read()) == 5000
    assert len(hub.seen) == 3  # its address, and two parts
    hub.seen.clear()
    parts = storage.filesystem(ROOT)[0].cat_ranges(["datasets/me/speech/data/a.bin"] * 3, [0, 10, 20], [5, 15, 25])
    assert parts == [b"a" * 5] * 3 and len(hub.seen) == 4


def test_what_is_there_and_what_is_not(hub: FakeHub) -> None:
    assert storage.exists(ROOT) and not storage.is_file(ROOT)
    assert storage.exists(f"{ROOT}/data") and not storage.is_file(f"{ROOT}/data")
    assert storage.is_file(f"{ROOT}/data/a.bin") and not storage.exists(f"{ROOT}/data/b.bin")
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{ROOT}/data/b.bin")
    with pytest.raises(AddressError, match="no such repository"):
        storage.exists("hf://datasets/me/other")


def test_a_hub_that_fails_is_no_hub_without_the_file(hub: FakeHub) -> None:
    hub.api_faults["a.bin"] = ["503"] * 2
    assert storage.exists(f"{ROOT}/data/a.bin")
    hub.api_faults["a.bin"] = ["503"] * 20
    with pytest.raises(StoreError, match="the server answered 503"):
        storage.exists(f"{ROOT}/data/a.bin")


def test_bytes_that_arrive_damaged_are_fetched_again(hub: FakeHub) -> None:
    hub.faults["a.bin"] = ["flip"]
    assert storage.read_bytes(f"{ROOT}/data/a.bin") == b"a" * 5000
    hub.faults["a.bin"] = ["flip"] * 3
    with pytest.raises(StoreError, match="arrives damaged"):
        storage.read_bytes(f"{ROOT}/data/a.bin")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["folder", "hf_parquet", "audiofolder", "llaso_json"])
def test_a_conversion_from_the_hub_is_that_of_the_folder(
    hub: FakeHub, clips: list[Clip], tmp_path: Path, layout: str
) -> None:
    """The same samples come of a repository and of a copy of it, at the price of few requests."""
    repository = hub.root / "me" / "corpus"
    source = english(repository if layout == "folder" else tmp_path / "speech", clips, gains=(1.0,))
    if layout == "audiofolder":
        shutil.copytree(source, repository)
        texts = [(path, path.with_suffix(".txt")) for path in sorted(repository.glob("*.wav"))]
        rows = [{"file_name": path.name, "transcription": text.read_text(encoding="utf-8")} for path, text in texts]
        (repository / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    elif layout != "folder":
        converted(str(source), repository, "--to", layout, "--language", "en", "--audio", "flac")
    hub.page = 1000
    stated = "--language", "en", "--corpus", "test", "--from", layout, "--to", "hf_parquet"
    converted(str(repository), tmp_path / "there", *stated)
    hub.seen.clear()
    converted("hf://datasets/me/corpus", tmp_path / "here", *stated)
    made, expected = (
        {path: data for path, data in files(tmp_path / name).items() if path.startswith("data/")}
        for name in ("here", "there")
    )
    assert made == expected and len(expected) == 1
    assert len(hub.seen) <= 25


def test_shards_and_single_files_of_the_hub_are_sources(hub: FakeHub, clips: list[Clip], tmp_path: Path) -> None:
    repository = hub.root / "me" / "corpus"
    converted(str(english(tmp_path / "speech", clips[:3], gains=(1.0,))), repository, "--language", "en")
    written, ids = [], []
    for name, root in (("here", "hf://datasets/me/corpus"), ("there", str(repository))):
        converted(root, tmp_path / name, "--to", "hf_parquet", "--corpus", "c")
        written.append({path: data for path, data in files(tmp_path / name).items() if path.startswith("data/")})
        ids.append([one.utterance.id for one in formats.read(SourceSpec(path=f"{root}/shard-000000.tar", corpus="c"))])
    assert written[0] == written[1] and len(written[0]) == 1
    assert ids[0] == ids[1] and ids[0]


def converted(source: str, out: Path, *options: str) -> None:
    words = ["convert", source, "--out", str(out), "--engine", "local", "--num-workers", "1", *options]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output + repr(result.exception)
