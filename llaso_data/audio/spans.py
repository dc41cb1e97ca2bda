"""Cut spans out of the samples of a file while they come."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from llaso_data.audio.mixing import SAMPLE_RATE_HZ, ChannelEnergies, Channels, Pcm
from llaso_data.audio.tracks import Block
from llaso_data.errors import AudioError

SPAN_TOLERANCE_S = 0.1  # manifests round: a span may end this much after the audio and is cut there

Span = tuple[float | None, float | None] | tuple[float | None, float | None, Channels | None]
"""Start and end in seconds, None for the file's own; and which of its channels are averaged, None for all."""


class SpanSlice:
    """One span of a file that is decoded in one pass.

    Attributes:
        start: the first sample at 16 kHz.
        end: the sample after the last; None for the end of the file.
        fault: why nothing comes of the span.
        samples: how many came so far.
        energies: of the channels of the span.
    """

    def __init__(self, start: int, end: int | None, fault: AudioError | None) -> None:
        self.start = start
        self.end = end
        self.fault = fault
        self.samples = 0
        self.energies = ChannelEnergies()

    @classmethod
    def of(cls, start_s: float | None, end_s: float | None, max_duration_s: float | None, label: str) -> SpanSlice:
        """Make one of seconds; what is no span, or too long, has its fault from the beginning."""
        start_s = 0.0 if start_s is None else start_s
        fault = None
        if not (0 <= start_s < math.inf) or (end_s is not None and not (start_s < end_s < math.inf)):
            fault = AudioError("span_outside", f"{label}: {start_s}–{end_s} s is not a span")
            return cls(0, 0, fault)
        start, end = round(start_s * SAMPLE_RATE_HZ), None if end_s is None else round(end_s * SAMPLE_RATE_HZ)
        if end is not None and max_duration_s is not None and end - start > max_duration_s * SAMPLE_RATE_HZ:
            fault = _too_long(label, max_duration_s)
        elif end == start:
            fault = AudioError("span_outside", f"{label}: {start_s}–{end_s} s is shorter than one sample")
        return cls(start, end, fault)

    def done(self, position: int) -> bool:
        """Whether nothing after the sample ``position`` belongs to the span."""
        return self.fault is not None or (self.end is not None and self.end <= position)

    def add_energies(self, before_s: float, rate_hz: int, block: Block, mono: npt.NDArray[np.float32]) -> None:
        """Add the energies of a block, as far as it belongs to the span.

        Args:
            before_s: where the block begins in the file.
            rate_hz: the file's own.
            block: shape (frames, channels).
            mono: their mean, shape (frames,).
        """
        first = max(0, round((self.start / SAMPLE_RATE_HZ - before_s) * rate_hz))
        last = len(block) if self.end is None else round((self.end / SAMPLE_RATE_HZ - before_s) * rate_hz)
        if first < last and self.fault is None:
            self.energies.add(block[first:last], mono[first:last])

    def part(self, position: int, block: Pcm, max_duration_s: float | None, label: str) -> Pcm | None:
        """The part of a block at ``position`` that belongs to the span."""
        if self.done(position) or position + len(block) <= self.start:
            return None
        part = block[max(0, self.start - position) : None if self.end is None else self.end - position]
        self.samples += len(part)
        if max_duration_s is not None and self.samples > max_duration_s * SAMPLE_RATE_HZ:
            self.fault = _too_long(label, max_duration_s)
            return None
        return part

    def verdict(self, position: int, fault: AudioError | None, label: str) -> AudioError | None:
        """The span's error, or None.

        Args:
            position: samples at 16 kHz that came out.
            fault: what ended the decoding early.
        """
        if self.fault is not None:
            return self.fault
        if fault is not None and not self.done(position):
            return fault
        beyond = (self.end or 0) - position
        if self.start >= position or beyond > SPAN_TOLERANCE_S * SAMPLE_RATE_HZ:
            start_s, end_s = self.start / SAMPLE_RATE_HZ, None if self.end is None else self.end / SAMPLE_RATE_HZ
            return outside(label, start_s, end_s, position / SAMPLE_RATE_HZ)
        return None


def outside(label: str, start_s: float, end_s: float | None, length_s: float) -> AudioError:
    """The error of a span that does not lie in its audio."""
    detail = f"{label}: {start_s:.3f}–{'end' if end_s is None else f'{end_s:.3f}'} s lies outside its "
    return AudioError("span_outside", f"{detail}{length_s:.3f} s; correct start and end in the manifest")


def _too_long(label: str, max_duration_s: float) -> AudioError:
    detail = f"{label}: longer than {max_duration_s:g} s; cut it or raise observe.decode.max_duration_s"
    return AudioError("too_long", detail)
