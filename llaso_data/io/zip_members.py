"""Zips read in place: what lies in one, and one member as a seekable file. Nothing is unpacked to a disk.

A member's name is a name and no path: it opens what the archive has under it, and nothing else.
"""

from __future__ import annotations

import functools
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import IO, BinaryIO, NamedTuple, cast

from llaso_data.io import storage
from llaso_data.io.archive import WHOLE_READ_BYTES, ArchiveError
from llaso_data.io.views import View

MAX_INFLATED_BYTES = 1 << 30
"""The longest member that is inflated, in memory: nine hours of 16 kHz. A stored member is read where it lies."""
MAX_DIRECTORY_BYTES = 128 << 20
"""The longest directory of a zip that is read, of about a million members; in memory it is ten times as long."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_END = struct.Struct("<12xI6x")
_END_64 = struct.Struct("<40xQ")
_END_64_PLACE = struct.Struct("<8xQ4x")
_LONGEST_COMMENT_BYTES = 1 << 16
_ENCRYPTED = 1


class ZipMember(NamedTuple):
    """Where the content of a member lies.

    Attributes:
        offset: Of its local header in the zip, bytes.
        stored_bytes: Its size in the zip.
        size_bytes: Its own size.
        crc: CRC-32 of the content.
        deflated: Whether it is compressed.
    """

    offset: int
    stored_bytes: int
    size_bytes: int
    crc: int
    deflated: bool


class ZipDirectory(NamedTuple):
    """The files of a zip.

    Attributes:
        members: name as stored → where it lies, in the order of the zip; of equal names the first.
        repeated: The names that came again.
        broken: name → why its content cannot be had: it is encrypted, too long, or packed in another way.
    """

    members: MappingProxyType[str, ZipMember]
    repeated: tuple[str, ...]
    broken: MappingProxyType[str, str]


def directory(uri: str) -> ZipDirectory:
    """List the files of a zip.

    Raises:
        FileNotFoundError: There is no such file.
        ArchiveError: The file is no zip, or a part of one that was split, or has too many members.
    """
    version = storage.stat(uri)["version"] if storage.is_local(uri) else ""
    return _directory(uri, version)


@functools.lru_cache(maxsize=16)
def _directory(uri: str, version: str) -> ZipDirectory:
    members: dict[str, ZipMember] = {}
    repeated: list[str] = []
    broken: dict[str, str] = {}
    for info in _entries(uri):
        if info.is_dir():
            continue
        if info.filename in members or info.filename in broken:
            repeated.append(info.filename)
        elif (why := _refused(info)) is not None:
            broken[info.filename] = why
        else:
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            members[info.filename] = ZipMember(
                info.header_offset, info.compress_size, info.file_size, info.CRC, deflated
            )
    return ZipDirectory(MappingProxyType(members), tuple(repeated), MappingProxyType(broken))


def _entries(uri: str) -> list[zipfile.ZipInfo]:
    with storage.open_read(uri) as file:
        try:
            if (size_bytes := _directory_bytes(file)) > MAX_DIRECTORY_BYTES:
                limit = f"more than {MAX_DIRECTORY_BYTES >> 20} MiB are not read; unpack it"
                raise ArchiveError(f"{uri}: states a directory of {size_bytes >> 20:,} MiB; {limit}")
            with zipfile.ZipFile(file) as archive:
                return archive.infolist()
        except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OverflowError, EOFError) as error:
            raise ArchiveError(f"{uri}: not a readable zip ({error}); fetch it again, or unpack it") from error


def _directory_bytes(file: IO[bytes]) -> int:
    """How long the end of a zip says that its directory is; 0 where no end is found, as zipfile will say."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _LONGEST_COMMENT_BYTES - _END.size - _END_64_PLACE.size))
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        return 0
    before = at - _END_64_PLACE.size
    if before >= 0 and tail[before:].startswith(b"PK\6\7"):
        file.seek(min(_END_64_PLACE.unpack_from(tail, before)[0], size))
        end = file.read(_END_64.size)
        return int(_END_64.unpack(end)[0]) if len(end) == _END_64.size else 0
    return int(_END.unpack_from(tail, at)[0])


def _refused(info: zipfile.ZipInfo) -> str | None:
    """Why a member's content cannot be had; None where it can."""
    if info.flag_bits & _ENCRYPTED:
        return "it is encrypted; unpack the zip with its password first"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"it is packed by method {info.compress_type}, and stored and deflated ones are read; unpack the zip"
    if info.compress_type == zipfile.ZIP_DEFLATED and max(info.file_size, info.compress_size) > MAX_INFLATED_BYTES:
        return f"it has {info.file_size:,} bytes, and {MAX_INFLATED_BYTES:,} are inflated at most; unpack the zip"
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        return "its sizes in the zip's directory contradict each other; fetch the zip again"
    return None


@contextmanager
def open_member(uri: str, member: str) -> Iterator[BinaryIO]:
    """Open one member, seekable: a stored one in place, a deflated one in memory.

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
    with storage.open_read(uri) as file:
        start = _content_start(file, place, uri)
        if not place.deflated and (storage.is_local(uri) or place.size_bytes > WHOLE_READ_BYTES):
            yield cast(BinaryIO, io.BufferedReader(View(file, start, place.size_bytes)))
            return
        file.seek(start)
        data = file.read(place.stored_bytes)
    yield io.BytesIO(_inflated(data, place, uri) if place.deflated else data)


def _content_start(file: IO[bytes], place: ZipMember, uri: str) -> int:
    """The first byte of a member's content. Its local header says how long its name there is."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, place.offset))
    header = file.read(_LOCAL_HEADER.size)
    if len(header) == _LOCAL_HEADER.size:
        mark, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        start = place.offset + _LOCAL_HEADER.size + int(name_bytes) + int(extra_bytes)
        if mark == b"PK\3\4" and start + place.stored_bytes <= size:
            return start
    raise ArchiveError(f"{uri}: the zip is damaged where a member should begin (byte {place.offset}); fetch it again")


def _inflated(data: bytes, place: ZipMember, uri: str) -> bytes:
    """The content of a deflated member: as long as the directory states, and not a byte longer."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(data, place.size_bytes + 1)
    except zlib.error as error:
        raise ArchiveError(f"{uri}: a member is damaged ({error}); fetch the zip again") from error
    if len(content) != place.size_bytes or zlib.crc32(content) != place.crc:
        raise ArchiveError(f"{uri}: a member is damaged (its size or checksum is another); fetch the zip again")
    return content
