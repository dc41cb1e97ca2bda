"""Every member of a tar in any dialect (V7, ustar, PAX, GNU), from its headers alone, in the order of the archive.

:mod:`tarfile` takes a damaged header for the end, stops at the first of joined archives, holds all that it has seen,
believes sizes that no file has, and needs several times as long, which a tar of a million members shows.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Literal

BLOCK_BYTES = 512
MAX_HEADER_BYTES = 1 << 20
"""Of an extended header or a long name; Linux has no path above 4 KiB."""

Kind = Literal["file", "hard_link", "symbolic_link", "folder", "sparse", "special"]

_KINDS: dict[int, Kind] = {
    ord("0"): "file",
    0: "file",
    ord("7"): "file",
    ord("1"): "hard_link",
    ord("2"): "symbolic_link",
    ord("3"): "special",
    ord("4"): "special",
    ord("5"): "folder",
    ord("6"): "special",
    ord("S"): "sparse",
}
_LONG = {ord("L"): "path", ord("K"): "linkpath"}  # GNU's long names, as PAX calls them
_PAX = frozenset(b"xX")
_GLOBAL = ord("g")
_WITHOUT_CONTENT = frozenset(b"123456")  # whatever their size says
_ZEROS = bytes(BLOCK_BYTES)
_CHUNK_BYTES = 1 << 20


class BrokenTar(Exception):
    """A tar cannot be read on: it is cut short or damaged. The text says what and where."""


class NotTar(BrokenTar):
    """A file does not begin as a tar."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a tar.

    ``name`` and ``target`` (of links) stand as they are stored, without the slash at a folder's end; bytes that are
    not UTF-8 are lone surrogates. The content of a file is ``size`` bytes from ``offset`` on.
    """

    name: str
    kind: Kind
    offset: int
    size: int
    target: str = ""


class TarMembers:
    """The members of a tar, of all archives where several were joined. Iterate it once.

    Afterwards ``joined`` is the number of archives that began after another's end, ``trailing`` the byte at which
    something begins that is no tar (None: nothing), and ``ended`` says whether the end was marked. Iterating raises
    :class:`BrokenTar` where a member or a header is damaged or not all there.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._extended: dict[str, str] = {}
        self._global: dict[str, str] = {}
        self.joined = 0
        self.trailing: int | None = None
        self.ended = False

    def __iter__(self) -> Iterator[Member]:
        if self._size == 0:
            raise NotTar("the file is empty")
        at = 0
        while at < self._size:
            block = self._read(at, BLOCK_BYTES)
            if block == _ZEROS[: len(block)]:
                at = self._end(at)
                continue
            if not _is_header(block):
                what = "it is cut short inside a header" if len(block) < BLOCK_BYTES else "no readable tar header"
                raise (BrokenTar if at else NotTar)(f"{what} (byte {at})")
            self.ended = False
            kind = block[156]
            if kind in _LONG or kind in _PAX or kind == _GLOBAL:
                at = self._extend(block, at, kind)
                continue
            member, at = self._member(block, at)
            yield member

    def _member(self, block: bytes, at: int) -> tuple[Member, int]:
        """The member of a header at ``at``, and where the next header is."""
        said = self._extended if not self._global else {**self._global, **self._extended}
        kind = block[156]
        name, size = _name(block), _number(block[124:136], at)
        offset = at + BLOCK_BYTES
        member = Member(name, _KINDS.get(kind, "special"), offset, size)
        if kind in b"12":
            member = replace(member, target=_text(block[157:257]))
        elif kind == ord("S"):
            member = replace(member, offset=self._after_map(block, offset))
        if said:
            member = _extended(member, said, at)
            self._extended = {}
        if kind in _WITHOUT_CONTENT:
            member = replace(member, size=0)
        if member.kind == "folder" or (kind == 0 and member.name.endswith("/")):
            member = replace(member, name=member.name.rstrip("/"), kind="folder")
        stop = member.offset + member.size
        if stop > self._size:
            raise BrokenTar(f"it ends inside {member.name}")
        return member, stop + -stop % BLOCK_BYTES

    def _extend(self, block: bytes, at: int, kind: int) -> int:
        """Takes an extended header in; gives where the next header is."""
        size = _number(block[124:136], at)
        if size > MAX_HEADER_BYTES:
            raise BrokenTar(f"a header of {size:,} bytes (byte {at}); {MAX_HEADER_BYTES:,} are read")
        data = self._read(at + BLOCK_BYTES, size)
        if len(data) < size:
            raise BrokenTar(f"it is cut short inside a header (byte {at})")
        if kind in _LONG:
            self._extended[_LONG[kind]] = _text(data)
        elif kind == _GLOBAL:
            self._global.update(_records(data, at))
        else:
            self._extended.update(_records(data, at))
        stop = at + BLOCK_BYTES + size
        return stop + -stop % BLOCK_BYTES

    def _after_map(self, block: bytes, at: int) -> int:
        """Where the content of a file begins that GNU tar stored sparse: after the rest of its map."""
        more = block[482]
        while more:
            block = self._read(at, BLOCK_BYTES)
            if len(block) < BLOCK_BYTES:
                raise BrokenTar(f"it is cut short inside a header (byte {at})")
            more, at = block[504], at + BLOCK_BYTES
        return at

    def _end(self, at: int) -> int:
        """Passes over an archive's end; gives where another archive begins, or the file's size."""
        self.ended = True
        self._extended, self._global = {}, {}
        start = at
        while at < self._size:
            chunk = self._read(at, _CHUNK_BYTES)
            filled = len(chunk) - len(chunk.lstrip(b"\0"))
            if filled < len(chunk):
                at += filled
                break
            at += len(chunk)
        if at >= self._size:
            return self._size
        at -= (at - start) % BLOCK_BYTES
        if not _is_header(self._read(at, BLOCK_BYTES)):
            self.trailing = at
            return self._size
        self.joined += 1
        return at

    def _read(self, at: int, count: int) -> bytes:
        self._file.seek(at)
        return self._file.read(count)


def _is_header(block: bytes) -> bool:
    """Whether a header is all there and its checksum right; some old programs took bytes for signed."""
    try:
        stated = int(block[148:156].split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError:
        return False
    if len(block) < BLOCK_BYTES:
        return False
    counted = block[:148] + b" " * 8 + block[156:]
    if zlib.adler32(counted) & 0xFFFF == (stated + 1) % 65_521:  # it begins with one plus the sum, and is no loop
        return True
    return stated == sum(counted) - 256 * sum(byte > 127 for byte in counted)


def _number(field: bytes, at: int) -> int:
    """A size: octal digits, or where they do not suffice the bytes of the number themselves."""
    try:
        found = (
            int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(field.split(b"\0", 1)[0].strip() or b"0", 8)
        )
    except ValueError:
        found = -1
    if found < 0:
        raise BrokenTar(f"a header states an impossible size (byte {at})")
    return found


def _name(block: bytes) -> str:
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[345] and block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _records(data: bytes, at: int) -> dict[str, str]:
    """The records ``LENGTH NAME=VALUE`` of a PAX header."""
    found: dict[str, str] = {}
    position = 0
    while position < len(data) and data[position]:
        digits, space, _ = data[position : position + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = data[position + len(digits) + len(space) : position + length]
        name, equals, value = record.partition(b"=")
        if not (space and equals and record.endswith(b"\n")):
            raise BrokenTar(f"a damaged PAX header (byte {at})")
        found[name.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
        position += length
    return found


def _extended(member: Member, said: dict[str, str], at: int) -> Member:
    """A member with what its extended headers say of it."""
    size = said.get("size", "")
    if size and not (size.isascii() and size.isdigit() and len(size) < 20):
        raise BrokenTar(f"a header states an impossible size (byte {at})")
    sparse = any(name.startswith("GNU.sparse.") for name in said)
    name = said.get("GNU.sparse.name") or said.get("path")
    return replace(
        member,
        name=member.name if name is None else name.split("\0", 1)[0].rstrip("/"),
        kind="sparse" if sparse and member.kind == "file" else member.kind,
        size=int(size) if size else member.size,
        target=said.get("linkpath", member.target) if member.target or "linkpath" in said else "",
    )
