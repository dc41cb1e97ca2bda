"""Read the members of a tar in any dialect (V7, ustar, PAX, GNU) from its headers, in the order of the archive.

:mod:`tarfile` does not serve here: it takes a damaged header for the end, stops after the first of joined archives,
keeps all members in memory, believes impossible sizes, and is slow on a tar of a million members.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Literal

BLOCK_BYTES = 512
MAX_HEADER_BYTES = 1 << 20
"""The longest extended header or long name; Linux has no path above 4 KiB."""

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
_WITHOUT_CONTENT = frozenset(b"123456")  # whatever size their header states
_ZEROS = bytes(BLOCK_BYTES)
_CHUNK_BYTES = 1 << 20


class BrokenTar(Exception):
    """A tar is cut short or damaged, and cannot be read further. The text says what and where."""


class NotTar(BrokenTar):
    """A file does not begin as a tar."""


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a tar.

    Attributes:
        name: as stored, without the slash at a folder's end. Bytes that are not UTF-8 are lone surrogates.
        kind: what it is.
        offset: the first byte of its content in the tar.
        size: of its content, in bytes.
        target: what a link names, as stored; else empty.
    """

    name: str
    kind: Kind
    offset: int
    size: int
    target: str = ""


class TarMembers:
    """The members of a tar, or of all archives where several were joined. Iterate it once.

    Iterating raises :class:`BrokenTar` where a member or a header is damaged or incomplete.

    Attributes:
        joined: after iterating, the number of archives that began after another's end.
        trailing: the byte after the end at which something begins that is no tar; None where nothing does.
        ended: whether the end was marked.
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
                at = self._skip_end(at)
                continue
            if not _is_header(block):
                problem = "it is cut short inside a header" if len(block) < BLOCK_BYTES else "no readable tar header"
                raise (BrokenTar if at else NotTar)(f"{problem} (byte {at})")
            self.ended = False
            kind = block[156]
            if kind in _LONG or kind in _PAX or kind == _GLOBAL:
                at = self._read_extension(block, at, kind)
                continue
            member, at = self._member(block, at)
            yield member

    def _member(self, block: bytes, at: int) -> tuple[Member, int]:
        """The member whose header is at ``at``, and where the next header is."""
        extension = self._extended if not self._global else {**self._global, **self._extended}
        kind = block[156]
        name, size = _name(block), _number(block[124:136], at)
        offset = at + BLOCK_BYTES
        member = Member(name, _KINDS.get(kind, "special"), offset, size)
        if kind in b"12":
            member = replace(member, target=_text(block[157:257]))
        elif kind == ord("S"):
            member = replace(member, offset=self._after_map(block, offset))
        if extension:
            member = _apply_extension(member, extension, at)
            self._extended = {}
        if kind in _WITHOUT_CONTENT:
            member = replace(member, size=0)
        if member.kind == "folder" or (kind == 0 and member.name.endswith("/")):
            member = replace(member, name=member.name.rstrip("/"), kind="folder")
        end = member.offset + member.size
        if end > self._size:
            raise BrokenTar(f"it ends inside {member.name}")
        return member, end + -end % BLOCK_BYTES

    def _read_extension(self, block: bytes, at: int, kind: int) -> int:
        """Read an extended header; gives where the next header is."""
        size = _number(block[124:136], at)
        if size > MAX_HEADER_BYTES:
            raise BrokenTar(f"a header of {size:,} bytes (byte {at}); {MAX_HEADER_BYTES:,} are read")
        data = self._read(at + BLOCK_BYTES, size)
        if len(data) < size:
            raise BrokenTar(f"it is cut short inside a header (byte {at})")
        if kind in _LONG:
            self._extended[_LONG[kind]] = _text(data)
        elif kind == _GLOBAL:
            self._global.update(_pax_records(data, at))
        else:
            self._extended.update(_pax_records(data, at))
        end = at + BLOCK_BYTES + size
        return end + -end % BLOCK_BYTES

    def _after_map(self, block: bytes, at: int) -> int:
        """Where the content of a sparse file of GNU tar begins: after the rest of its map."""
        more = block[482]
        while more:
            block = self._read(at, BLOCK_BYTES)
            if len(block) < BLOCK_BYTES:
                raise BrokenTar(f"it is cut short inside a header (byte {at})")
            more, at = block[504], at + BLOCK_BYTES
        return at

    def _skip_end(self, at: int) -> int:
        """Skip an archive's end; gives where another archive begins, or the file's size."""
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
    """Whether a header is whole and its checksum right. Some old programs took the sum of signed bytes."""
    try:
        stated = int(block[148:156].split(b"\0", 1)[0].strip() or b"0", 8)
    except ValueError:
        return False
    if len(block) < BLOCK_BYTES:
        return False
    counted = block[:148] + b" " * 8 + block[156:]
    # The low half of Adler-32 is one plus the sum, and zlib computes it without a loop in Python.
    if zlib.adler32(counted) & 0xFFFF == (stated + 1) % 65_521:
        return True
    return stated == sum(counted) - 256 * sum(byte > 127 for byte in counted)


def _number(field: bytes, at: int) -> int:
    """A size: octal digits, or for large ones the number's own bytes."""
    try:
        number = (
            int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(field.split(b"\0", 1)[0].strip() or b"0", 8)
        )
    except ValueError:
        number = -1
    if number < 0:
        raise BrokenTar(f"a header states an impossible size (byte {at})")
    return number


def _name(block: bytes) -> str:
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[345] and block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _pax_records(data: bytes, at: int) -> dict[str, str]:
    """The records ``LENGTH NAME=VALUE`` of a PAX header, by their names."""
    records: dict[str, str] = {}
    position = 0
    while position < len(data) and data[position]:
        digits, space, _ = data[position : position + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        record = data[position + len(digits) + len(space) : position + length]
        name, equals, value = record.partition(b"=")
        if not (space and equals and record.endswith(b"\n")):
            raise BrokenTar(f"a damaged PAX header (byte {at})")
        records[name.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
        position += length
    return records


def _apply_extension(member: Member, extension: dict[str, str], at: int) -> Member:
    """A member with the values of its extended headers."""
    size = extension.get("size", "")
    if size and not (size.isascii() and size.isdigit() and len(size) < 20):
        raise BrokenTar(f"a header states an impossible size (byte {at})")
    sparse = any(name.startswith("GNU.sparse.") for name in extension)
    name = extension.get("GNU.sparse.name") or extension.get("path")
    return replace(
        member,
        name=member.name if name is None else name.split("\0", 1)[0].rstrip("/"),
        kind="sparse" if sparse and member.kind == "file" else member.kind,
        size=int(size) if size else member.size,
        target=extension.get("linkpath", member.target) if member.target or "linkpath" in extension else "",
    )
