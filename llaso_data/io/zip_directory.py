"""The files of a zip: where each lies, and which cannot be had and why.

:mod:`zipfile` does not serve here: it reads a store through a buffer of many requests, refuses a whole archive for one
damaged entry, follows no name of Info-ZIP's extension, looks for no links and bombs, and takes a kilobyte a member.
"""

from __future__ import annotations

import stat
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llaso_data.io.archive import ArchiveError
from llaso_data.io.zip_end import RawDirectory

MAX_INFLATED_BYTES = 1 << 30
"""The longest member that is inflated, in memory: nine hours of 16 kHz. A stored member is read where it lies."""
BOMB_RATIO, BOMB_BYTES = 100, 64 << 20
"""A member that is packed more tightly and is longer is refused. Only silence is packed so, half an hour of it."""

LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENTRY = struct.Struct("<4s4xHH4xIIIHHHH2xII")
_MARK, _SIGNATURE_MARK = b"PK\1\2", b"PK\5\5"
_STORED, _DEFLATED = 0, 8
_UTF8 = 1 << 11
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_PATCH = 1 << 5
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_ALL_ONES, _OTHER_DISK = 0xFFFFFFFF, 0xFFFF


class ZipMember(NamedTuple):
    """Where the content of a member lies.

    Attributes:
        offset: Of its local header in the zip, bytes.
        stored_bytes: Its size in the zip.
        size_bytes: Its own size.
        crc: CRC-32 of the content.
        deflated: Whether it is compressed.
        raw_name: Its name as bytes, which the local header repeats.
    """

    offset: int
    stored_bytes: int
    size_bytes: int
    crc: int
    deflated: bool
    raw_name: bytes


class _Entry(NamedTuple):
    """One entry of the directory. ``end`` is where the next one begins in it; offsets are as stated."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    stored_bytes: int
    size_bytes: int
    disk: int
    attributes: int
    offset: int
    end: int


class ZipDirectory:
    """The files of a zip, without folders and without what macOS adds (``__MACOSX/``, ``._name``).

    It keeps the directory's bytes and 16 bytes a member, and reads an entry when it is asked for.

    Attributes:
        members: Name as stored → where it lies, in the order of the zip; of equal names the first. A name is in
            Unicode: that of Info-ZIP's extension, else UTF-8, else code page 437.
        repeated: The names that came again.
        broken: Name → why its content cannot be had: it is encrypted, too long, packed in another way, a link, a bomb,
            or its bytes are also another member's.
    """

    def __init__(
        self,
        raw: RawDirectory,
        starts: npt.NDArray[np.uint32],
        hashes: npt.NDArray[np.int64],
        repeated: tuple[str, ...],
        broken: Mapping[str, str],
    ) -> None:
        self.members: Mapping[str, ZipMember] = _Members(raw, starts, hashes)
        self.repeated = repeated
        self.broken = MappingProxyType(dict(broken))
        self.kept_bytes = len(raw.data)

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Name and size of every member that can be had, in the order of the zip: what a list of them needs."""
        assert isinstance(self.members, _Members)
        return self.members.sizes()


class _Members(Mapping[str, ZipMember]):
    def __init__(self, raw: RawDirectory, starts: npt.NDArray[np.uint32], hashes: npt.NDArray[np.int64]) -> None:
        self._raw, self._starts = raw, starts
        self._order = np.argsort(hashes, kind="stable").astype(np.uint32)
        self._hashes = hashes[self._order]

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[str]:
        return (entry.name for entry in self._entries())

    def __getitem__(self, name: str) -> ZipMember:
        wanted = hash(name)
        first, last = (int(np.searchsorted(self._hashes, wanted, side)) for side in ("left", "right"))
        for number in self._order[first:last]:
            entry = _entry(self._raw.data, int(self._starts[number]))
            if entry.name == name:
                deflated = entry.method == _DEFLATED
                offset = entry.offset + self._raw.shift
                return ZipMember(offset, entry.stored_bytes, entry.size_bytes, entry.crc, deflated, entry.raw_name)
        raise KeyError(name)

    def sizes(self) -> Iterator[tuple[str, int]]:
        return ((entry.name, entry.size_bytes) for entry in self._entries())

    def _entries(self) -> Iterator[_Entry]:
        return (_entry(self._raw.data, int(start)) for start in self._starts)


def parsed(raw: RawDirectory) -> ZipDirectory:
    """The files of a zip, read from the bytes of its directory.

    Raises:
        ArchiveError: An entry is damaged, so that none after it can be read. The message does not name the zip.
    """
    starts, hashes, firsts, lasts = array("I"), array("q"), array("q"), array("q")
    refused: dict[int, str] = {}
    for start, entry in _all_entries(raw.data):
        if _is_no_file(entry.name):
            continue
        first = entry.offset + raw.shift
        last = first + LOCAL_HEADER.size + len(entry.raw_name) + entry.stored_bytes
        why = _refused(entry)
        if why is None and not first <= last <= raw.start:
            why = f"the zip is damaged where a member should begin (byte {first}); fetch it again"
        if why is not None:
            refused[len(starts)] = why
            last = first
        starts.append(start)
        hashes.append(hash(entry.name))
        firsts.append(min(first, raw.start))
        lasts.append(min(last, raw.start))
    places, keys = np.array(starts, np.uint32), np.array(hashes, np.int64)
    again = _repeated(raw.data, places, keys)
    kept = np.ones(len(places), bool)
    kept[[*again, *refused]] = False
    for number in _overlapping(np.array(firsts), np.array(lasts), np.flatnonzero(kept)):
        refused[number] = "its bytes are also another member's, as in a bomb; fetch the zip again"
        kept[number] = False
    names = {number: _entry(raw.data, starts[number]).name for number in {*again, *refused}}
    broken = {names[number]: why for number, why in sorted(refused.items()) if number not in again}
    return ZipDirectory(raw, places[kept], keys[kept], tuple(names[number] for number in again), broken)


def _all_entries(data: bytes) -> Iterator[tuple[int, _Entry]]:
    start = 0
    while start < len(data) and not data.startswith(_SIGNATURE_MARK, start):
        entry = _entry(data, start)
        yield start, entry
        start = entry.end


def _entry(data: bytes, start: int) -> _Entry:
    """The entry that begins at a byte of the directory."""
    names = start + _ENTRY.size
    if names > len(data) or not data.startswith(_MARK, start):
        raise ArchiveError(f"not a readable zip: its directory is damaged at byte {start:,} of it; fetch it again")
    (_, flags, method, crc, stored_bytes, size_bytes, name_bytes, extra_bytes, comment_bytes, disk, attributes,
     offset) = _ENTRY.unpack_from(data, start)  # fmt: skip
    extras = names + name_bytes
    end = extras + extra_bytes + comment_bytes
    if end > len(data):
        raise ArchiveError("not a readable zip: its directory ends inside an entry; fetch it again")
    raw_name = data[names:extras]
    extra = data[extras : extras + extra_bytes]
    if _ALL_ONES in (stored_bytes, size_bytes, offset) or disk == _OTHER_DISK:
        size_bytes, stored_bytes, offset, disk = _long_values(extra, size_bytes, stored_bytes, offset, disk)
    name = _name(raw_name, flags, extra)
    return _Entry(name, raw_name, flags, method, crc, stored_bytes, size_bytes, disk, attributes, offset, end)


def _long_values(extra: bytes, size: int, stored: int, offset: int, disk: int) -> tuple[int, int, int, int]:
    """The values that are all ones in an entry, from its zip64 field; they stay where it has none."""
    longer = next((data for kind, data in _extras(extra) if kind == _ZIP64), b"")
    values, at = [size, stored, offset], 0
    for number, value in enumerate(values):
        if value == _ALL_ONES and at + 8 <= len(longer):
            values[number] = int.from_bytes(longer[at : at + 8], "little")
            at += 8
    if disk == _OTHER_DISK and at + 4 <= len(longer):
        disk = int.from_bytes(longer[at : at + 4], "little")
    return values[0], values[1], values[2], disk


def _name(raw: bytes, flags: int, extra: bytes) -> str:
    if b"up" in extra:  # the two bytes of the field's number
        for kind, data in _extras(extra):
            if kind == _UNICODE_PATH and data[:5] == b"\1" + zlib.crc32(raw).to_bytes(4, "little"):
                return data[5:].decode("utf-8", "surrogateescape")
    if flags & _UTF8:
        return raw.decode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")  # as most programs store it, said or not; code page 437 gives no such bytes
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of an entry beyond the fixed ones, as far as they are whole."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if at + 4 + length > len(extra):
            return
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _is_no_file(name: str) -> bool:
    """Whether a name is a folder's, or of what macOS stores beside a file."""
    return name.endswith(("/", "\\")) or name.startswith("__MACOSX/") or _last_part(name).startswith("._")


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _refused(entry: _Entry) -> str | None:
    """Why a member's content cannot be had; None where it can."""
    if not entry.name or "\0" in entry.name:
        return "its name is empty, or holds a NUL; unpack the zip"
    if entry.flags & _ENCRYPTED:
        return "it is encrypted; unpack the zip with its password first"
    if stat.S_IFMT(entry.attributes >> 16) not in (0, stat.S_IFREG):
        return "it is a link or a device, which are not followed; put the file in its place"
    if entry.method not in (_STORED, _DEFLATED) or entry.flags & _PATCH:
        return f"it is packed by method {entry.method}, and stored and deflated ones are read; unpack the zip"
    if entry.disk:
        return "it lies in another part of a zip that was split; join the parts, or unpack them"
    if entry.method == _STORED:
        if entry.size_bytes != entry.stored_bytes:
            return "its sizes in the zip's directory contradict each other; fetch the zip again"
    elif max(entry.size_bytes, entry.stored_bytes) > MAX_INFLATED_BYTES:
        return f"it has {entry.size_bytes:,} bytes, and {MAX_INFLATED_BYTES:,} are inflated at most; unpack the zip"
    elif entry.size_bytes > max(BOMB_BYTES, BOMB_RATIO * entry.stored_bytes):
        return f"it inflates {entry.stored_bytes:,} bytes to {entry.size_bytes:,}, as a bomb does; unpack the zip"
    return None


def _repeated(data: bytes, starts: npt.NDArray[np.uint32], hashes: npt.NDArray[np.int64]) -> list[int]:
    """The numbers of entries whose name an earlier one has."""
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    seen: set[str] = set()
    again = []
    for number in np.unique(np.concatenate((order[same], order[same + 1]))).tolist():
        name = _entry(data, int(starts[number])).name
        if name in seen:
            again.append(number)
        seen.add(name)
    return again


def _overlapping(
    firsts: npt.NDArray[np.int64], lasts: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]
) -> list[int]:
    """Those of the members, by number, whose bytes from ``firsts`` to ``lasts`` reach into another's."""
    order = numbers[np.argsort(firsts[numbers], kind="stable")]
    if len(order) < 2:
        return []
    first, last = firsts[order], lasts[order]
    reaching = last[:-1] > first[1:]
    reached = first[1:] < np.maximum.accumulate(last)[:-1]
    return sorted({*order[:-1][reaching].tolist(), *order[1:][reached].tolist()})
