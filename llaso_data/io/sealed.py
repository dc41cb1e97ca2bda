"""Tables and weights that carry a checksum of their whole file inside: Parquet, Arrow IPC and safetensors.

The checksum is a value of the file's own metadata, of fixed width: eight hexadecimal digits of CRC-32 over all bytes of
the file, with these digits as zeros. So the file stays one object that any reader opens, and no byte is left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from isal.isal_zlib import crc32

from llaso_data.io import storage
from llaso_data.io.checksums import TAG, DamagedError, written

if TYPE_CHECKING:
    import pyarrow as pa

FIELD = "llaso.checksum"
"""The name of the value in a file's metadata."""

BLANK = written(0)
"""The value to write the file with; :func:`seal` fills it in."""

_DIGITS = len(BLANK) - len(TAG)
_CHUNK_BYTES = 1 << 22
_IN_MEMORY_BYTES = 1 << 26  # tables of no more are read once, and parsed from memory
_LEAST_BYTES = 1 << 13  # that are looked at: a length that is damaged should not hide the checksum

Region = tuple[int, int]


@dataclass(frozen=True, slots=True)
class SealedKind:
    """A file format: what it is called, where its metadata lie, and how the value of the field stands there.

    ``pattern`` has the digits as its group, and occurs once in each region.
    """

    name: str
    regions: Callable[[IO[bytes], int], list[Region]]
    pattern: re.Pattern[bytes]


def seal(path: str, kind: SealedKind) -> None:
    """Fill in the checksum of a local file that was written with :data:`BLANK` as the value of :data:`FIELD`."""
    with open(path, "r+b") as file:
        places = _places(file, path, kind)
        assert places is not None, f"{path} was written without {FIELD}"
        digits = written(_crc(file, places))[len(TAG) :].encode()
        for place in places:
            file.seek(place)
            file.write(digits)


def check(file: IO[bytes], place: str, kind: SealedKind) -> bool:
    """Compare the checksum of an open file, all of which is read; its position is 0 afterwards.

    Args:
        file: open for reading, seekable.
        place: what messages call it.
        kind: its format.

    Returns:
        Whether it carries a checksum; what an earlier version wrote has none.

    Raises:
        DamagedError: where the checksum is not that of the file.
    """
    places = _places(file, place, kind)
    if places is None:
        file.seek(0)
        return False
    stated = []
    for at in places:
        file.seek(at)
        stated.append(int(file.read(_DIGITS), 16))
    if set(stated) != {_crc(file, places)}:
        raise DamagedError(f"{place} is damaged: its bytes have another checksum than it states")
    file.seek(0)
    return True


def write_parquet(uri: str, table: pa.Table, **options: Any) -> None:
    """Write a table as a Parquet file with its checksum, whole or not at all.

    ``options`` are pyarrow's. The same table gives the same bytes with the same pyarrow.
    """
    import pyarrow.parquet as pq

    with storage.whole(uri) as path:
        with pq.ParquetWriter(path, table.schema, **options) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({FIELD: BLANK})
        seal(path, PARQUET)


@contextmanager
def read_parquet(uri: str) -> Iterator[Any]:
    """Open a Parquet file for pyarrow, and compare its checksum where it has one.

    A small file is read once; a larger one is read to its end, and then again where it is wanted.

    Raises:
        DamagedError: where its bytes have another checksum.
        FileNotFoundError: where there is none.
    """
    import pyarrow as pa

    with storage.open_read(uri) as file:
        if file.seek(0, os.SEEK_END) > _IN_MEMORY_BYTES:
            check(file, uri, PARQUET)
            yield file
            return
        file.seek(0)
        data = pa.BufferReader(file.read())
    check(data, uri, PARQUET)
    yield data


def _places(file: IO[bytes], place: str, kind: SealedKind) -> list[int] | None:
    """Where the digits stand, once in each region; None where nothing hints at a checksum. Raises DamagedError."""
    size = file.seek(0, os.SEEK_END)
    places, hints = [], False
    for start, stop in kind.regions(file, size):
        if not 0 <= start <= stop <= size:
            raise DamagedError(f"{place} is not a whole {kind.name} file")
        file.seek(start)
        data = file.read(stop - start)
        # One flipped bit cannot change both the name of the field and the beginning of its value.
        hints = hints or FIELD.encode() in data or TAG.encode() in data
        places.append([start + match.start(1) for match in kind.pattern.finditer(data)])
    if not hints:
        return None
    if not all(len(starts) == 1 for starts in places):
        raise DamagedError(f"{place} is damaged where its checksum stands")
    return [starts[0] for starts in places]


def _crc(file: IO[bytes], places: list[int]) -> int:
    """CRC-32 of the whole file with zeros in these places."""
    crc = at = 0
    file.seek(0)
    read: Callable[[int], Any] = getattr(file, "read_buffer", file.read)  # Arrow's own files give memory without a copy
    while len(chunk := read(_CHUNK_BYTES)):
        inside = [place for place in places if at - _DIGITS < place < at + len(chunk)]
        if inside:
            blanked = bytearray(chunk)
            for place in inside:
                first, last = max(place - at, 0), min(place - at + _DIGITS, len(chunk))
                blanked[first:last] = b"0" * (last - first)
            chunk = bytes(blanked)
        crc = crc32(chunk, crc)
        at += len(chunk)
    return crc


def _number(file: IO[bytes], at: int, width: int = 4) -> int:
    """A little-endian number; -1 where the file has none there."""
    if at < 0:
        return -1
    file.seek(at)
    data = file.read(width)
    return int.from_bytes(data, "little", signed=True) if len(data) == width else -1


def _parquet_regions(file: IO[bytes], size: int) -> list[Region]:
    """The footer: its length and the magic number end the file."""
    start = size - 8 - _number(file, size - 8)
    return [(min(start, max(0, size - _LEAST_BYTES)), size - 8)]


def _arrow_regions(file: IO[bytes], size: int) -> list[Region]:
    """The schema that begins the file, after magic number, continuation mark and length; the footer that repeats it."""
    return [(8, 16 + _number(file, 12)), (size - 10 - _number(file, size - 10), size - 10)]


def _safetensors_regions(file: IO[bytes], size: int) -> list[Region]:
    """The header, after its length."""
    stop = 8 + _number(file, 0, 8)
    return [(8, max(stop, min(size, _LEAST_BYTES)))]


_VALUE = rb"crc32:([0-9a-f]{8})"
_NAME = re.escape(FIELD).encode()
# Thrift: field 2, 14 bytes.
PARQUET = SealedKind("Parquet", _parquet_regions, re.compile(_NAME + rb"\x18\x0e" + _VALUE))
# FlatBuffers: 14 bytes, a NUL.
ARROW = SealedKind("Arrow", _arrow_regions, re.compile(rb"\x0e\0\0\0" + _VALUE + rb"\0"))
SAFETENSORS = SealedKind("safetensors", _safetensors_regions, re.compile(rb'"' + _NAME + rb'":"' + _VALUE + rb'"'))
