"""The audio of an open file as a decoder gives it, and the guarded file that decoders in C read from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from llaso_data.errors import AudioError

RATES_HZ = range(1_000, 768_001)

Block = npt.NDArray[np.float32]


@dataclass
class Track:
    """The audio of one open file.

    Where files lie one after another in the file (links, as Ogg calls them), ``rate_hz``, ``stated_frames`` and
    ``decoded_frames`` are of the link that blocks come from.

    Attributes:
        rate_hz: the file's own.
        channels: how many.
        codec: container and codec, such as ``wav/pcm_16``.
        stated_frames: the length that the header states; None where it states none.
        blocks: float32 from -1 to 1, shape (frames, channels).
        decoded_frames: how many came so far.
        present_share: as :func:`llaso_data.audio.containers.present_share` gives it.
        link: the number of the link, from 0.
        earlier_links_s: seconds of audio in the links before.
    """

    rate_hz: int
    channels: int
    codec: str
    stated_frames: int | None
    blocks: Iterator[Block] = field(default_factory=lambda: iter(()))
    decoded_frames: int = 0
    present_share: float | None = None
    link: int = 0
    earlier_links_s: float = 0.0

    @property
    def decoded_s(self) -> float:
        """Seconds that came so far, of all links."""
        return self.earlier_links_s + self.decoded_frames / self.rate_hz

    def begin_link(self, rate_hz: int) -> None:
        """Begin the next link, at its own rate."""
        self.earlier_links_s, self.decoded_frames, self.stated_frames = self.decoded_s, 0, None
        self.rate_hz, self.link = rate_hz, self.link + 1


class GuardedFile:
    """A file for C callbacks, which cannot raise. After its first error, which it keeps, it reads as if at its end."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self.error: Exception | None = None

    def read(self, count: int = -1) -> bytes:
        """Read as a file does; nothing after an error."""
        if self.error is not None:
            return b""  # decoders would ask a failed store again and again, and it takes its time each time
        try:
            return self._file.read(count)
        except Exception as error:  # the clients of stores have exceptions of their own
            self.error = self.error or error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, not before the start. Returns the position."""
        try:
            base = {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._size_bytes}[whence]
            return self._file.seek(max(0, base + offset))  # damaged headers lead before the start
        except Exception as error:
            self.error = self.error or error
            return self._file.tell()

    def tell(self) -> int:
        """The position in bytes."""
        return self._file.tell()

    def check(self) -> None:
        """Raise the kept error, if any.

        Raises:
            OSError: also for an error of another kind, which is then its cause.
        """
        if isinstance(self.error, OSError):
            raise self.error
        if self.error is not None:
            raise OSError(f"{type(self.error).__name__}: {self.error}") from self.error


def truncated(track: Track, label: str, why: str = "") -> AudioError:
    """The error of a track that ended too early, with the seconds that came out."""
    decoded = f"{track.decoded_frames / track.rate_hz:.2f} s came out"
    if track.stated_frames:
        decoded += f" of the {track.stated_frames / track.rate_hz:.2f} s that it states"
    return AudioError("truncated", f"{label}: cut short or damaged: {decoded}{why}; fetch the file again")


def error_text(error: Exception) -> str:
    """What a decoder's exception says, without a full stop."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).strip().rstrip(".")
