"""The second stage: the names of the members of some zips, in buckets; and the loose files of the source."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from llaso_data.formats.files.suffixes import path_parts
from llaso_data.io import zip_members
from llaso_data.io.archive import ArchiveError
from llaso_data.io.zip_directory import ZipDirectory
from llaso_data.pipeline.convert.by_archive import work
from llaso_data.pipeline.convert.by_archive.origin import Cost, Origin, OriginFile
from llaso_data.pipeline.convert.by_archive.scan import bucket_of

MEMBERS = pa.schema(
    {
        "archive": pa.int32(),
        "order": pa.int64(),
        "name": pa.string(),
        "stored": pa.string(),
        "size": pa.int64(),
        "version": pa.string(),
        "broken": pa.string(),
    }
)
"""Members of a bucket: the archive's number, the place in it, the name that is compared, the one that is stored (null:
the same), the size in bytes, why it cannot be had. A loose file has a version of its own."""

LOOSE = -1
"""The archive of files that lie in none."""
ZIPS_AT_ONCE = 16
_FLUSH_MEMBERS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoriesTask:
    """Some zips to list: their numbers, and the files. Of :data:`LOOSE` files each is a member itself."""

    name: str
    work: str
    origin: Origin
    numbers: tuple[int, ...]
    files: tuple[OriginFile, ...]
    buckets: int


def directories(task: DirectoriesTask) -> Cost:
    """List some zips unless that is done. One that cannot be read is counted, by its name.

    Raises:
        StoreError: The source fails. Without a directory nobody knows whose rows are missing, so the run ends.
    """
    cost = Cost()
    unreadable: dict[str, str] = {}
    members: dict[str, int] = {}
    sums: dict[str, int] = {}
    repeated: list[str] = []
    with work.writing_rows(task.work, task.name) as pieces, task.origin.by_ranges(task.files, cost):
        listing = _Members(task.buckets, pieces)
        for place, (number, file) in enumerate(zip(task.numbers, task.files, strict=True)):
            if number == LOOSE:
                name = file.path.replace("\\", "/")
                listing.add(LOOSE, place, name, file.path, file.size_bytes, version=file.version)
                continue
            before = listing.count
            try:
                known = _read(task.origin, file)
            except ArchiveError as error:
                unreadable[file.path] = str(error).removeprefix(f"{task.origin.pinned(file)}: ")
                continue
            _list(number, file.path, known, listing)
            members[str(number)] = listing.count - before
            sums[str(number)] = sum_of(known)
            repeated += (f"{file.path}!{name}" for name in known.repeated)
        listing.flush()
    stated = {"members": members, "sums": sums, "unreadable": unreadable, "repeated": [len(repeated), *repeated[:1]]}
    work.write_record(task.work, task.name, {**stated, "places": pieces.stated()})
    return cost


def members_of(directory: ZipDirectory) -> Iterator[tuple[str, int, str | None]]:
    """Name, size and why it cannot be had of every member, those that cannot be had after the others."""
    yield from ((*one, None) for one in directory.sizes())
    yield from ((name, 0, why) for name, why in directory.broken.items())


def sum_of(directory: ZipDirectory) -> int:
    """A checksum of a directory: of what is read by ranges nobody else says whether it is right."""
    state = 0
    for member in members_of(directory):
        state = zlib.crc32(repr(member).encode("utf-8", "surrogatepass"), state)
    return state


def _read(origin: Origin, file: OriginFile) -> ZipDirectory:
    """The directory of a zip. What arrives from elsewhere may be damaged on its way, so that an error is seen twice."""
    try:
        return zip_members.read(origin.pinned(file), file.size_bytes)
    except ArchiveError:
        if not origin.fetches():
            raise
        return zip_members.read(origin.pinned(file), file.size_bytes)


def _list(number: int, path: str, known: ZipDirectory, listing: _Members) -> None:
    folder = path.rpartition("/")[0]
    for order, (stored, size_bytes, why) in enumerate(members_of(known)):
        parts = path_parts(stored)
        if not any(part.startswith(".") for part in parts):
            name = "/".join([folder, *parts] if folder else parts)
            listing.add(number, order, name, stored, size_bytes, broken=why)


@dataclass(slots=True)
class _Columns:
    archive: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    name: list[str] = field(default_factory=list)
    stored: list[str | None] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    version: list[str | None] = field(default_factory=list)
    broken: list[str | None] = field(default_factory=list)


class _Members:
    def __init__(self, buckets: int, pieces: work.Pieces) -> None:
        self._count, self._pieces = buckets, pieces
        self._columns: dict[int, _Columns] = {}
        self._waiting = 0
        self.count = 0

    def add(
        self,
        archive: int,
        order: int,
        name: str,
        stored: str,
        size: int,
        version: str | None = None,
        broken: str | None = None,
    ) -> None:
        columns = self._columns.setdefault(bucket_of(name, self._count), _Columns())
        columns.archive.append(archive)
        columns.order.append(order)
        columns.name.append(name)
        columns.stored.append(None if stored == name else stored)
        columns.size.append(size)
        columns.version.append(version)
        columns.broken.append(broken)
        self.count += 1
        self._waiting += 1
        if self._waiting == _FLUSH_MEMBERS:
            self.flush()

    def flush(self) -> None:
        for bucket in sorted(self._columns):
            columns = self._columns[bucket]
            arrays = [getattr(columns, name) for name in MEMBERS.names]
            self._pieces.add(bucket, pa.table(arrays, schema=MEMBERS))
        self._columns, self._waiting = {}, 0
