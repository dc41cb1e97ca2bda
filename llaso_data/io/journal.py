"""JSON lines that are added one by one and cannot be made again for nothing: each is on the disk before the next.

A kill may cut the last line off in the middle. That piece is dropped when the file is next written to; any other line
that cannot be read is an error with file and line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import flock, storage
from llaso_data.io.lock import LockedError

Line = dict[str, Any]


class Journal:
    """A file of JSON lines on a disk. ``lines`` are those that are there; ``torn`` is the number of one that is cut.

    Raises LLaSOError, with file and line, for a line that is no JSON object or that ``check`` gives a fault of.
    """

    def __init__(self, path: str, check: Callable[[Line], str | None] = lambda line: None) -> None:
        self.path = path
        self._check = check
        self.lines: list[Line] = []
        self.torn: int | None = None
        self._whole = 0  # bytes without the torn end
        self._read()

    @contextmanager
    def writing(self) -> Iterator[Callable[[Line], None]]:
        """What adds a line: it is on the disk when that returns. Lines of others since the last look are there first.

        Raises LockedError where another process is adding to the file.
        """
        folder = os.path.dirname(os.path.abspath(self.path))
        with storage.writing(self.path, folder):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if not flock.lock(descriptor, wait=False):
                raise LockedError(f"{self.path}: another run is adding to it; wait for it, or choose another --out")
            self._read()
            with storage.writing(self.path, folder):
                os.ftruncate(descriptor, self._whole)
            ended = not self._whole or os.pread(descriptor, 1, self._whole - 1) == b"\n"

            def add(line: Line) -> None:
                nonlocal ended
                with storage.writing(self.path, folder):
                    _write(descriptor, (b"" if ended else b"\n") + _dump(line))
                ended = True
                self.lines.append(line)

            yield add
        finally:
            os.close(descriptor)

    def sort(self, key: Callable[[Line], str]) -> None:
        """The same lines in the order of a key: what was added in any order, in one go or many, gives the same bytes.

        For within :meth:`writing`, at its end.
        """
        ordered = sorted(self.lines, key=key)
        data = b"".join(map(_dump, ordered))
        if data != storage.read_bytes(self.path):
            storage.write_bytes(self.path, data)
        self.lines = ordered

    def _read(self) -> None:
        data = storage.read_bytes(self.path) if os.path.exists(self.path) else b""
        self.lines, self.torn = [], None
        pieces = data.split(b"\n")
        for number, piece in enumerate(pieces, 1):
            if not piece.strip():
                continue
            fault: str | None = "no JSON object"
            try:
                line = json.loads(piece)
                fault = self._check(line) if isinstance(line, dict) else fault
            except (ValueError, RecursionError):
                if number == len(pieces):  # the only one without its end
                    self.torn = number
                    break
            if fault:
                raise LLaSOError(f"{self.path}:{number}: {fault}; mend the line or take it out")
            self.lines.append(line)
        self._whole = len(data) - (len(pieces[-1]) if self.torn else 0)


def _dump(line: Line) -> bytes:
    return storage.json_bytes(line) + b"\n"


def _write(descriptor: int, data: bytes) -> None:
    """All of it or nothing: a piece would spoil the line that comes after it."""
    start = os.lseek(descriptor, 0, os.SEEK_END)
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except BaseException:
        os.ftruncate(descriptor, start)
        raise
