"""Tars that other programs wrote: each member is read rightly or named, and what is indexed can be streamed."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_data.shards import foreign, foreign_scan, reader
from llaso_data.shards.tar import ShardError
from llaso_data.shards.validate import validate
from llaso_data.stream.fetch import Fetcher
from llaso_data.stream.index_columns import IndexColumns
from tests.support.tars import Entry, packed, sparse

WAV, SECOND = (audio.encode(np.full(800, level, np.int16), "wav") for level in (50, 60))


def put(folder: Path, *entries: Entry, name: str = "x.tar") -> str:
    (folder / name).write_bytes(packed(entries))
    return str(folder)


def samples(uri: str) -> dict[str, dict[str, bytes]]:
    found = list(reader.iterate(uri))
    assert len(dict(found)) == len(found)
    return dict(found)


def closes(summary: foreign.IndexSummary) -> bool:
    return summary.members == summary.used + sum(summary.left_out.values())


def test_a_tar_in_the_order_of_a_folder_gives_whole_samples(tmp_path: Path) -> None:
    source = tmp_path / "source" / "sub.dir"
    source.mkdir(parents=True)
    for number in range(30):
        (source / f"u{number}.wav").write_bytes(WAV)
        (source / f"u{number}.txt").write_text(f"number {number}")
    names = [f"./sub.dir/u{n}.{kind}" for kind in ("wav", "txt") for n in range(30)]
    subprocess.run(["tar", "-cf", tmp_path / "x.tar", *names], cwd=source.parent, check=True)
    summary = foreign.index_foreign(str(tmp_path), strict=True)
    assert samples(str(tmp_path)) == {f"./sub.dir/u{n}": {"wav": WAV, "txt": f"number {n}".encode()} for n in range(30)}
    assert (summary.samples, summary.scattered, summary.problems, summary.skipped) == (30, 30, (), ())
    assert validate(str(tmp_path)).problems == ()


def test_links_are_read(tmp_path: Path) -> None:
    uri = put(
        tmp_path,
        ("late.wav", "-> ./a.wav"),
        ("late.txt", b"late"),
        ("./a.wav", WAV),
        ("./a.txt", b"first"),
        ("b/", b""),
        ("b/b.txt", b"second"),
        ("b/b.wav", "=> ./a.wav"),
        ("b/c.wav", "-> ../b/b.wav"),
        ("b/c.txt", "-> b.txt"),
    )
    summary = foreign.index_foreign(uri, strict=True)
    assert samples(uri) == {
        "late": {"wav": WAV, "txt": b"late"},
        "./a": {"wav": WAV, "txt": b"first"},
        "b/b": {"wav": WAV, "txt": b"second"},
        "b/c": {"wav": WAV, "txt": b"second"},
    }
    assert (summary.links, summary.left_out, closes(summary)) == (4, {"folders": 1}, True)
    assert summary.hours == round(4 * 0.05 / 3600, 6)
    assert validate(uri).problems == ()


def test_joined_tars_are_indexed_to_the_last_end(tmp_path: Path) -> None:
    data = b"".join(packed([(f"{n}.wav", WAV), (f"{n}.txt", b"x")]) for n in range(3))
    (tmp_path / "x.tar").write_bytes(data)
    summary = foreign.index_foreign(str(tmp_path), strict=True)
    assert (list(samples(str(tmp_path))), summary.joined) == (["0", "1", "2"], 2)
    assert validate(str(tmp_path)).problems == ()


def test_names_with_dots(tmp_path: Path) -> None:
    uri = put(
        tmp_path,
        *((f"utt.000{n}.{kind}", data) for n in (1, 2) for kind, data in (("WAV", WAV), ("txt", b"x"))),
        *((f"k.{n}.wav", WAV) for n in (0, 1)),
        ("talk_1.5_2.5.wav", WAV),
        ("talk_1.5_2.5.json", b'{"text": "hello"}'),
    )
    summary = foreign.index_foreign(uri, strict=True)
    assert {key: sorted(parts) for key, parts in samples(uri).items()} == {
        "utt.0001": ["txt", "wav"],
        "utt.0002": ["txt", "wav"],
        "k": ["0.wav", "1.wav"],
        "talk_1": ["5_2.5.json", "5_2.5.wav"],
    }
    assert summary.keys_to_the_last_dot == 2
    assert reader.open_index(uri).table["text_bytes"].to_pylist() == [1, 1, 0, 5]


LOSSES: dict[str, tuple[list[Entry] | bytes, str]] = {
    "repeated": ([("a.wav", WAV), ("a.wav", SECOND)], "x.tar!a.wav: it comes again"),
    "repeated far away": ([("a.wav", WAV), ("b.wav", WAV), ("a.wav", SECOND)], "x.tar!a.wav: it comes again"),
    "repeated in upper case": ([("a.wav", WAV), ("a.WAV", SECOND)], "x.tar!a.WAV: it comes again"),
    "no audio": ([("a.wav", WAV), ("b.txt", b"x")], "x.tar!b: it has no audio"),
    "link to nothing": ([("a.wav", WAV), ("b.wav", "-> c.wav")], "x.tar!b.wav: a link to c.wav, which is not in"),
    "link out": ([("a.wav", WAV), ("b.wav", "-> /etc/passwd")], "x.tar!b.wav: a link to /etc/passwd, out of"),
    "link to itself": ([("a.wav", WAV), ("b.wav", "-> b.wav")], "x.tar!b.wav: a link that leads back"),
    "hidden": ([("a.wav", WAV), ("__MACOSX/._a.wav", b"\0")], "x.tar!__MACOSX/._a.wav: it belongs to no sample"),
    "no ending": ([("a.wav", WAV), ("README", b"hi")], "x.tar!README: it belongs to no sample"),
    "unreadable": ([("a.wav", WAV), ("b.wav", b"RIFF")], "x.tar!b.wav: "),
    "empty": ([("a.wav", WAV), ("b.wav", b"")], "x.tar!b.wav: "),
    "text": ([("a.wav", WAV), ("a.txt", b"\xff")], "x.tar!a.txt: not UTF-8 (byte at 0)"),
    "JSON": ([("a.wav", WAV), ("a.json", b"{")], "x.tar!a.json: not readable JSON"),
    "a name": ([("a.wav", WAV), ("\udcff.wav", WAV)], "x.tar!\\udcff.wav: its name is not UTF-8"),
    "sparse": (packed([("a.wav", WAV)])[:2560] + sparse("b.wav", WAV), "x.tar!b.wav: it is stored sparse"),
    "no end": (packed([("a.wav", WAV)])[:2560], "x.tar: its end is not marked"),
    "leftovers": (packed([("a.wav", WAV)]) + b"no tar" * 99, "x.tar: after the end, from byte 10240 on"),
    "nothing": (bytes(10_240), "x.tar: it holds no members"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_cannot_be_read_is_named_and_strict_indexing_refuses_it(tmp_path: Path, loss: str) -> None:
    content, what = LOSSES[loss]
    (tmp_path / "x.tar").write_bytes(content if isinstance(content, bytes) else packed(content))
    with pytest.raises(ShardError) as refused:
        foreign.index_foreign(str(tmp_path), strict=True)
    assert what in str(refused.value)
    assert not (tmp_path / "manifest.json").exists()
    summary = foreign.index_foreign(str(tmp_path))
    assert summary.reused == 1 and closes(summary)
    assert what.partition(":")[0] in {
        name.partition(":")[0] for name in (*summary.problems, *summary.without_audio, *summary.skipped)
    }
    if loss != "nothing":
        assert samples(str(tmp_path))["a"]["wav"] == WAV
    named = [problem.what for problem in validate(str(tmp_path)).problems]
    assert len(named) == len(summary.problems)
    with pytest.raises(ShardError, match="strict"):
        foreign.index_foreign(str(tmp_path), strict=True)


def test_a_sample_that_was_cut_in_two_tars_is_named(tmp_path: Path) -> None:
    put(tmp_path, ("a.wav", WAV), ("a.txt", b"x"), ("b.wav", WAV), name="0.tar")
    uri = put(tmp_path, ("b.txt", b"y"), ("c.wav", WAV), name="1.tar")
    summary = foreign.index_foreign(uri)
    assert summary.problems == ("0.tar!b: half a sample; other parts of it are in 1.tar",)
    assert summary.without_audio == ("1.tar!b",)


def test_only_folders_and_metadata_may_be_left_out_of_a_strict_index(tmp_path: Path) -> None:
    uri = put(tmp_path, ("__info__", b"{}"), ("a.d/", b""), ("a.d/__x__.wav", WAV), ("__meta__/x.json", b"{}"))
    summary = foreign.index_foreign(uri, strict=True)
    assert summary.left_out == {"folders": 1, "metadata": 2}
    assert list(samples(uri)) == ["a.d/__x__"]


def test_a_list_of_names_ends_and_its_count_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_scan, "MAX_NAMES", 3)
    uri = put(tmp_path, *((f"name {n}", b"x") for n in range(9)))
    assert foreign.index_foreign(uri).skipped == (*(f"x.tar!name {n}" for n in range(3)), "x.tar: 6 more")


def test_an_index_of_the_version_before_is_written_again(tmp_path: Path) -> None:
    uri = put(tmp_path, ("a.wav", WAV))
    foreign.index_foreign(uri)
    changed = put(tmp_path, ("a.wav", WAV), ("b.wav", "=> a.wav"))
    assert validate(changed).problems != ()
    assert foreign.index_foreign(changed).samples == 2
    assert validate(changed).problems == ()


PARTS = st.sampled_from(["wav", "txt", "json", "seg.bin", "0.flac", "1.flac", "TXT", ""])
KEYS = st.lists(st.sampled_from(["a", "b c", "d/é", "x.y/z", "q-1"]), unique=True, max_size=4)


@given(KEYS, st.data())
def test_neighbours_are_the_samples_that_webdataset_reads(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], data: Any
) -> None:
    parts = {key: data.draw(st.lists(PARTS, unique_by=str.lower, min_size=1, max_size=4)) for key in keys}
    entries = [(f"{key}.{part}", f"{key} {part}".encode()) for key in keys for part in parts[key]]
    folder = tmp_path_factory.mktemp("neighbours")
    (folder / "x.tar").write_bytes(packed([*entries, ("README", b""), ("__meta__/x.wav", b"")], tarfile.PAX_FORMAT))
    foreign.index_foreign(str(folder))
    theirs = [
        (sample["__key__"], {part: value for part, value in sample.items() if not part.startswith("__")})
        for sample in webdataset.WebDataset(str(folder / "x.tar"), shardshuffle=False, empty_check=False)
    ]
    assert list(reader.iterate(str(folder))) == theirs


def test_parts_far_apart_are_fetched_one_by_one() -> None:
    store = fsspec.filesystem("memory")
    filling = [(f"{n}.bin", bytes(400_000)) for n in range(3)]
    store.pipe_file("/far/x.tar", packed([("a.wav", WAV), ("b.wav", "=> a.wav"), *filling, ("b.txt", b"x")]))
    try:
        foreign.index_foreign("memory://far")
        columns = IndexColumns.open("memory://far")
        rows = np.arange(len(columns))
        asked: list[tuple[int, int]] = []
        plain = store.cat_ranges

        def counted(paths: list[str], starts: list[int], ends: list[int], **options: Any) -> Any:
            asked.extend(zip(starts, ends, strict=True))
            return plain(paths, starts, ends, **options)

        places = {place.key: place for place in columns.places(rows)}
        store.cat_ranges = counted
        (found,) = Fetcher().read([(columns.index.shards[0], places["b"])], "")
        assert found == {"wav": WAV, "txt": b"x"}
        assert sum(stop - start for start, stop in asked) == len(WAV) + 1
        assert columns.sizes(rows).tolist() == [len(WAV), len(WAV) + 1, 400_000, 400_000, 400_000]
    finally:
        del store.cat_ranges
        store.rm("/far", recursive=True)


def test_of_neighbours_little_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_scan, "BATCH_ROWS", 50)
    blocks = []
    for number in range(2000):
        for kind in ("txt", "cls"):
            info = tarfile.TarInfo(f"{number:08d}.{kind}")
            info.size = 1
            blocks.append(info.tobuf(tarfile.USTAR_FORMAT) + b"1".ljust(512, b"\0"))
    (tmp_path / "x.tar").write_bytes(b"".join(blocks) + bytes(1024))
    foreign_scan.scan(str(tmp_path / "x.tar"))
    tracemalloc.start()
    table, findings = foreign_scan.scan(str(tmp_path / "x.tar"))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (table.num_rows, findings.members) == (2000, 4000)
    assert peak_bytes < 2_000_000


def test_a_listing_of_the_cli(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from llaso_data.cli import main

    uri = put(tmp_path, ("a.wav", WAV), ("b.wav", "-> c.wav"))
    shown = CliRunner().invoke(main, ["index", uri, "--language", "en", "--json"])
    assert json.loads(shown.output)["problems"] == ["x.tar!b.wav: a link to c.wav, which is not in the archive"]
    assert reader.open_index(uri).table["language"].to_pylist() == ["en"]
    refused = CliRunner().invoke(main, ["index", uri, "--strict"])
    assert refused.exit_code == 2 and "x.tar!b.wav" in refused.output


def test_buffered_names_are_no_members(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("ü" * 90 + "/a.wav")
        info.size, info.mtime = len(WAV), 1.5
        archive.addfile(info, io.BytesIO(WAV))
    (tmp_path / "x.tar").write_bytes(buffer.getvalue())
    summary = foreign.index_foreign(str(tmp_path), strict=True)
    assert (summary.members, list(samples(str(tmp_path)))) == (1, ["ü" * 90 + "/a"])


@pytest.mark.parametrize("name", ["x.tar", "x-{00..01}.tar"])
def test_a_tar_that_is_not_there_is_said_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(LLaSOError, match="no such tar; name a tar or a folder of tars"):
        foreign.index_foreign(str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []
