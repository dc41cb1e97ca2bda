"""Where the files of a source lie, and how a task gets one: in place on a disk, whole from a store or from the hub."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from llaso_data.errors import LLaSOError
from llaso_data.io import disk_budget, hub_files, hub_open, storage
from llaso_data.io.hub_requests import Traffic
from llaso_data.io.store_errors import StoreError, reading, writing


@dataclass(frozen=True, slots=True)
class OriginFile:
    """A file of a source.

    Attributes:
        path: Relative to the source's root.
        size_bytes: Its length.
        version: Changes with its bytes: on the hub the SHA-256 that the repository states.
        hub: What the hub lists it as; None elsewhere.
    """

    path: str
    size_bytes: int
    version: str
    hub: hub_files.HubFile | None = None


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where a task may put files, and how many bytes all tasks of a machine may put there together."""

    base: str
    budget_bytes: int


@dataclass(slots=True)
class Cost:
    """What a task has cost. It is said of a run, and is no part of a result: another run may cost more."""

    requests: int = 0
    fetched_bytes: int = 0
    peak_scratch_bytes: int = 0

    def take(self, traffic: Traffic) -> None:
        """Count what a transfer has cost."""
        self.requests += traffic.requests
        self.fetched_bytes += traffic.received_bytes

    def add(self, other: Cost) -> None:
        """Count that of another task."""
        self.requests += other.requests
        self.fetched_bytes += other.fetched_bytes
        self.peak_scratch_bytes = max(self.peak_scratch_bytes, other.peak_scratch_bytes)


@dataclass(frozen=True, slots=True)
class Origin:
    """A source whose files lie on a disk, on a store or on the hub.

    Attributes:
        root: Its address, as the user named it, absolute.
        hub: The repository at its commit, without its list of files; None elsewhere.
    """

    root: str
    hub: hub_files.HubTree | None = field(default=None)

    def uri(self, path: str) -> str:
        """What records call a file: its address without a commit."""
        return storage.join(self.root, path)

    def pinned(self, file: OriginFile) -> str:
        """The address of what is read: on the hub that at the commit."""
        return self.uri(file.path) if self.hub is None or file.hub is None else f"{self.hub.uri}/{file.hub.path}"

    def fetches(self, is_table: bool = False) -> bool:
        """Whether a task needs a copy of a file on its own disk; a table is read from a store as it comes."""
        return self.hub is not None or not (is_table or storage.is_local(self.root))

    @contextmanager
    def by_ranges(self, files: Sequence[OriginFile], cost: Cost) -> Iterator[None]:
        """Inside of this block files on the hub are read by ranges, at the commit, without a list of the others."""
        if self.hub is None:
            yield
            return
        listed = tuple(file.hub for file in files if file.hub is not None)
        hub_open.remember(self.hub.uri, replace(self.hub, files=listed))
        with hub_open.counted() as traffic:
            try:
                yield
            finally:
                cost.take(traffic)


@contextmanager
def at_hand(
    origin: Origin, file: OriginFile, scratch: Scratch, cost: Cost, beside_bytes: int = 0, is_table: bool = False
) -> Iterator[str]:
    """A file where it can be read: its own place, or a copy that is gone afterwards.

    Inside of the block temporary files of this process lie in the same folder, and their room is a part of the budget.

    Args:
        origin: Where it lies.
        file: The file.
        scratch: Where a copy goes.
        cost: Counts what this takes.
        beside_bytes: Room for what is written besides while the copy is there.
        is_table: Whether it is read from its beginning to its end, once.

    Raises:
        FetchError: It cannot be had: the source fails again and again, or its sum is wrong.
    """
    if not origin.fetches(is_table):
        with disk_budget.temporary_files_in(scratch.base):
            yield origin.pinned(file)
        return
    with disk_budget.room(scratch.base, file.size_bytes + beside_bytes, scratch.budget_bytes) as room:
        cost.peak_scratch_bytes = max(cost.peak_scratch_bytes, room.in_use_bytes)
        with disk_budget.temporary_files_in(room.folder):
            path = os.path.join(room.folder, os.path.basename(file.path))
            _fetch(origin, file, path, cost)
            yield path


class FetchError(LLaSOError):
    """A file cannot be had now; what needs it waits for another run."""


def _fetch(origin: Origin, file: OriginFile, path: str, cost: Cost) -> None:
    try:
        if origin.hub is not None and file.hub is not None:
            traffic = Traffic()
            try:
                hub_files.fetch(origin.hub, file.hub, path, traffic)
            finally:
                cost.take(traffic)
        else:
            _copy(origin.uri(file.path), file, path, cost)
    except FileNotFoundError as error:
        raise FetchError(f"{origin.uri(file.path)}: it is gone since the source was listed") from error
    except LLaSOError as error:
        raise FetchError(str(error)) from error


def _copy(uri: str, file: OriginFile, path: str, cost: Cost) -> None:
    """From a store, by one read from the beginning to the end."""
    fs, name = storage.filesystem(uri)
    cost.requests += 1
    with reading(uri, False), writing(path, os.path.dirname(path)):
        if storage.stat(uri)["version"] != file.version:
            raise FetchError(f"{uri}: it was changed since the source was listed; run the same command again")
        fs.get_file(name, path)
    size_bytes = os.path.getsize(path)
    cost.fetched_bytes += size_bytes
    if size_bytes != file.size_bytes:
        raise StoreError(f"{uri}: {size_bytes:,} of {file.size_bytes:,} bytes arrived")
