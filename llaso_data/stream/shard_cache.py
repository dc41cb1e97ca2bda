"""Files of a store kept on a disk of the node, for all of its processes: the ones used last, no more than a limit.

What is not here yet is read from the store meanwhile (:mod:`llaso_data.stream.fetch`), so nobody waits for a whole
shard. Files appear whole, and one that is removed while it is read stays readable to who has it open.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from llaso_data.errors import LLaSOError
from llaso_data.io import flock, outputs, storage
from llaso_data.records import digest

_KEPT = ".kept"
_PART = ".part"
_NAME = re.compile(rf"[0-9a-f]{{32}}({re.escape(_KEPT)}|{re.escape(_PART)})")


class FileCache:
    """Whole files in ``folder``; ``limit_bytes`` holds for all processes together, and is kept from the start."""

    def __init__(self, folder: str, limit_bytes: int) -> None:
        if limit_bytes < 1:
            raise LLaSOError("the cache's limit is at least one byte")
        self.folder = outputs.on_disk(folder, "the cache")
        self.limit_bytes = limit_bytes
        with storage.writing(folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.trim(0)

    def path(self, uri: str, version: str) -> Path:
        """Where a shard is kept; ``version`` is its dataset's digest, so that a new one is another file."""
        return self.folder / f"{digest(uri, version)}{_KEPT}"

    def open(self, uri: str, version: str) -> int | None:
        """A descriptor of the shard, which counts as used now; None where it is not here."""
        path = self.path(uri, version)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with suppress(FileNotFoundError):
            os.utime(path)
        return descriptor

    def copy(self, uri: str, anew: bool = False) -> str | None:
        """Gives the path of a copy of a file, and brings it here if need be.

        Args:
            uri: The file.
            anew: Fetches it again even if it is here.

        Returns:
            The path of the copy; None where the file is larger than the limit.

        Raises:
            FileNotFoundError: There is no such file.
            StoreError: The store fails.
        """
        version = storage.stat(uri)["version"]
        if anew:
            self.drop(uri, version)
        self.fill(uri, version, wait=True)
        path = self.path(uri, version)
        return str(path) if path.exists() else None

    def drop(self, uri: str, version: str) -> None:
        """Forget a shard whose bytes are not right."""
        self.path(uri, version).unlink(missing_ok=True)

    def fill(self, uri: str, version: str, wait: bool = False) -> bool:
        """Brings a file here.

        Args:
            uri: The file.
            version: What tells this state of the file from others, such as its dataset's digest.
            wait: Waits for another process that is at it.

        Returns:
            Whether this call brought it: False where it is here, another process is at it, or it is larger than the
            limit.
        """
        path = self.path(uri, version)
        if path.exists():
            return False
        part = path.with_suffix(_PART)  # which its writer holds a lock on
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if not flock.lock(descriptor, wait=wait) or not flock.is_at(part, descriptor):
                return False
            size_bytes = -1 if path.exists() else storage.stat(uri)["size"]
            if not 0 <= size_bytes <= self.limit_bytes:
                part.unlink()
                return False
            self.trim(size_bytes)
            try:
                fs, remote = storage.filesystem(uri)
                fs.get_file(remote, str(part))
                if part.stat().st_size != size_bytes:
                    raise LLaSOError(f"{uri}: {part.stat().st_size} of {size_bytes} bytes came")
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        finally:
            os.close(descriptor)
        self.trim(0)  # others may have filled the room meanwhile
        return True

    def trim(self, room_bytes: int) -> None:
        """Remove what was used longest ago until ``room_bytes`` more fit."""
        with flock.locked(self.folder / ".trim"):
            kept, total = [], 0
            for entry in os.scandir(self.folder):
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    named = _NAME.fullmatch(entry.name)  # others' files in the folder are neither counted nor removed
                    if named is None or (named[1] == _PART and _abandoned(entry.path)):
                        continue
                    if named[1] == _KEPT:
                        kept.append((status.st_mtime, status.st_size, entry.path))
                    total += status.st_size
            for _, size, path in sorted(kept):
                if total + room_bytes <= self.limit_bytes:
                    break
                with suppress(FileNotFoundError):
                    os.remove(path)
                total -= size


def _abandoned(path: str) -> bool:
    """Removes a file whose writer was killed; the kernel gave its lock back."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if not flock.lock(descriptor, wait=False):
            return False
        if flock.is_at(path, descriptor):
            os.remove(path)
        return True
    finally:
        os.close(descriptor)


class Prefetch:
    """Threads that bring shards into a cache, in the order in which they are asked for. What fails is left out:
    reading it from the store will say why."""

    def __init__(self, cache: FileCache, threads: int = 4) -> None:
        self._cache = cache
        self._threads = threads
        self._waiting: list[tuple[str, str]] = []
        self._asked: set[tuple[str, str]] = set()
        self._changed = threading.Condition()
        self._running: list[threading.Thread] = []
        self._closed = False

    def want(self, shards: Sequence[tuple[str, str]]) -> None:
        """(URI, version) of what will be read next."""
        with self._changed:
            self._waiting += [shard for shard in shards if shard not in self._asked]
            self._asked = set(self._waiting) | set(shards)
            self._changed.notify_all()
            while len(self._running) < self._threads:
                thread = threading.Thread(target=self._work, daemon=True)
                self._running.append(thread)
                thread.start()

    def close(self) -> None:
        """Ends the threads; what they are at is still finished."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                uri, version = self._waiting.pop(0)
            with suppress(Exception):
                self._cache.fill(uri, version)
