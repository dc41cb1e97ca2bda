"""Every member of a tar comes out, links lead to their files, and what is damaged is said."""

from __future__ import annotations

import io
import tarfile
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.io.tar_links import BrokenLink, Links
from llaso_data.io.tar_members import MAX_HEADER_BYTES, BrokenTar, Member, TarMembers
from tests.support.tars import packed, sparse

NAMES = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=150)
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def members(data: bytes) -> list[Member]:
    return list(TarMembers(io.BytesIO(data)))


@given(
    st.lists(st.tuples(NAMES, st.one_of(st.binary(max_size=1100), NAMES.map("-> {}".format))), max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_are_those_that_tarfile_finds(entries: list[tuple[str, bytes | str]], format: int) -> None:
    data = packed(entries, format)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        theirs = [(m.name, m.isreg(), m.offset_data, m.size, m.linkname) for m in archive]
    ours = [(m.name, m.kind == "file", m.offset, m.size, m.target) for m in members(data)]
    assert ours == theirs


def test_a_float_time_and_a_global_header_hide_no_member() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}) as archive:
        for name in ("a.txt", "ü" * 120 + ".txt"):
            info = tarfile.TarInfo(name)
            info.mtime, info.size = 1.5, 3
            archive.addfile(info, io.BytesIO(b"abc"))
    assert [m.name for m in members(buffer.getvalue())] == ["a.txt", "ü" * 120 + ".txt"]


def test_joined_tars_are_one() -> None:
    first, second = packed([("a", b"1")]), packed([("b", b"2" * 600)])
    found = TarMembers(io.BytesIO(first + second + bytes(3 << 20) + first))
    assert [m.name for m in found] == ["a", "b", "a"]
    assert (found.joined, found.trailing, found.ended) == (2, None, True)


def test_what_follows_the_end_and_is_no_tar_is_named() -> None:
    data = packed([("a", b"1")])
    found = TarMembers(io.BytesIO(data + b"\0" * 700 + b"leftovers"))
    assert [m.name for m in found] == ["a"]
    assert found.trailing == len(data) + 512


@pytest.mark.parametrize("empty", [bytes(512), bytes(10_240)])
def test_a_tar_of_nothing_has_no_members(empty: bytes) -> None:
    assert members(empty) == []


def test_a_missing_end_is_seen() -> None:
    found = TarMembers(io.BytesIO(packed([("a", b"1")])[:1024]))
    assert len(list(found)) == 1 and not found.ended


def header(size: bytes = b"00000000001\0", kind: bytes = b"0") -> bytearray:
    """A header with any size, its checksum right."""
    block = bytearray(tarfile.TarInfo("a").tobuf(tarfile.GNU_FORMAT))
    block[124:136], block[156:157], block[148:156] = size, kind, b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return block


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "empty"),
        (b"not a tar" * 100, r"no readable tar header \(byte 0\)"),
        (packed([("a", b"1" * 600)])[:1100], "ends inside a"),
        (packed([("a", b"1")])[:1024] + b"x" * 100, "cut short inside a header"),
        (packed([("a", b"1")])[:1024] + b"x" * 512, r"no readable tar header \(byte 1024\)"),
        (bytes(header(b"-0000000001\0")), "impossible size"),
        (bytes(header(b"\xff" * 12)), "impossible size"),
        (bytes(header(b"\x80" + b"\xff" * 11)), "ends inside a"),
        (bytes(header(b"%011o\0" % (MAX_HEADER_BYTES + 1), b"x")), "are read"),
        (bytes(header(b"%011o\0" % 20, b"x")) + b"99 path=x\n".ljust(512, b"\0"), "damaged PAX header"),
        (bytes(header(b"%011o\0" % 20, b"L")), "cut short inside a header"),
    ],
)
def test_what_is_damaged_is_said(data: bytes, what: str) -> None:
    with pytest.raises(BrokenTar, match=what):
        members(data)


@given(st.binary(max_size=40), st.integers(0, 2000))
def test_no_damage_is_more_than_a_broken_tar(noise: bytes, at: int) -> None:
    data = bytearray(packed([("a" * 120, b"1"), ("b", "-> " + "c" * 120)], tarfile.PAX_FORMAT)[:5120])
    data[at : at + len(noise)] = noise
    with suppress(BrokenTar):
        members(bytes(data))


def test_a_sparse_file_is_told_from_others() -> None:
    assert [(m.name, m.kind) for m in members(packed([("a", b"1")])[:1024] + sparse("b", b"22"))] == [
        ("a", "file"),
        ("b", "sparse"),
    ]


def test_a_hundred_thousand_members_are_listed_in_seconds() -> None:
    one = bytes(header()) + b"x".ljust(512, b"\0")
    started = time.process_time()
    assert sum(1 for _ in TarMembers(io.BytesIO(one * 100_000))) == 100_000
    assert time.process_time() - started < 6


FILES = {"./a.wav": (1, 1), "x/y/b.wav": (2, 2), "z.wav": (3, 3)}


def place(*links: tuple[str, str], of: str | None = None) -> tuple[int, int] | None:
    known = {m.name: m for m in members(packed([(name, target) for name, target in links]))}
    return Links(FILES, known).find_content(known[of or links[0][0]])


@pytest.mark.parametrize(
    ("links", "found"),
    [
        ([("b.wav", "=> ./a.wav")], (1, 1)),
        ([("a.wav", "=> ./a.wav")], (1, 1)),
        ([("b.wav", "-> a.wav")], (1, 1)),
        ([("x/c.wav", "-> ../a.wav")], (1, 1)),
        ([("x/c.wav", "-> y/b.wav")], (2, 2)),
        ([("x/c.wav", "-> .//y/../y/b.wav")], (2, 2)),
        ([("c.wav", "-> d.wav"), ("d.wav", "=> e.wav"), ("e.wav", "-> z.wav")], (3, 3)),
        ([("c.wav", "-> w/b.wav"), ("w", "-> x/y")], (2, 2)),
        ([("c.wav", "-> w/../../z.wav"), ("w", "-> x/y")], (3, 3)),
        ([("w", "-> x/y")], None),
    ],
)
def test_links_lead_to_their_files(links: list[tuple[str, str]], found: tuple[int, int] | None) -> None:
    assert place(*links) == found


@pytest.mark.parametrize(
    ("links", "what"),
    [
        ([("b.wav", "=> a.mp3")], "a.mp3, which is not in the archive"),
        ([("b.wav", "-> /etc/passwd")], "out of the archive"),
        ([("x/b.wav", "-> ../../z.wav")], "out of the archive"),
        ([("b.wav", "-> b.wav")], "back to itself"),
        ([("b.wav", "-> c.wav"), ("c.wav", "-> b.wav")], "back to itself"),
        ([(f"{n}.wav", f"-> {n + 1}.wav") for n in range(60)], "more than 40"),
        ([("b.wav", "-> " + "x/" * 3000)], "6,000 letters"),
    ],
)
def test_links_that_lead_nowhere_say_why(links: list[tuple[str, str]], what: str) -> None:
    with pytest.raises(BrokenLink, match=what):
        place(*links)
