"""Zips read in place: what lies in one, and one member as a seekable file. Nothing is unpacked to a disk.

A member's name is a name and no path: it opens what the archive has under it, and nothing else.
"""

from __future__ import annotations

import functools
import io
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from llaso_data.io import storage
from llaso_data.io.archive import WHOLE_READ_BYTES, ArchiveError
from llaso_data.io.ranges import read_range
from llaso_data.io.views import View
from llaso_data.io.zip_directory import LOCAL_HEADER, ZipDirectory, ZipMember, parsed
from llaso_data.io.zip_end import read_directory

CACHED_BYTES = 128 << 20
"""Directories that are kept in memory besides the last one that was read: those of about a million members."""

_EXTRA_BYTES = 256  # of a local header that are read with it; a longer one costs another request
_CHUNK_BYTES = 8 << 20

_lock = threading.Lock()
_directories: OrderedDict[tuple[str, str], ZipDirectory] = OrderedDict()


def directory(uri: str, size_bytes: int | None = None) -> ZipDirectory:
    """List the files of a zip. On a store it takes one or two requests, and one more where its size is not given.

    Args:
        uri: The zip.
        size_bytes: Its size, where it is known.

    Raises:
        FileNotFoundError: There is no such file.
        ArchiveError: The file is no zip, or a part of one that was split, or has too many members.
    """
    version = ""
    if storage.is_local(uri):
        size_bytes, version = storage.stat(uri).values()
    key = uri, version
    with _lock:
        if key in _directories:
            _directories.move_to_end(key)
            return _directories[key]
    found = read(uri, int(storage.stat(uri)["size"]) if size_bytes is None else size_bytes)
    with _lock:
        _directories[key] = found
        while len(_directories) > 1 and sum(one.kept_bytes for one in _directories.values()) > CACHED_BYTES:
            _directories.popitem(last=False)
    return found


def read(uri: str, size_bytes: int) -> ZipDirectory:
    """List the files of a zip of a known size as :func:`directory` does, and keep nothing of it in memory."""
    raw = read_directory(uri, size_bytes)
    try:
        return parsed(raw)
    except ArchiveError as error:
        raise ArchiveError(f"{uri}: {error}") from error


@contextmanager
def open_member(uri: str, member: str) -> Iterator[BinaryIO]:
    """Open one member, seekable. Its checksum is compared first: of a short one in memory, else by reading it once.

    Raises:
        FileNotFoundError: For an unknown member.
        ArchiveError: The file is no zip, or the member is encrypted, damaged or too long.
    """
    known = directory(uri)
    if member in known.broken:
        raise ArchiveError(f"{uri}: {known.broken[member]}")
    place = known.members.get(member)
    if place is None:
        raise FileNotFoundError(f"{uri}!{member}: no such file")
    if place.deflated or place.size_bytes <= WHOLE_READ_BYTES:
        yield io.BytesIO(_content(uri, place))
        return
    start = _checked_start(uri, storage.stat(uri)["version"], place)
    with storage.open_read(uri) as file:
        yield cast(BinaryIO, io.BufferedReader(View(file, start, place.size_bytes)))


def _content(uri: str, place: ZipMember) -> bytes | memoryview:
    """The content of a member, in memory."""
    header_bytes = LOCAL_HEADER.size + len(place.raw_name)
    data = read_range(uri, place.offset, place.offset + header_bytes + _EXTRA_BYTES + place.stored_bytes)
    start = _content_start(uri, place, data)
    lacking = start + place.stored_bytes - len(data)
    if lacking > 0:
        data += read_range(uri, place.offset + len(data), place.offset + len(data) + lacking)
    stored = memoryview(data)[start : start + place.stored_bytes]
    if len(stored) < place.stored_bytes:
        raise _damaged(uri, place)
    content = _inflated(uri, place, stored) if place.deflated else stored
    if zlib.crc32(content) != place.crc:
        raise ArchiveError(f"{uri}: a member is damaged (its checksum is another); fetch the zip again")
    return content


def _content_start(uri: str, place: ZipMember, data: bytes) -> int:
    """Where the content of a member begins after its local header, which says so. ``data`` begins with the header."""
    if len(data) >= LOCAL_HEADER.size:
        mark, name_bytes, extra_bytes = LOCAL_HEADER.unpack_from(data)
        if mark == b"PK\3\4" and data.startswith(place.raw_name, LOCAL_HEADER.size):
            return LOCAL_HEADER.size + int(name_bytes) + int(extra_bytes)
    raise _damaged(uri, place)


def _damaged(uri: str, place: ZipMember) -> ArchiveError:
    return ArchiveError(f"{uri}: the zip is damaged where a member should begin (byte {place.offset}); fetch it again")


@functools.lru_cache(maxsize=1024)
def _checked_start(uri: str, version: str, place: ZipMember) -> int:
    """Where the content of a long stored member begins in the zip, after all of it was read and its sum compared.

    It is done once a process for each version of the zip: many clips may be parts of one recording.
    """
    start = place.offset + _content_start(
        uri, place, read_range(uri, place.offset, place.offset + LOCAL_HEADER.size + len(place.raw_name))
    )
    end, crc = start + place.stored_bytes, 0
    with storage.open_read(uri) as file:
        file.seek(start)
        while start < end and (data := file.read(min(_CHUNK_BYTES, end - start))):
            crc = zlib.crc32(data, crc)
            start += len(data)
    if start < end or crc != place.crc:
        raise ArchiveError(f"{uri}: a member is damaged (its checksum is another); fetch the zip again")
    return end - place.stored_bytes


def _inflated(uri: str, place: ZipMember, data: memoryview) -> bytes:
    """The content of a deflated member: as long as the directory states, and not a byte longer."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(data, place.size_bytes + 1)
    except zlib.error as error:
        raise ArchiveError(f"{uri}: a member is damaged ({error}); fetch the zip again") from error
    if len(content) != place.size_bytes:
        raise ArchiveError(f"{uri}: a member is damaged (its size is another); fetch the zip again")
    return content
