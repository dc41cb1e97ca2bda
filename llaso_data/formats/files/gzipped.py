"""Text in gzip: unpacked while it is read, and no further than a table of text would be."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import IO

from llaso_data.errors import LLaSOError

MAX_EXPANSION = 100
"""How many times its own size a file may unpack to. Tables of text unpack to 3 to 20 times; what unpacks to a thousand
was made to fill memory and time."""
_ALWAYS_BYTES = 64 << 20  # however small the file


class GzipError(LLaSOError):
    """A gzip file that is damaged, cut short, or unpacks to more than it should."""


def unpacked(file: IO[bytes]) -> IO[bytes]:
    """The content of a gzip file, which can go back to its beginning.

    Reading it raises :class:`GzipError` where the file is damaged or cut short, and where it unpacks to more than
    :data:`MAX_EXPANSION` times its size.

    Args:
        file: The gzip file, open for reading; it can seek.
    """
    size_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    return io.BufferedReader(_Unpacked(file, max(_ALWAYS_BYTES, MAX_EXPANSION * size_bytes)))


class _Unpacked(io.RawIOBase):
    def __init__(self, file: IO[bytes], most_bytes: int) -> None:
        super().__init__()
        self._gzip = gzip.GzipFile(fileobj=file, mode="rb")
        self._most_bytes = most_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._gzip.seek(offset, whence)

    def tell(self) -> int:
        return self._gzip.tell()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # io says Any buffer
        try:
            data = self._gzip.read(len(buffer))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise GzipError(f"the compressed file breaks off or is damaged ({error}); fetch it again") from error
        if self._gzip.tell() > self._most_bytes:
            raise GzipError(
                f"it unpacks to more than {self._most_bytes:,} bytes, which no table of text does; unpack it yourself"
            )
        buffer[: len(data)] = data
        return len(data)
