"""A download is the repository's files, whole and right, and goes on after whatever ended it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llaso_data.cli import main
from llaso_data.io import hub_requests, storage
from llaso_data.io.hub_listing import HubFile
from llaso_data.io.lock import exclusive
from llaso_data.pipeline.download import licence, links, plan
from tests.support.fake_hub import FakeHub, fake_hub

REPO = "me/speech"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with one data set: a card, hidden and other small files, and one of 300 kB in a folder."""
    monkeypatch.setattr(hub_requests, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "2")
    folder = tmp_path / "hub" / REPO
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n", encoding="utf-8")
    (folder / ".gitattributes").write_text("*.zip lfs\n", encoding="utf-8")
    (folder / "empty.txt").touch()
    for number in range(4):
        (folder / "data" / f"{number}.bin").write_bytes(os.urandom(2000 if number else 300_000))
    with fake_hub(tmp_path / "hub") as running:
        running.page = 100
        yield running


def download(out: Path | str, *options: str, repo: str = REPO, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["download", repo, "--out", str(out), *options])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def summary(out: Path) -> dict[str, Any]:
    stated: dict[str, Any] = json.loads((out / ".llaso-download" / ".summary.json").read_text(encoding="utf-8"))
    assert stated["files"] == stated["kept"] + stated["compared"] + stated["fetched"] + len(stated["failed"])
    return stated


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for what a download keeps for itself."""
    paths = [path for path in folder.rglob("*") if path.is_file() and ".llaso-download" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_all_files_arrive_and_a_second_run_fetches_none(hub: FakeHub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = download(out).output
    assert contents(out) == contents(hub.root / REPO)
    assert "cc-by-nc-4.0: no commercial use" in said and f"is written to {out}" in said
    assert summary(out)["fetched"] == 7 and summary(out)["retries"] == 0
    assert sorted(path.name for path in (out / ".llaso-download").iterdir()) == [".summary.json", ".verified.json"]
    before = len(hub.seen)
    download(out)
    assert summary(out)["kept"] == 7
    assert len(hub.seen) - before == 3  # the commit, the list, the card's licence


@pytest.mark.parametrize("fault", ["502", "503", "429", "cut", "slow", "flip"])
def test_faults_change_no_byte(hub: FakeHub, tmp_path: Path, fault: str) -> None:
    hub.faults[".bin"] = [fault] * 2  # a file that is wrong three times has failed
    hub.retry_after, hub.slow_s = "0", 0.1
    download(tmp_path / "out")
    assert not hub.faults[".bin"] and contents(tmp_path / "out") == contents(hub.root / REPO)


def test_a_file_that_stays_wrong_fails_alone(hub: FakeHub, tmp_path: Path) -> None:
    hub.faults["0.bin"] = ["flip"] * 3
    said = download(tmp_path / "out", code=1).output
    assert "data/0.bin: the bytes that arrive are not those of the repository" in said
    assert "1 of 7 files failed" in said
    assert contents(tmp_path / "out").keys() == contents(hub.root / REPO).keys() - {"data/0.bin"}
    download(tmp_path / "out")
    assert summary(tmp_path / "out")["kept"] == 6 and contents(tmp_path / "out") == contents(hub.root / REPO)


def test_what_is_there_is_compared_once(hub: FakeHub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(hub.root / REPO, out)
    assert "7 (0.3 MB)" in download(out, "--dry-run").output
    assert not (out / ".llaso-download").exists()
    download(out)
    assert summary(out)["compared"] == 7
    download(out, "--verify")
    assert summary(out)["compared"] == 7
    download(out)
    assert summary(out)["kept"] == 7


def test_other_content_is_replaced_only_where_that_is_said(hub: FakeHub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "data").mkdir(parents=True)
    (out / "data" / "1.bin").write_bytes(b"mine")
    (out / "data" / "2.bin").write_bytes(bytes(2000))  # of the right size
    (out / "notes.txt").write_bytes(b"mine, too")
    said = download(out, code=2).output
    assert "1 files are there with other content" in said and "data/1.bin" in said
    assert not (out / "README.md").exists()
    (out / "data" / "1.bin").unlink()
    assert "(data/2.bin); --overwrite replaces them" in download(out, code=2).output
    download(out, "--overwrite")
    assert summary(out)["replaced"] == 1
    assert contents(out) == {**contents(hub.root / REPO), "notes.txt": b"mine, too"}


def test_patterns_choose_and_those_that_match_nothing_are_named(hub: FakeHub, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = download(out, "--include", "data/", "--include", "*.flac", "--exclude", "*/0.bin").output
    assert set(contents(out)) == {"data/1.bin", "data/2.bin", "data/3.bin"}
    assert "no file matches '*.flac'" in said
    assert "none of its 7 files is wanted" in download(out, "--include", "*.flac", code=2).output
    download(tmp_path / "below", repo=f"hf://datasets/{REPO}/data")
    assert set(contents(tmp_path / "below")) == {f"data/{number}.bin" for number in range(4)}


def test_a_dry_run_writes_nothing(hub: FakeHub, tmp_path: Path) -> None:
    said = download(tmp_path / "out", "--dry-run").output
    assert "7 (0.3 MB)" in said and "no commercial use" in said
    assert not (tmp_path / "out").exists()


def test_links_are_what_aria2c_takes(hub: FakeHub, tmp_path: Path) -> None:
    listed = tmp_path / "links.txt"
    result = CliRunner().invoke(main, ["download", REPO, "--links", str(listed), "--include", "data/*"])
    assert result.exit_code == 0, result.output
    lines = [line for line in listed.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    sum_of_0 = hashlib.sha256((hub.root / REPO / "data" / "0.bin").read_bytes()).hexdigest()
    commit = hub.commit("datasets", REPO)
    assert lines[:3] == [
        f"{hub.url}/datasets/{REPO}/resolve/{commit}/data/0.bin",
        "  out=data/0.bin",
        f"  checksum=sha-256={sum_of_0}",
    ]
    assert links.is_aria2_input(str(listed))
    listed.write_text("my own\nlines\n", encoding="utf-8")
    result = CliRunner().invoke(main, ["download", REPO, "--links", str(listed)])
    assert result.exit_code == 2 and "was not written by" in result.output


def test_two_runs_do_not_write_to_one_folder(hub: FakeHub, tmp_path: Path) -> None:
    with exclusive(str(tmp_path / "out"), "another"):
        assert "another run writes there" in download(tmp_path / "out", code=2).output


def test_parts_of_other_contents_are_swept_and_foreign_files_stay(hub: FakeHub, tmp_path: Path) -> None:
    hidden = tmp_path / "out" / ".llaso-download"
    hidden.mkdir(parents=True)
    for name in (f".{'0' * 32}.part", "mine.part"):
        (hidden / name).write_bytes(b"x")
    download(tmp_path / "out")
    assert sorted(path.name for path in hidden.iterdir()) == [".summary.json", ".verified.json", "mine.part"]


def test_a_folder_in_a_files_place_and_names_of_ours_are_refused(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "out" / "README.md").mkdir(parents=True)
    assert "a folder stands where a file" in download(tmp_path / "out", code=2).output
    (hub.root / REPO / ".llaso.lock").write_bytes(b"x")
    assert "has a name that this program uses" in download(tmp_path / "other", code=2).output


def test_names_that_differ_only_by_case_are_said(hub: FakeHub, tmp_path: Path) -> None:
    (hub.root / REPO / "readme.md").write_bytes(b"x")
    assert "2 names differ only by case" in download(tmp_path / "out").output


@pytest.mark.parametrize(
    ("repo", "kind", "revision", "uri"),
    [
        ("me/x", "dataset", None, "hf://datasets/me/x"),
        ("me/x", "model", "refs/pr/1", "hf://models/me/x@refs%2Fpr%2F1"),
        ("hf://datasets/me/x/data", "model", "v1", "hf://datasets/me/x@v1/data"),
        ("ms://me/x", "dataset", None, "ms://datasets/me/x"),
    ],
)
def test_words_become_an_address(repo: str, kind: str, revision: str | None, uri: str) -> None:
    assert plan.address(repo, kind, revision) == uri


def test_a_card_states_its_licence() -> None:
    assert licence.in_card("---\nlicense: [cc-by-4.0, mit]\n---\n") == "cc-by-4.0, mit"
    assert licence.in_card("---\nlicense: other\nlicense_name: mine\n---\n") == "other (mine)"
    assert licence.in_card("no front matter") is None and licence.in_card("---\na: [\n---\n") is None
    assert licence.is_non_commercial("cc-by-nc-sa-4.0") and not licence.is_non_commercial("cc-by-4.0")


def test_sums_of_git_are_what_git_says(tmp_path: Path) -> None:
    from llaso_data.io import hub_files

    state = hub_files.sum_of(HubFile("x", 6, None, "unknown"))
    state.update(b"hello\n")
    assert state.hexdigest() == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object


@pytest.mark.slow
def test_a_download_to_a_store_leaves_only_whole_files(hub: FakeHub, server: str, tmp_path: Path) -> None:
    out = "s3://speech/copy"
    hub.faults["2.bin"] = ["flip"] * 3
    download(out, code=1)
    download(out)
    (hub.root / REPO / "data" / "2.bin").write_bytes(b"other bytes of the repository")
    assert "with other content" in download(out, code=2).output
    download(out, "--overwrite")
    for path, data in contents(hub.root / REPO).items():
        assert storage.read_bytes(storage.join(out, path)) == data


@pytest.mark.slow
def test_sigkill_at_any_moment_and_the_same_command_again(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of 20 MB are taken up where they ended, and no file has a final name before it is whole."""
    for number in range(3):
        (hub.root / REPO / f"{number}.zip").write_bytes(os.urandom(20_000_000))
    true, out = contents(hub.root / REPO), tmp_path / "out"
    command = [sys.executable, "-c", "from llaso_data.cli import main; main()", "download", REPO, "--out", str(out)]
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "60")
    hub.slow_s = 30.0  # half of what is lacking comes in each round
    arrived = 0
    for _ in range(3):
        hub.faults[".zip"] = ["slow"] * 3
        process = subprocess.Popen([*command, "--workers", "3"], stderr=subprocess.DEVNULL)
        deadline, before = time.monotonic() + 60, arrived
        while (arrived := sum(path.stat().st_size for path in out.glob(".llaso-download/.*.part"))) < before + 10**6:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert all(true[path] == data for path, data in contents(out).items() if path != ".llaso.lock")
    hub.faults.clear()
    assert any(out.glob(".llaso-download/.*.part"))
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    assert contents(out) == true
    assert any(one.range for one in hub.seen if one.is_cdn)
    assert summary(out)["fetched_bytes"] < 60_000_000
