"""Window packing: several short clips share one 30 s Whisper window.

Whisper's encoder costs the same for 2 s as for 30 s, so clips are laid one after the other with silence between.
Pure functions on lengths; ``asr/split.py`` takes the decoded text apart again.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llaso_data.audio import SAMPLE_RATE_HZ

WINDOW_SAMPLES = 30 * SAMPLE_RATE_HZ
FRAME_S = 0.02  # Whisper's encoder gives one state per 20 ms
FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE_HZ)
WINDOW_FRAMES = WINDOW_SAMPLES // FRAME_SAMPLES
_SHORT_SAMPLES = 3 * SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one clip lies in a window: samples ``[start, start + length)``; starts are whole 20 ms frames."""

    clip: int
    start: int
    length: int

    @property
    def frames(self) -> slice:
        """The encoder states of the clip."""
        return slice(self.start // FRAME_SAMPLES, -(-(self.start + self.length) // FRAME_SAMPLES))


@dataclass(frozen=True, slots=True)
class Window:
    slots: tuple[Slot, ...]
    language: str | None

    @property
    def solo(self) -> bool:
        return len(self.slots) == 1


def pack(lengths: Sequence[int], languages: Sequence[str | None], gap_s: float, packed: bool = True) -> list[Window]:
    """Windows that hold every clip once; ``lengths`` in samples at 16 kHz, none longer than a window.

    Languages are never mixed; None (unknown) is one of them. There are as many windows as the first one with room,
    longest clip first, would need, and in them each clip lies in the emptiest, longest first again: single words lie
    among sentences. (Thirty in a row are no text to Whisper, and it ends it early.) Where that does not come out, only
    those of up to 3 s are spread. The result depends on nothing but the arguments. Windows and the clips in them are in
    the order of their first clip. ``packed=False`` gives one clip each.
    """
    too_long = [i for i, length in enumerate(lengths) if length > WINDOW_SAMPLES]
    if too_long:
        raise ValueError(f"clip {too_long[0]} has {lengths[too_long[0]]} samples; a window holds {WINDOW_SAMPLES}")
    if not packed:
        return [Window((Slot(i, 0, n),), languages[i]) for i, n in enumerate(lengths)]
    # Whole frames, so that the order in which clips are laid does not change how much room they take.
    gap = _frame_aligned(round(gap_s * SAMPLE_RATE_HZ))
    groups: dict[str | None, list[int]] = defaultdict(list)
    for clip, language in enumerate(languages):
        groups[language].append(clip)
    windows: list[Window] = []
    for language, clips in groups.items():
        bins = _dealt(sorted(clips, key=lambda i: (-lengths[i], i)), lengths, gap)
        windows += [Window(_lay(sorted(members), lengths, gap), language) for members in bins]
    return sorted(windows, key=lambda window: window.slots[0].clip)


def _dealt(longest_first: list[int], lengths: Sequence[int], gap: int) -> list[list[int]]:
    """The clips of each window: as many as first fit needs, or more until at least the short ones come out."""
    count = len(_first_fit(longest_first, lengths, gap))
    long = [clip for clip in longest_first if lengths[clip] > _SHORT_SAMPLES]
    while True:
        for fixed in ([], long):
            bins = _first_fit(fixed, lengths, gap)
            bins += [[] for _ in range(count - len(bins))]
            if _spread(longest_first[len(fixed) :], bins, lengths, gap):
                return [members for members in bins if members]
        count += 1


def _first_fit(clips: list[int], lengths: Sequence[int], gap: int) -> list[list[int]]:
    bins: list[list[int]] = []
    room: list[int] = []
    for clip in clips:
        place = next((b for b, left in enumerate(room) if lengths[clip] <= left), None)
        if place is None:
            bins.append([])
            room.append(WINDOW_SAMPLES)
            place = len(bins) - 1
        bins[place].append(clip)
        room[place] -= _frame_aligned(lengths[clip] + gap)
    return bins


def _spread(clips: list[int], bins: list[list[int]], lengths: Sequence[int], gap: int) -> bool:
    """Add each clip to the window that is emptiest then; False where one does not fit."""
    used = [(sum(_frame_aligned(lengths[clip] + gap) for clip in members), b) for b, members in enumerate(bins)]
    heapq.heapify(used)
    for clip in clips:
        filled, b = used[0]
        if filled + lengths[clip] > WINDOW_SAMPLES:
            return False
        bins[b].append(clip)
        heapq.heapreplace(used, (filled + _frame_aligned(lengths[clip] + gap), b))
    return True


def assemble(window: Window, pcm: Mapping[int, NDArray[np.int16]]) -> NDArray[np.int16]:
    """The window's 480,000 samples: its clips in their places, zeros elsewhere."""
    samples = np.zeros(WINDOW_SAMPLES, dtype=np.int16)
    for slot in window.slots:
        samples[slot.start : slot.start + slot.length] = pcm[slot.clip]
    return samples


def _lay(clips: list[int], lengths: Sequence[int], gap: int) -> tuple[Slot, ...]:
    slots, start = [], 0
    for clip in clips:
        slots.append(Slot(clip, start, lengths[clip]))
        start += _frame_aligned(lengths[clip] + gap)
    return tuple(slots)


def _frame_aligned(samples: int) -> int:
    return -(-samples // FRAME_SAMPLES) * FRAME_SAMPLES
