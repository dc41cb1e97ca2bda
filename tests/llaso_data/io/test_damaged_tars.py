"""Tars in any dialect, and with headers that lie: every member is there or counted by name."""

from __future__ import annotations

import io
import subprocess
import time
import tracemalloc
from pathlib import Path

import pytest

from llaso_data import audio
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.formats.files.text import MAX_TEXT_BYTES
from llaso_data.io import archive
from llaso_data.io.tar_members import BLOCK_BYTES, MAX_HEADER_BYTES
from llaso_data.shards.tar import header
from tests.support.corpus_rows import failures, utterances


def block(name: str, size: bytes, flag: bytes = b"0") -> bytes:
    """A header with any size field and flag, and a right checksum."""
    made = bytearray(header(name, 0))
    made[124:136], made[156:157], made[148:156] = size.ljust(12, b"\0"), flag, b" " * 8
    made[148:156] = b"%06o\0 " % sum(made)
    return bytes(made)


def filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK_BYTES)


def base_256(size: int) -> bytes:
    return size.to_bytes(12, "big", signed=size < 0) if size < 0 else bytes((0x80,)) + size.to_bytes(11, "big")


def pax(*records: bytes) -> bytes:
    data = b"".join(records)
    return block("pax", b"%011o" % len(data), b"x") + filled(data)


GOOD = block("a.wav", b"4") + filled(b"RIFF")
LAST = block("z.wav", b"4") + filled(b"RIFF") + bytes(1024)


CASES: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    # what stands between two good members, and the failures: (reason, part of the detail)
    "size 2^80": (block("b.wav", base_256(1 << 80)), [("truncated", "ends inside b.wav")]),
    "negative": (block("b.wav", base_256(-512)), [("truncated", "impossible size (byte 1024)")]),
    "no number": (block("b.wav", b"9z"), [("truncated", "impossible size")]),
    "flipped": (GOOD[:100] + b"\1" + GOOD[101:], [("truncated", "no readable tar header")]),
    "sparse": (block("b.wav", b"0", b"S"), [("unreadable", "stored sparse")]),
    "garbage in PAX": (pax(b"garbage \xff") + block("b.wav", b"0"), [("truncated", "a damaged PAX header")]),
    "PAX size": (pax(b"13 size=many\n") + block("b.wav", b"0"), [("truncated", "impossible size")]),
    "PAX 2^80": (
        pax(b"34 size=1208925819614629174706176\n") + block("b.wav", b"0"),
        [("truncated", "impossible size")],
    ),
    "huge header": (
        block("L", b"%011o" % (MAX_HEADER_BYTES + 1), b"L")
        + filled(bytes(MAX_HEADER_BYTES + 1))
        + block("b.wav", b"0"),
        [("truncated", "a header of 1,048,577 bytes")],
    ),
    "zeros between": (bytes(1024), []),
    "garbage after the end": (bytes(1024) + b"x" * 512, [("truncated", "comes what is no tar")]),
}


@pytest.mark.parametrize("name", CASES)
def test_headers_that_lie(tmp_path: Path, name: str) -> None:
    data, expected = CASES[name]
    (tmp_path / "a.tar").write_bytes(GOOD + data + LAST)
    found = utterances(tmp_path / "a.tar")
    stops = any(reason == "truncated" for reason, _ in expected)
    heard = ["a.wav"] if stops else ["a.wav", "z.wav"]
    assert [u.source.member for u in found if u.failure is None] == heard
    assert [reason for reason, _ in failures(found)] == [reason for reason, _ in expected]
    for (_, detail), (_, part) in zip(failures(found), expected, strict=True):
        assert part in detail and str(tmp_path / "a.tar") in detail


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0", None])
def test_what_gnu_tar_stores_sparse_is_named(tmp_path: Path, version: str | None) -> None:
    with (tmp_path / "b.wav").open("wb") as file:
        for place in range(0, 40 << 20, 1 << 20):  # more pieces than a header has room for
            file.seek(place)
            file.write(b"x" * 4096)
    (tmp_path / "z.wav").write_bytes(b"RIFF")
    kind = ["--format=gnu"] if version is None else ["--format=posix", f"--sparse-version={version}"]
    made = subprocess.run(
        ["tar", "-C", tmp_path, "-S", *kind, "-cf", tmp_path / "a.tar", "b.wav", "z.wav"], check=False
    )
    if made.returncode:
        pytest.skip("needs GNU tar")
    found = utterances(tmp_path / "a.tar")
    assert [u.source.member for u in found if u.failure is None] == ["z.wav"]
    assert failures(found)[0][0] == "unreadable" and "b.wav: it is stored sparse" in failures(found)[0][1]


def test_archives_of_nothing_are_counted(tmp_path: Path) -> None:
    for name, data in {
        "empty": b"",
        "zeros": bytes(10_240),
        "odd": bytes(700),
        "folder": block("x/", b"0", b"5"),
    }.items():
        (tmp_path / f"{name}.tar").write_bytes(data)
    (tmp_path / "packed.tar.gz").write_bytes(b"\x1f\x8b\x08")
    (tmp_path / "z.tar").write_bytes(LAST)
    found = utterances(tmp_path, type="webdataset")
    assert [u.source.member for u in found if u.failure is None] == ["z.wav"]
    reasons = {u.source.uri.rpartition("/")[2]: u.failure.reason for u in found if u.failure}
    assert reasons == {"empty.tar": "unreadable", "packed.tar.gz": "unreadable"} | dict.fromkeys(
        ("zeros.tar", "odd.tar", "folder.tar"), "empty"
    )


def test_a_member_of_what_is_no_tar_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match="not a plain tar") as caught:
        audio.decode(str(tmp_path / "a.wav"), "x.wav")
    assert caught.value.reason == "unreadable"


def test_long_transcripts_are_not_read(tmp_path: Path) -> None:
    """Of six gigabytes, which no disk holds here; the file has holes."""
    size = 6 << 30
    with (tmp_path / "a.tar").open("wb") as file:
        for name in ("a.txt", "b.json"):
            file.write(block(name, base_256(size)))
            file.seek(size, io.SEEK_CUR)
            file.write(block(f"{name[0]}.wav", b"4") + filled(b"RIFF"))
        file.write(block("c.txt", b"%011o" % MAX_TEXT_BYTES) + b"x" * MAX_TEXT_BYTES)
        file.write(block("c.wav", b"4") + filled(b"RIFF") + bytes(1024))
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.wav").write_bytes(b"RIFF")
    with (tmp_path / "f" / "a.txt").open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    found = [*utterances(tmp_path / "a.tar"), *utterances(tmp_path / "f")]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6
    assert [reason for reason, _ in failures(found)] == ["bad_text"] * 3
    assert all("longer than 16 MiB" in detail for _, detail in failures(found))


def test_many_small_members_take_little(tmp_path: Path) -> None:
    """20 thousand; bench/tar_listing.py lists a million."""
    one = b"".join(header(f"{number:07d}.wav", 1) + filled(b"x") for number in range(20_000))
    (tmp_path / "a.tar").write_bytes(one + bytes(1024))
    started = time.process_time()
    assert len(archive.directory(str(tmp_path / "a.tar")).members) == 20_000
    assert time.process_time() - started < 3  # 0.2 s where nothing else runs


def test_a_tar_of_members_that_nothing_can_be_told_of(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"not a tar at all " * 100)
    assert [reason for reason, _ in failures(utterances(tmp_path / "a.tar"))] == ["unreadable"]
    with pytest.raises(LLaSOError, match="not a plain tar"):
        archive.directory(str(tmp_path / "a.tar"))
