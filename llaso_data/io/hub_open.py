"""Files of the Hugging Face hub open for reading, by few requests: what is read on and on comes in long parts."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import IO, cast

from llaso_data.io import hub_files, hugging_face
from llaso_data.io.hub_files import HubFile, HubTree
from llaso_data.io.hub_listing import MissingEntryError
from llaso_data.io.hub_requests import Traffic

_FIRST_BYTES, _MOST_BYTES = 1 << 18, 1 << 24
_listed: dict[tuple[str, str, str, str | None], dict[str, HubFile]] = {}
_trees: dict[tuple[str, str, str, str | None], HubTree] = {}
_lock = threading.Lock()
_traffic: ContextVar[Traffic | None] = ContextVar("llaso_hub_traffic", default=None)


def remember(uri: str, tree: HubTree) -> None:
    """Take the files of a repository from this list from now on, and from its commit.

    Args:
        uri: The repository, or a folder in it, as it was named.
        tree: Its files.
    """
    key = _key(uri)
    with _lock:
        _trees[key] = HubTree(tree.repo, tree.kind, tree.commit)
        _listed[key] = {**_listed.get(key, {}), **{file.path: file for file in tree.files}}


def find(uri: str) -> tuple[HubTree, HubFile]:
    """The file that an address names, and its repository at a commit: that of :func:`remember`, else that of now.

    Raises:
        FileNotFoundError: There is no such file.
        LLaSOError: As of :func:`~llaso_data.io.hub_files.look`.
    """
    key, place = _key(uri), hugging_face.parse(uri)
    if (file := _listed.get(key, {}).get(place.folder)) is not None:
        return _trees[key], file
    try:
        tree, file = hub_files.look(uri, _traffic.get())
    except MissingEntryError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri) from error
    if place.revision == tree.commit:  # what does not change
        remember(uri, replace(tree, files=(file,)))
    return tree, file


@contextmanager
def counted() -> Iterator[Traffic]:
    """Count the requests that reading costs inside of this block."""
    traffic = Traffic()
    token = _traffic.set(traffic)
    try:
        yield traffic
    finally:
        _traffic.reset(token)


def read_range(uri: str, start: int, end: int) -> bytes:
    """Bytes of a file from ``start`` to before ``end``, or to where it ends. Errors are those of :func:`find`."""
    return _read(*find(uri), start, end)


def open_file(uri: str) -> IO[bytes]:
    """A file of the hub, seekable; it stays at its commit. Errors are those of :func:`find`."""
    return cast(IO[bytes], io.BufferedReader(_Ranges(*find(uri)), buffer_size=1 << 16))


def _read(tree: HubTree, file: HubFile, start: int, end: int) -> bytes:
    end = min(end, file.size_bytes)
    return hub_files.read_range(tree, file, start, end, _traffic.get()) if start < end else b""


def _key(uri: str) -> tuple[str, str, str, str | None]:
    place = hugging_face.parse(uri)
    return hugging_face.endpoint(), place.kind, place.repo, place.revision


class _Ranges(io.RawIOBase):
    """A file by ranges, each twice as long as the one before it while they follow each other."""

    def __init__(self, tree: HubTree, file: HubFile) -> None:
        self._tree, self._file, self._size_bytes = tree, file, file.size_bytes
        self._place = 0
        self._start, self._data = 0, b""
        self._length = _FIRST_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size_bytes}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = self._start + len(self._data)
        if not self._start <= self._place < end:
            if self._place >= self._size_bytes:
                return 0
            follows = self._data and self._place == end
            self._length = min(2 * self._length, _MOST_BYTES) if follows else _FIRST_BYTES
            last = min(self._place + max(self._length, len(buffer)), self._size_bytes)
            self._start, self._data = self._place, _read(self._tree, self._file, self._place, last)
        given = self._data[self._place - self._start :][: len(buffer)]
        buffer[: len(given)] = given
        self._place += len(given)
        return len(given)
