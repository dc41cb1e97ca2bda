"""Where the directory of a zip lies: its last bytes say it. Names of records are those of PKWARE's APPNOTE.TXT."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from llaso_data.io.archive import ArchiveError
from llaso_data.io.ranges import read_range

MAX_DIRECTORY_BYTES = 128 << 20
"""The longest directory of a zip that is read, of about a million members."""
TAIL_BYTES = 256 << 10
"""Read at once of a zip's end: the directory of some 2,000 members, and what says where a longer one begins."""

_END = struct.Struct("<4sHHHHIIH")  # end of central directory: signature, disks, entries, size, offset, comment
_END_64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR_64 = struct.Struct("<4sIQI")
_END_MARK, _END_64_MARK, _LOCATOR_MARK = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_LONGEST_COMMENT_BYTES = 0xFFFF
_UNSAID_DISKS = (0, 0xFFFF)


class RawDirectory(NamedTuple):
    """The directory of a zip as it is stored.

    Attributes:
        data: Its entries, one after the other.
        start: Its first byte in the file.
        shift: What is added to an offset that the zip states: the bytes that stand before the zip.
    """

    data: bytes
    start: int
    shift: int


class _End(NamedTuple):
    """What the end of a zip says: where it begins itself, the directory's length and offset, and the parts."""

    place: int
    directory_bytes: int
    offset: int
    split: bool


class _Tail(NamedTuple):
    """The last bytes of a file, from ``start`` on."""

    uri: str
    data: bytes
    start: int

    def read(self, start: int, end: int) -> bytes:
        """Bytes of the file; what the tail lacks of them is one more request."""
        if start >= self.start:
            return self.data[start - self.start : end - self.start]
        return read_range(self.uri, start, min(end, self.start)) + self.data[: max(0, end - self.start)]


def read_directory(uri: str, size_bytes: int) -> RawDirectory:
    """Read the directory of a zip, by one request, or two where it is longer than :data:`TAIL_BYTES`.

    Args:
        uri: The zip.
        size_bytes: Its size.

    Raises:
        FileNotFoundError: There is no such file.
        ArchiveError: It is no zip, is cut short, is a part of a zip that was split, or has too many members.
    """
    start = max(0, size_bytes - TAIL_BYTES)
    tail = _Tail(uri, read_range(uri, start, size_bytes), start)
    end = _end(tail)
    if end is None:
        raise ArchiveError(f"{uri}: not a readable zip: its end is missing; fetch it again, whole")
    if end.split:
        raise ArchiveError(f"{uri}: a part of a zip that was split; join the parts (`zip -s 0`), or unpack them")
    if end.directory_bytes > MAX_DIRECTORY_BYTES:
        limit = f"more than {MAX_DIRECTORY_BYTES >> 20} MiB are not read; unpack it"
        raise ArchiveError(f"{uri}: states a directory of {end.directory_bytes >> 20:,} MiB; {limit}")
    first = end.place - end.directory_bytes
    if first < 0 or end.offset > first:
        raise ArchiveError(f"{uri}: not a readable zip: its directory begins before the file; fetch it again")
    return RawDirectory(tail.read(first, end.place), first, first - end.offset)


def _end(tail: _Tail) -> _End | None:
    for at in _ends(tail.data):
        _, disk, first_disk, here, in_all, directory_bytes, offset, _ = _END.unpack_from(tail.data, at)
        split = disk not in _UNSAID_DISKS or first_disk not in _UNSAID_DISKS or here != in_all
        plain = _End(tail.start + at, directory_bytes, offset, split)
        return _end_64(tail, at) or plain
    return None


def _ends(data: bytes) -> Iterator[int]:
    """Where the end record may begin: its comment reaches to the file's end. Else the last one whose comment fits."""
    fitting = None
    at = data.rfind(_END_MARK)
    while at >= 0 and at >= len(data) - _LONGEST_COMMENT_BYTES - _END.size:
        if at + _END.size <= len(data):
            rest = len(data) - at - _END.size
            stated = _END.unpack_from(data, at)[-1]
            if stated == rest:
                yield at
                return
            if stated < rest and fitting is None:
                fitting = at
        at = data.rfind(_END_MARK, 0, at)
    if fitting is not None:
        yield fitting


def _end_64(tail: _Tail, at: int) -> _End | None:
    """The zip64 end record, which the locator right before the plain one leads to; None: there is none."""
    place = at - _LOCATOR_64.size
    if place < 0 or not tail.data.startswith(_LOCATOR_MARK, place):
        return None
    _, disk, stated, disks = _LOCATOR_64.unpack_from(tail.data, place)
    for start in (tail.start + place - _END_64.size, stated):
        if not 0 <= start <= tail.start + place - _END_64.size:
            continue
        record = tail.read(start, start + _END_64.size)
        if len(record) == _END_64.size and record.startswith(_END_64_MARK):
            *_, one, other, here, in_all, directory_bytes, offset = _END_64.unpack(record)
            split = bool(disk or one or other) or disks > 1 or here != in_all
            return _End(start, directory_bytes, offset, split)
    return None
