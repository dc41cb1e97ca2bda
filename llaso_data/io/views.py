"""A part of a file as a file of its own."""

from __future__ import annotations

import io
import os
from typing import Protocol


class SeekableFile(Protocol):
    """A binary file, open for reading."""

    def read(self, count: int = -1) -> bytes:
        """Read at most ``count`` bytes; all where it is below 0."""
        ...

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place. Returns the position."""
        ...

    def tell(self) -> int:
        """The position in bytes."""
        ...


class View(io.RawIOBase):
    """The ``size`` bytes of a file from ``offset`` on, as a file; several views may share one file."""

    def __init__(self, file: SeekableFile, offset: int, size: int) -> None:
        self._file = file
        self._offset = offset
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in the view, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the view. Returns the position.

        Raises:
            ValueError: for a place before the view.
        """
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer. Returns the number of bytes, 0 at the end of the view."""
        count = max(0, min(len(buffer), self._size - self._position))
        self._file.seek(self._offset + self._position)
        data = self._file.read(count)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
