"""A file's channels on their way to 16 kHz mono: chosen, averaged, resampled, rounded; and whether they cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from llaso_data.audio.decoders import Block, Track
from llaso_data.errors import AudioError

SAMPLE_RATE_HZ = 16_000
FULL_SCALE = 32_768  # int16 −32768 is −1.0

CANCELLED = 0.5
"""Channels that have nothing to do with each other average to one n-th of their mean energy. Less than this part of
that is left only where they speak against each other: of two, where they correlate by less than −0.5."""
_AS_LOUD = 0.99  # of the loudest channel's energy: the first channel with as much is taken

Pcm = npt.NDArray[np.int16]
Channels = tuple[int, ...]
"""Which of a file's channels are averaged, counted from 0."""


class Lane:
    """One choice of channels (None: all), resampled while the file goes by. ``position``: 16 kHz samples so far."""

    def __init__(self, track: Track, channels: Channels | None, label: str) -> None:
        self.channels = channels
        self.position = 0
        self.fault: AudioError | None = None
        self._label = label
        self._link = track.link
        self._stream = _resampler(track)
        if channels and max(channels) >= track.channels:
            self.fault = _bad_channel(label, max(channels), track.channels)

    def take(self, track: Track, block: Block) -> tuple[Block, npt.NDArray[np.float32], list[Pcm]]:
        """(the chosen channels, their mean, what came out of it) of a track's next block.

        Raises AudioError ``bad_channel``, where a file within the file has fewer, and ``not_finite``.
        """
        came: list[Pcm] = []
        if track.link != self._link:
            came += _rest(self._stream)
            self._stream, self._link = _resampler(track), track.link
        if self.channels is not None:
            if max(self.channels) >= block.shape[1]:
                raise _bad_channel(self._label, max(self.channels), block.shape[1])
            block = block[:, list(self.channels)]
        mono = mean(block)
        if not np.isfinite(mono).all():
            detail = f"{self._label}: NaN or infinite samples before {track.decoded_s:.2f} s; export it again"
            raise AudioError("not_finite", detail)
        came.append(to_int16(mono if self._stream is None else self._stream.resample_chunk(mono)))
        return block, mono, came

    def rest(self) -> list[Pcm]:
        """What the resampler still holds at the end."""
        return _rest(self._stream)


def _bad_channel(label: str, channel: int, there: int) -> AudioError:
    what = "channel 0 alone" if there == 1 else f"{there} channels, 0 to {there - 1}"
    return AudioError("bad_channel", f"{label}: no channel {channel} in it: it has {what}; correct the row")


class Balance:
    """The energy of each channel of a span, and of their mean."""

    def __init__(self) -> None:
        self._channels = np.zeros(0)
        self._mean = 0.0

    def add(self, block: Block, mono: npt.NDArray[np.float32]) -> None:
        """Count (frames, channels) and the mean over channels of the same frames."""
        energies = np.einsum("ij,ij->j", block, block, dtype=np.float64)
        if len(energies) > len(self._channels):  # a file in the file may have more channels than the one before
            self._channels = np.pad(self._channels, (0, len(energies) - len(self._channels)))
        self._channels[: len(energies)] += energies
        self._mean += float(np.einsum("i,i->", mono, mono, dtype=np.float64))

    def taken(self) -> int | None:
        """Where the channels cancel, the one to take: the loudest, the first of several; else None."""
        count = len(self._channels)
        if count < 2 or self._mean * count >= CANCELLED * self._channels.sum() / count:
            return None
        return int(np.flatnonzero(self._channels >= _AS_LOUD * self._channels.max())[0])


def mean(block: Block) -> npt.NDArray[np.float32]:
    """The mean over channels of (frames, channels), added channel by channel: the same sum on every machine."""
    if block.shape[1] == 1:
        return np.ascontiguousarray(block[:, 0])
    total: npt.NDArray[np.float32] = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        total += block[:, channel]
    total /= np.float32(block.shape[1])
    return total


def named(channels: Sequence[int] | None, taken: int | None) -> int | None:
    """The file's own number of a channel among the chosen ones."""
    return taken if channels is None or taken is None else channels[taken]


def _resampler(track: Track) -> Any:
    """To 16 kHz; None where nothing is to be done."""
    if track.rate_hz == SAMPLE_RATE_HZ:
        return None
    import soxr

    return soxr.ResampleStream(track.rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")


def _rest(stream: Any) -> list[Pcm]:
    return [] if stream is None else [to_int16(stream.resample_chunk(np.zeros(0, np.float32), last=True))]


def to_int16(samples: npt.NDArray[np.float32]) -> Pcm:
    """Samples from -1 to 1 as 16-bit ones, rounded and clipped."""
    scaled = np.rint(samples * np.float32(FULL_SCALE))
    return cast(Pcm, np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16))
