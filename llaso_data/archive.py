"""Plain tar archives read in place: a directory of members, and one member as a seekable file."""

from __future__ import annotations

import functools
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO, cast

from llaso_data import storage
from llaso_data.errors import LLaSOError

WHOLE_READ_BYTES = 64 * 1024 * 1024
"""A remote member up to this size is fetched by one complete range request; a larger one is read as it is used."""


@dataclass(frozen=True, slots=True)
class Directory:
    """``members``: name → (offset of its bytes, size), in the order of the archive; the first of equal names stands.

    ``repeated`` names the members that came again; ``problem`` says why the archive could not be read to its end.
    """

    members: MappingProxyType[str, tuple[int, int]]
    repeated: tuple[str, ...] = ()
    problem: str | None = None


def directory(uri: str) -> Directory:
    """The regular members of a plain tar. A tar that is cut short gives its whole members and a ``problem``.

    Raises FileNotFoundError, and LLaSOError where the file is not a plain tar at all (a compressed one is not:
    its members cannot be reached without unpacking all before them).
    """
    version = storage.stat(uri)["version"] if storage.is_local(uri) else ""
    return _directory(uri, version)


@functools.lru_cache(maxsize=16)
def _directory(uri: str, version: str) -> Directory:
    members: dict[str, tuple[int, int]] = {}
    repeated: list[str] = []
    problem = None
    with storage.open_read(uri) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for info in tar:
                    if not info.isreg():
                        continue
                    if info.offset_data + info.size > size:
                        problem = f"the archive ends inside {info.name}"
                    elif info.name in members:
                        repeated.append(info.name)
                    else:
                        members[info.name] = (info.offset_data, info.size)
        except tarfile.TarError as error:
            if not members and problem is None:
                raise LLaSOError(f"{uri}: not a plain tar ({error}); unpack compressed archives first") from error
            problem = problem or f"the archive breaks off after {next(reversed(members))} ({error})"
    return Directory(MappingProxyType(members), tuple(repeated), problem)


@contextmanager
def open_member(uri: str, member: str) -> Iterator[BinaryIO]:
    """The bytes of one member, seekable, read in place. Raises FileNotFoundError for an unknown member."""
    found = directory(uri).members.get(member)
    if found is None:
        raise FileNotFoundError(f"{uri}: no member {member}")
    offset, size = found
    if not storage.is_local(uri) and size <= WHOLE_READ_BYTES:
        fs, path = storage.filesystem(uri)
        data = fs.cat_file(path, start=offset, end=offset + size)
        if len(data) != size:
            raise OSError(f"{uri}: {len(data)} of the {size} bytes of {member} arrived")
        yield io.BytesIO(data)
        return
    with storage.open_read(uri) as file:
        yield cast(BinaryIO, io.BufferedReader(_View(cast(BinaryIO, file), offset, size)))


class _View(io.RawIOBase):
    """``size`` bytes of a file from ``offset`` on, as a file of its own."""

    def __init__(self, file: BinaryIO, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = max(0, min(len(buffer), self._size - self._position))
        self._file.seek(self._offset + self._position)
        data = self._file.read(count)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
