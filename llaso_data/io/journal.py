"""A file of JSON lines that are costly to make: each line is on the disk before the next is added.

A kill may cut off the last line. That piece is dropped when the file is next written to. Any other line that cannot be
read is an error with file and line.
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
    """A file of JSON lines on a disk.

    Args:
        path: the file, which need not exist.
        check: gives the fault of a line, or None.

    Attributes:
        lines: the lines of the file.
        torn: the number of the line that is cut off, from 1; None where none is.

    Raises:
        LLaSOError: with file and line, for a line that is no JSON object or has a fault.
    """

    def __init__(self, path: str, check: Callable[[Line], str | None] = lambda line: None) -> None:
        self.path = path
        self._check = check
        self.lines: list[Line] = []
        self.torn: int | None = None
        self._whole_bytes = 0  # bytes without the torn end
        self._read()

    @contextmanager
    def writing(self) -> Iterator[Callable[[Line], None]]:
        """Open the file for adding. What other processes have added since it was read is read first.

        Yields:
            A function that adds a line; the line is on the disk when it returns.

        Raises:
            LockedError: where another process is adding to the file.
            StoreError: where the disk is full or fails.
        """
        folder = os.path.dirname(os.path.abspath(self.path))
        with storage.writing(self.path, folder):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            if not flock.lock(descriptor, wait=False):
                raise LockedError(f"{self.path}: another run is adding to it; wait for it, or choose another --out")
            self._read()
            with storage.writing(self.path, folder):
                os.ftruncate(descriptor, self._whole_bytes)
            at_line_start = not self._whole_bytes or os.pread(descriptor, 1, self._whole_bytes - 1) == b"\n"

            def add(line: Line) -> None:
                nonlocal at_line_start
                with storage.writing(self.path, folder):
                    _write(descriptor, (b"" if at_line_start else b"\n") + _dump(line))
                at_line_start = True
                self.lines.append(line)

            yield add
        finally:
            os.close(descriptor)

    def sort(self, key: Callable[[Line], str]) -> None:
        """Put the lines in the order of a key, so that the bytes do not depend on the order in which they were added.

        To be called within :meth:`writing`, at its end.
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
                if number == len(pieces):  # only the last one may be cut off
                    self.torn = number
                    break
            if fault:
                raise LLaSOError(f"{self.path}:{number}: {fault}; mend the line or take it out")
            self.lines.append(line)
        self._whole_bytes = len(data) - (len(pieces[-1]) if self.torn else 0)


def _dump(line: Line) -> bytes:
    return storage.json_bytes(line) + b"\n"


def _write(descriptor: int, data: bytes) -> None:
    """Add all of ``data``, or nothing: a piece of a line would spoil the line after it."""
    start = os.lseek(descriptor, 0, os.SEEK_END)
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except BaseException:
        os.ftruncate(descriptor, start)
        raise
