"""From a file's channels to 16 kHz mono: choose, average, resample, round; and find channels that cancel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from llaso_data.audio.tracks import Block, Track
from llaso_data.errors import AudioError

SAMPLE_RATE_HZ = 16_000
FULL_SCALE = 32_768  # int16 −32768 is −1.0

CANCELLED = 0.5
"""Channels cancel where the energy of their mean is below this share of what uncorrelated channels leave.

The mean of n uncorrelated channels has one n-th of their mean energy. Two channels fall below this share where their
correlation is below −0.5."""
_LOUDEST_SHARE = 0.99  # of the loudest channel's energy: the first channel with as much counts as the loudest

Pcm = npt.NDArray[np.int16]
Channels = tuple[int, ...]
"""Which of a file's channels are averaged, counted from 0."""


class ChannelMixer:
    """Mixes and resamples one choice of a track's channels, block by block.

    Attributes:
        channels: the choice, counted from 0; None for all.
        position: samples at 16 kHz that were handed out, which the caller counts.
        fault: why nothing more can come.
    """

    def __init__(self, track: Track, channels: Channels | None, label: str) -> None:
        self.channels = channels
        self.position = 0
        self.fault: AudioError | None = None
        self._label = label
        self._link = track.link
        self._stream = _resampler(track)
        if channels and max(channels) >= track.channels:
            self.fault = _bad_channel(label, max(channels), track.channels)

    def mix(self, track: Track, block: Block) -> tuple[Block, npt.NDArray[np.float32], list[Pcm]]:
        """Mix the next block of a track.

        Args:
            track: its rate and link are those of the block.
            block: float32 of shape (frames, channels).

        Returns:
            The chosen channels (frames, chosen); their mean (frames,); and blocks of int16 at 16 kHz, as the resampler
            gives them.

        Raises:
            AudioError: ``bad_channel``, where a later file within the file has fewer channels; ``not_finite``.
        """
        pcm: list[Pcm] = []
        if track.link != self._link:
            pcm += _flush(self._stream)
            self._stream, self._link = _resampler(track), track.link
        if self.channels is not None:
            if max(self.channels) >= block.shape[1]:
                raise _bad_channel(self._label, max(self.channels), block.shape[1])
            block = block[:, list(self.channels)]
        mono = channel_mean(block)
        if not np.isfinite(mono).all():
            detail = f"{self._label}: NaN or infinite samples before {track.decoded_s:.2f} s; export it again"
            raise AudioError("not_finite", detail)
        pcm.append(to_int16(mono if self._stream is None else self._stream.resample_chunk(mono)))
        return block, mono, pcm

    def flush(self) -> list[Pcm]:
        """The samples that the resampler still holds at the end."""
        return _flush(self._stream)


def _bad_channel(label: str, channel: int, channel_count: int) -> AudioError:
    contents = "channel 0 alone" if channel_count == 1 else f"{channel_count} channels, 0 to {channel_count - 1}"
    return AudioError("bad_channel", f"{label}: no channel {channel} in it: it has {contents}; correct the row")


class ChannelEnergies:
    """The energy of each channel of a span, and of their mean."""

    def __init__(self) -> None:
        self._channels = np.zeros(0)
        self._mean = 0.0

    def add(self, block: Block, mono: npt.NDArray[np.float32]) -> None:
        """Add the energies of a block (frames, channels) and of its mean over channels (frames,)."""
        energies = np.einsum("ij,ij->j", block, block, dtype=np.float64)
        if len(energies) > len(self._channels):  # a file in the file may have more channels than the one before
            self._channels = np.pad(self._channels, (0, len(energies) - len(self._channels)))
        self._channels[: len(energies)] += energies
        self._mean += float(np.einsum("i,i->", mono, mono, dtype=np.float64))

    def substitute(self) -> int | None:
        """The channel that stands for a mean that cancels: the first of the loudest. None where it does not cancel."""
        count = len(self._channels)
        if count < 2 or self._mean * count >= CANCELLED * self._channels.sum() / count:
            return None
        return int(np.flatnonzero(self._channels >= _LOUDEST_SHARE * self._channels.max())[0])


def channel_mean(block: Block) -> npt.NDArray[np.float32]:
    """The mean over channels of (frames, channels), shape (frames,).

    Channels are added in their order, so that the sum is the same on every machine.
    """
    if block.shape[1] == 1:
        return np.ascontiguousarray(block[:, 0])
    total: npt.NDArray[np.float32] = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        total += block[:, channel]
    total /= np.float32(block.shape[1])
    return total


def file_channel(channels: Sequence[int] | None, taken: int | None) -> int | None:
    """The number in the file of the channel that has the number ``taken`` among the chosen ``channels``."""
    return taken if channels is None or taken is None else channels[taken]


def _resampler(track: Track) -> Any:
    """A resampler to 16 kHz; None for a track that has that rate."""
    if track.rate_hz == SAMPLE_RATE_HZ:
        return None
    import soxr

    return soxr.ResampleStream(track.rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32", quality="HQ")


def _flush(stream: Any) -> list[Pcm]:
    return [] if stream is None else [to_int16(stream.resample_chunk(np.zeros(0, np.float32), last=True))]


def to_int16(samples: npt.NDArray[np.float32]) -> Pcm:
    """Samples from -1 to 1, of any shape, as int16, rounded and clipped."""
    scaled = np.rint(samples * np.float32(FULL_SCALE))
    return cast(Pcm, np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16))
