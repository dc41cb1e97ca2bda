"""Window packing: several short clips share one 30 s Whisper window.

Whisper's encoder costs the same for 2 s as for 30 s, so clips are placed one after the other with silence between.
Pure functions on lengths; :mod:`llaso_data.asr.split` divides the decoded text among the clips.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llaso_data.audio import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 30 * SAMPLE_RATE_HZ  # 480,000
FRAME_S = 0.02  # Whisper's encoder gives one state per 20 ms
FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE_HZ)  # 320
WINDOW_FRAMES = WINDOW_SAMPLES // FRAME_SAMPLES  # 1500
_SHORT_SAMPLES = 3 * SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one clip lies in a window: samples ``[start, start + length)``; starts are whole 20 ms frames."""

    clip: int  # the clip's number
    start: int
    length: int

    @property
    def frames(self) -> slice:
        """The encoder states of the clip."""
        return slice(self.start // FRAME_SAMPLES, -(-(self.start + self.length) // FRAME_SAMPLES))


@dataclass(frozen=True, slots=True)
class Window:
    """The clips of one 30 s window, in the order of their slots, and their language (None: not known yet)."""

    slots: tuple[Slot, ...]
    language: str | None

    @property
    def solo(self) -> bool:
        """Whether the window holds one clip alone."""
        return len(self.slots) == 1


def pack(lengths: Sequence[int], languages: Sequence[str | None], gap_s: float, packed: bool = True) -> list[Window]:
    """Assign clips to windows, each clip to one.

    Choose the number of windows by first-fit-decreasing bin packing, then redistribute the clips, longest first, each
    to the least-filled window, so that very short clips are mixed with longer ones: Whisper stops early on a window of
    about thirty isolated words. Where the clips do not fit like this, only those of up to 3 s are redistributed.

    Args:
        lengths: Samples at 16 kHz of each clip, each at most 480,000.
        languages: Language of each clip, None where it is not known. Clips of different languages share no window.
        gap_s: Seconds of silence between two clips.
        packed: False gives every clip a window of its own.

    Returns:
        The windows in the order of their first clip; the clips in a window ascend.

    Raises:
        ValueError: A clip is longer than a window.
    """
    too_long = [i for i, length in enumerate(lengths) if length > WINDOW_SAMPLES]
    if too_long:
        raise ValueError(f"clip {too_long[0]} has {lengths[too_long[0]]} samples; a window holds {WINDOW_SAMPLES}")
    if not packed:
        return [Window((Slot(i, 0, n),), languages[i]) for i, n in enumerate(lengths)]
    # Whole frames, so that the order in which clips are placed does not change how much room they take.
    gap = _frame_aligned(round(gap_s * SAMPLE_RATE_HZ))
    clips_of: dict[str | None, list[int]] = defaultdict(list)
    for clip, language in enumerate(languages):
        clips_of[language].append(clip)
    windows: list[Window] = []
    for language, clips in clips_of.items():
        bins = _bins(sorted(clips, key=lambda i: (-lengths[i], i)), lengths, gap)
        windows += [Window(_place(sorted(members), lengths, gap), language) for members in bins]
    return sorted(windows, key=lambda window: window.slots[0].clip)


def assemble(window: Window, pcm: Mapping[int, NDArray[np.int16]]) -> NDArray[np.int16]:
    """The window's 480,000 samples: its clips, by their numbers in ``pcm``, in their slots, zeros elsewhere."""
    samples = np.zeros(WINDOW_SAMPLES, dtype=np.int16)
    for slot in window.slots:
        samples[slot.start : slot.start + slot.length] = pcm[slot.clip]
    return samples


def _bins(longest_first: list[int], lengths: Sequence[int], gap: int) -> list[list[int]]:
    """The clips of each window: as many windows as first fit needs, more where even the short clips do not fit."""
    count = len(_first_fit(longest_first, lengths, gap))
    long = [clip for clip in longest_first if lengths[clip] > _SHORT_SAMPLES]
    while True:
        for fixed in ([], long):
            bins = _first_fit(fixed, lengths, gap)
            bins += [[] for _ in range(count - len(bins))]
            if _fill_evenly(longest_first[len(fixed) :], bins, lengths, gap):
                return [members for members in bins if members]
        count += 1


def _first_fit(clips: list[int], lengths: Sequence[int], gap: int) -> list[list[int]]:
    bins: list[list[int]] = []
    free: list[int] = []  # samples of each bin
    for clip in clips:
        chosen = next((b for b, samples in enumerate(free) if lengths[clip] <= samples), None)
        if chosen is None:
            bins.append([])
            free.append(WINDOW_SAMPLES)
            chosen = len(bins) - 1
        bins[chosen].append(clip)
        free[chosen] -= _frame_aligned(lengths[clip] + gap)
    return bins


def _fill_evenly(clips: list[int], bins: list[list[int]], lengths: Sequence[int], gap: int) -> bool:
    """Add each clip to the window that is least filled then; False where one does not fit."""
    used = [(sum(_frame_aligned(lengths[clip] + gap) for clip in members), b) for b, members in enumerate(bins)]
    heapq.heapify(used)
    for clip in clips:
        filled, b = used[0]
        if filled + lengths[clip] > WINDOW_SAMPLES:
            return False
        bins[b].append(clip)
        heapq.heapreplace(used, (filled + _frame_aligned(lengths[clip] + gap), b))
    return True


def _place(clips: list[int], lengths: Sequence[int], gap: int) -> tuple[Slot, ...]:
    slots, start = [], 0
    for clip in clips:
        slots.append(Slot(clip, start, lengths[clip]))
        start += _frame_aligned(lengths[clip] + gap)
    return tuple(slots)


def _frame_aligned(samples: int) -> int:
    return -(-samples // FRAME_SAMPLES) * FRAME_SAMPLES
