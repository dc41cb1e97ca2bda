"""Audio inside zips and tables is opened where it lies, row by row, and nothing that a hostile one says is believed."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llaso_data import audio
from llaso_data.audio import limited
from llaso_data.errors import AudioError
from llaso_data.io import table_cells, zip_members
from llaso_data.io.archive import ArchiveError
from llaso_data.io.table_cells import cell_name
from tests.conftest import Clip

ROWS = 30


def sounds(clips: list[Clip]) -> list[bytes]:
    return [clips[number % len(clips)].path.read_bytes() for number in range(ROWS)]


def rows_of(data: list[bytes]) -> pa.Table:
    return pa.table({"audio": [{"bytes": one, "path": f"{n}.wav"} for n, one in enumerate(data)], "text": ["x"] * ROWS})


def write(path: Path, table: pa.Table) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=7)
    else:
        make = pa.ipc.new_file if path.stem == "file" else pa.ipc.new_stream
        with make(str(path), table.schema) as writer:
            for batch in table.to_batches(7):
                writer.write_batch(batch)
    return path


def opened(path: Path | str, member: str) -> bytes:
    with audio.open_audio(str(path), member) as file:
        return file.read()


@pytest.fixture(params=["table.parquet", "file.arrow", "stream.arrow"])
def table(request: pytest.FixtureRequest, tmp_path: Path, clips: list[Clip]) -> Path:
    return write(tmp_path / request.param, rows_of(sounds(clips)))


def test_every_row_of_a_table_in_any_order(table: Path, clips: list[Clip]) -> None:
    data = sounds(clips)
    for row in (*range(ROWS), *reversed(range(ROWS)), 0, 29, 3, 3):
        assert opened(table, cell_name("audio", row)) == data[row]
    assert opened(table, "audio/3") == data[3]


def test_a_row_is_decoded_in_the_limited_process_as_its_file_is(table: Path, clips: list[Clip]) -> None:
    for row in (0, 8, 9):
        pcm, probe = limited.decode(str(table), cell_name("audio", row))
        expected, of_file = audio.decode(str(clips[row].path))
        assert np.array_equal(pcm, expected)
        assert probe == of_file


@pytest.mark.parametrize("name", ["table.parquet", "stream.arrow", "archive.zip"])
def test_on_a_store(name: str, tmp_path: Path, clips: list[Clip]) -> None:
    if name.endswith("zip"):
        path = zipped(tmp_path / name, clips, zipfile.ZIP_DEFLATED)
    else:
        path = write(tmp_path / name, rows_of(sounds(clips)))
    fsspec.filesystem("memory").pipe_file(f"/members/{name}", path.read_bytes())
    member = inside(clips[9]) if name.endswith("zip") else cell_name("audio", 9)
    pcm, _ = audio.decode(f"memory://members/{name}", member)
    assert np.array_equal(pcm, audio.decode(str(clips[9].path))[0])


def test_rows_in_order_read_a_row_group_once(
    tmp_path: Path, clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.parquet", rows_of(sounds(clips)))
    count = 0
    read = table_cells.WatchedFile.read

    def counted(self: Any, size: int = -1) -> bytes:
        nonlocal count
        data = read(self, size)
        count += len(data)
        return data

    monkeypatch.setattr(table_cells.WatchedFile, "read", counted)
    for row in range(ROWS):
        opened(path, cell_name("audio", row))
    assert count < 1.2 * path.stat().st_size


def test_a_large_row_group_is_never_whole_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 rows of 1 MiB in one row group, whose pages have four rows each."""
    rows = [{"bytes": os.urandom(1 << 20), "path": None} for _ in range(200)]
    pq.write_table(pa.table({"audio": rows}), tmp_path / "a.parquet", write_batch_size=4)
    before = pa.total_allocated_bytes()
    most = 0
    for row in range(200):
        assert opened(tmp_path / "a.parquet", cell_name("audio", row)) == rows[row]["bytes"]
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 64 << 20


def test_a_fork_and_a_changed_file_read_what_is_there(tmp_path: Path, clips: list[Clip]) -> None:
    data = sounds(clips)
    path = write(tmp_path / "a.parquet", rows_of(data))
    assert opened(path, "audio/0") == data[0]
    child = os.fork()
    if not child:
        os._exit(0 if [opened(path, f"audio/{row}") for row in range(ROWS)] == data else 1)
    here = [opened(path, f"audio/{row}") for row in range(ROWS)]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert here == data
    write(path, rows_of(data[::-1]))
    assert opened(path, "audio/0") == data[-1]


def test_sounds_in_lists_are_counted_over_the_row(tmp_path: Path) -> None:
    content = [
        {"type": "text", "text": "what?", "audio": None},
        {"type": "audio", "text": None, "audio": {"bytes": b"one", "path": None}},
    ]
    messages = [
        [{"role": "user", "content": content}, {"role": "assistant", "content": content[:1]}],
        None,
        [{"role": "user", "content": [content[1], content[1]]}],
    ]
    several = [[{"bytes": b"a", "path": "a.wav"}, {"bytes": b"b", "path": None}], [], None]
    rows = pa.table({"messages": messages, "audios": several, "flac": [b"x", None, b"z"]})
    for path in (write(tmp_path / "a.parquet", rows), write(tmp_path / "stream.arrow", rows)):
        assert opened(path, "messages/0/1") == b"one"
        assert opened(path, "messages/2/1") == b"one"
        assert opened(path, "audios/0/1") == b"b"
        assert opened(path, "flac/2") == b"z"
        for absent in ("messages/0/0", "messages/0/3", "messages/1/0", "audios/1/0", "audios/2/0", "flac/1"):
            with pytest.raises(AudioError, match="holds no sound there") as raised:
                opened(path, absent)
            assert raised.value.reason == "missing"


@pytest.mark.parametrize("member", ["audio/30", "audio/999999999999999999", "sound/0", "text/0", "audio", "audio/x"])
def test_a_cell_that_is_not_there_is_missing(table: Path, member: str) -> None:
    with pytest.raises(AudioError) as raised:
        opened(table, member)
    assert raised.value.reason == "missing"
    assert str(table) in raised.value.detail


def test_where_the_sound_is_said_when_it_is_not_inside(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.table({"audio": pa.array([{"bytes": None, "path": "x/y.wav"}], SOUND)}))
    with pytest.raises(AudioError, match=r"names 'x/y\.wav'"):
        opened(tmp_path / "a.parquet", "audio/0")


SOUND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_damaged_tables_are_unreadable(table: Path) -> None:
    data = table.read_bytes()
    for broken in (b"", b"PAR1", data[:100], data[: len(data) // 2], b"x" * 5000):
        table.write_bytes(broken)
        with pytest.raises(AudioError) as raised:
            limited.decode(str(table), "audio/29")
        assert raised.value.reason in ("unreadable", "missing")


def test_an_arrow_file_that_lies_of_its_lengths_does_no_harm(tmp_path: Path, clips: list[Clip]) -> None:
    path = write(tmp_path / "stream.arrow", rows_of(sounds(clips)))
    data = bytearray(path.read_bytes())
    offsets = struct.pack("<3i", 0, *np.cumsum([len(one) for one in sounds(clips)[:2]]))
    place = data.find(offsets)
    assert place > 0
    data[place : place + 12] = struct.pack("<3i", 0, 2**31 - 1, 5)
    path.write_bytes(data)
    with pytest.raises(AudioError) as raised:
        opened(path, "audio/0")
    assert raised.value.reason == "unreadable"


# Zips


def inside(clip: Clip) -> str:
    return f"sub/{clip.language}/{clip.path.name}"


def zipped(path: Path, clips: list[Clip], method: int) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("sub/", "")
        for clip in clips:
            archive.write(clip.path, inside(clip))
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n"])
def test_members_of_a_zip(tmp_path: Path, clips: list[Clip], method: int, before: bytes) -> None:
    path = zipped(tmp_path / "a.zip", clips, method)
    path.write_bytes(before + path.read_bytes())
    assert list(zip_members.directory(str(path)).members) == [inside(clip) for clip in clips]
    for clip in clips[:4]:
        assert opened(path, inside(clip)) == clip.path.read_bytes()
    pcm, _ = limited.decode(str(path), inside(clips[0]))
    assert np.array_equal(pcm, audio.decode(str(clips[0].path))[0])
    for absent in ("sub/", "sub", "../a.zip", "/etc/passwd", clips[0].path.name):
        with pytest.raises(AudioError) as raised:
            opened(path, absent)
        assert raised.value.reason == "missing"


def test_of_equal_names_the_first_counts(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a", "first")
        archive.writestr("a", "second")
    assert opened(tmp_path / "a.zip", "a") == b"first"
    assert zip_members.directory(str(tmp_path / "a.zip")).repeated == ("a",)


def hostile_zips() -> Iterator[tuple[str, bytes, str]]:
    """Name, bytes, and what the failure says of the member ``a``."""

    def made(method: int, content: bytes = b"hello" * 100) -> bytearray:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", method) as archive:
            archive.writestr("a", content)
        return bytearray(data.getvalue())

    encrypted = made(zipfile.ZIP_STORED)
    encrypted[encrypted.index(b"PK\1\2") + 8] |= 1
    yield "encrypted", encrypted, "encrypted"
    yield "bzip2", made(zipfile.ZIP_BZIP2), "packed by method 12"
    longer = made(zipfile.ZIP_DEFLATED)
    struct.pack_into("<I", longer, longer.index(b"PK\1\2") + 24, 100)
    yield "bomb", longer, "its size is another"
    huge = made(zipfile.ZIP_DEFLATED)
    struct.pack_into("<I", huge, huge.index(b"PK\1\2") + 24, 0xFFFFFFF0)
    yield "huge", huge, "are inflated at most"
    flipped = made(zipfile.ZIP_DEFLATED)
    flipped[35] ^= 0xFF
    yield "flipped", flipped, "damaged"
    elsewhere = made(zipfile.ZIP_STORED)
    struct.pack_into("<I", elsewhere, elsewhere.index(b"PK\1\2") + 42, 7)
    yield "elsewhere", elsewhere, "damaged where a member should begin"
    beyond = made(zipfile.ZIP_STORED)
    for place in (20, 24):
        struct.pack_into("<I", beyond, beyond.index(b"PK\1\2") + place, 1 << 30)
    yield "beyond", beyond, "damaged where a member should begin"
    wide = made(zipfile.ZIP_STORED)
    struct.pack_into("<I", wide, wide.index(b"PK\5\6") + 12, 1 << 31)
    yield "directory", wide, "states a directory of 2,048 MiB"
    yield "cut", made(zipfile.ZIP_STORED)[:-30], "not a readable zip"
    yield "none", bytearray(b"hello" * 100), "not a readable zip"


def test_hostile_zips_are_unreadable(tmp_path: Path) -> None:
    for name, data, says in hostile_zips():
        path = tmp_path / f"{name}.zip"
        path.write_bytes(data)
        with pytest.raises(AudioError, match=says) as raised:
            opened(path, "a")
        assert raised.value.reason == "unreadable", name


def test_a_zip_of_a_million_names_in_a_small_directory_is_listed_within_its_limit(tmp_path: Path) -> None:
    """zip64: the end's count is all ones, and the true length of the directory stands before it."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(66_000):
            archive.writestr(f"{number}", b"")
    assert len(zip_members.directory(str(path)).members) == 66_000
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, data.rindex(b"PK\6\6") + 40, 1 << 40)
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="states a directory of"):
        zip_members.directory(str(path))
