"""Plain tar archives read in place: a directory of members, and one member as a seekable file."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import IO, BinaryIO, cast

from llaso_data.errors import LLaSOError
from llaso_data.io import storage
from llaso_data.io.tar_links import BrokenLink, Links
from llaso_data.io.tar_members import BrokenTar, Member, NotTar, TarMembers
from llaso_data.io.views import View

WHOLE_READ_BYTES = 64 * 1024 * 1024
"""A remote file or member up to this size is fetched by one request; a larger one is read as it is used."""

COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
"""Endings of tars whose members cannot be reached without unpacking all before them."""

SPARSE = "it is stored sparse, in pieces; write the tar without --sparse"


class ArchiveError(LLaSOError):
    """A file that holds others cannot be read: it is no plain tar, no zip, no table, or is damaged."""


@dataclass(frozen=True, slots=True)
class Directory:
    """The files of a tar. A link stands for the file that it names.

    Attributes:
        members: name → (offset of its bytes, size in bytes), in the order of the archive; of equal names the first.
        repeated: the names that came again.
        broken: name → why its content cannot be had.
        problem: why the archive could not be read to its end; None where it could.
    """

    members: MappingProxyType[str, tuple[int, int]]
    repeated: tuple[str, ...] = ()
    broken: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    problem: str | None = None


def directory(uri: str) -> Directory:
    """List the files of a plain tar, be it several joined ones. One that is cut short gives its whole members.

    Raises:
        FileNotFoundError: where there is no such file.
        ArchiveError: where the file is no plain tar. A compressed one is none: its members cannot be reached without
            unpacking all before them.
    """
    version = storage.stat(uri)["version"] if storage.is_local(uri) else ""
    return _directory(uri, version)


def _headers_of(file: IO[bytes]) -> IO[bytes]:
    """The file without its buffer: of a tar on a disk only headers are read, and nothing of what lies between."""
    if not (isinstance(file, io.BufferedReader) and isinstance(file.raw, io.FileIO)):
        return file
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
    return cast(IO[bytes], file.raw)


@functools.lru_cache(maxsize=16)
def _directory(uri: str, version: str) -> Directory:
    files: dict[str, tuple[int, int]] = {}
    links: dict[str, Member] = {}
    folders: set[str] = set()
    order: dict[str, None] = {}
    repeated: list[str] = []
    broken: dict[str, str] = {}
    last, problem = None, None
    with storage.open_read(uri) as file:
        members = TarMembers(_headers_of(file))
        try:
            for member in members:
                last = member.name
                if member.kind == "folder":
                    folders.add(member.name)
                elif member.kind == "special":
                    continue
                elif member.name in order:
                    repeated.append(member.name)
                else:
                    order[member.name] = None
                    if member.kind == "file":
                        files[member.name] = (member.offset, member.size)
                    elif member.kind == "sparse":
                        broken[member.name] = SPARSE
                    else:
                        links[member.name] = member
        except NotTar as error:
            raise ArchiveError(f"{uri}: not a plain tar ({error}); unpack compressed archives first") from error
        except BrokenTar as error:
            problem = f"the archive breaks off{f' after {last}' if last else ''} ({error})"
    if members.trailing is not None:
        problem = f"after the archive's end, from byte {members.trailing} on, comes what is no tar"
    places = _followed(files, links, folders, order, broken) if links else files
    return Directory(MappingProxyType(places), tuple(repeated), MappingProxyType(broken), problem)


def _followed(
    files: dict[str, tuple[int, int]],
    links: dict[str, Member],
    folders: set[str],
    order: dict[str, None],
    broken: dict[str, str],
) -> dict[str, tuple[int, int]]:
    """Files and links in their ``order``; links that lead to nothing are added to ``broken``."""
    known, places = Links(files, links, folders), {}
    for name in order:
        try:
            place = known.find_content(links[name]) if name in links else files.get(name)
        except BrokenLink as error:
            broken[name] = str(error)
            continue
        if place is not None:
            places[name] = place
    return places


@contextmanager
def open_member(uri: str, member: str) -> Iterator[BinaryIO]:
    """Open one member, seekable and in place; of a link the file that it names.

    Raises:
        FileNotFoundError: for an unknown member, and for a link that leads to nothing.
        ArchiveError: where the file is no plain tar.
    """
    known = directory(uri)
    place = known.members.get(member)
    if place is None:
        raise FileNotFoundError(f"{uri}!{member}: {known.broken.get(member, 'no such file')}")
    offset, size = place
    if not storage.is_local(uri) and size <= WHOLE_READ_BYTES:
        fs, path = storage.filesystem(uri)
        data = fs.cat_file(path, start=offset, end=offset + size)
        if len(data) != size:
            raise OSError(f"{uri}: {len(data)} of the {size} bytes of {member} arrived")
        yield io.BytesIO(data)
        return
    with storage.open_read(uri) as file:
        yield cast(BinaryIO, io.BufferedReader(View(file, offset, size)))
