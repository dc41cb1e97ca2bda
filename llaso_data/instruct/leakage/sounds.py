"""Which clips of a set sound like a given one: an inverted index of fingerprints, and bit error rates.

Songs are looked up so by Haitsma & Kalker (ISMIR 2002, section 5): a code of the clip, or one with its least certain
bits turned, names places in the set, and at each the bits of all frames are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.leakage.fingerprint import DOUBTS, QUIET, Codes, Fingerprint
from llaso_data.instruct.leakage.presence import Presence

STRIDE = 4
"""Of the frames of the set every fourth is kept, 64 ms apart; a clip that is looked up has all of its own."""
LEAST_FRAMES = 5
"""Frames of the set that must be compared, 64 ms apart: below, other words sound the same."""
LEAST_SHARE = 0.75
"""Of the frames with sound of the shorter clip."""
MOST_ERRORS = 0.16
"""Share of bits that differ: of other sounds a half, of the same one coded anew up to 0.12 (``bench/leakage.py``)."""

_MOST_OF_A_CODE = 1000  # places; a code that is so common says little
_MOST_CANDIDATES = 256
_MIDDLE = 1 << 31  # added to offsets, which may be negative
_FRAMES_AT_ONCE = 1 << 18
_TURNS = np.array(list(product((0, 1), repeat=DOUBTS)), np.uint32).T  # (doubts, 16)


Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SameSound:
    """A clip of the set that sounds the same: its number, and the share of bits that differ."""

    clip: int
    errors: float


@dataclass(frozen=True, slots=True)
class SoundIndex:
    """The fingerprints of a set: at most 14 bytes for each 64 ms.

    Attributes:
        codes: Every fourth code of all clips, clip after clip.
        starts: (clips + 1,) where each begins.
        order: Places of the codes that are not quiet, by code.
        sorted_codes: The codes in that order.
        loud: (clips,) the codes of each that are not quiet.
        presence: Which codes there are.
    """

    codes: Codes
    starts: npt.NDArray[np.int64]
    order: npt.NDArray[np.uint32]
    sorted_codes: Codes
    loud: Places
    presence: Presence

    @classmethod
    def of(cls, clips: Sequence[Codes]) -> SoundIndex:
        """Index the codes of clips, thinned by :func:`thinned`."""
        starts = np.cumsum([0, *map(len, clips)], dtype=np.int64)
        codes = np.concatenate([np.zeros(0, np.uint32), *clips])
        loud = np.flatnonzero(codes != QUIET).astype(np.uint32)
        order = loud[np.argsort(codes[loud], kind="stable")]
        counts = np.diff(np.searchsorted(loud, starts))
        return cls(codes, starts, order, codes[order], counts, Presence.of(codes[loud].astype(np.uint64)))

    def find(self, clip: Fingerprint) -> list[SameSound]:
        """The clips of the set that sound like this one, or of which one holds the other, by their numbers."""
        found: dict[int, float] = {}
        numbers, offsets = self._candidates(clip)
        for number, errors in zip(numbers.tolist(), self._errors(clip.codes, numbers, offsets).tolist(), strict=True):
            if errors <= MOST_ERRORS and errors < found.get(number, 1.0):
                found[number] = errors
        return [SameSound(number, round(errors, 4)) for number, errors in sorted(found.items())]

    def _candidates(self, clip: Fingerprint) -> tuple[Places, Places]:
        """Those that most codes name: the clips, and the frames of ours at which their first frames lie."""
        frames = np.flatnonzero(clip.codes != QUIET)
        turned = clip.doubts[frames] @ _TURNS  # the bits of a row differ, so that their sum is their union
        probes = (clip.codes[frames, None] ^ turned).ravel()
        asked = np.flatnonzero(self.presence.may_have(probes.astype(np.uint64)))
        first = np.searchsorted(self.sorted_codes, probes[asked])
        counts = np.searchsorted(self.sorted_codes, probes[asked], "right") - first
        counts[counts > _MOST_OF_A_CODE] = 0
        ends = np.cumsum(counts)
        if not len(ends) or not ends[-1]:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        hits = np.arange(ends[-1]) + np.repeat(first - (ends - counts), counts)
        places = self.order[hits].astype(np.int64)
        numbers = np.searchsorted(self.starts, places, "right") - 1
        offsets = np.repeat(frames[asked >> DOUBTS], counts) - STRIDE * (places - self.starts[numbers])
        pairs, votes = np.unique((numbers << 32) + (offsets + _MIDDLE), return_counts=True)
        best = pairs[np.argsort(-votes, kind="stable")[:_MOST_CANDIDATES]]
        return best >> 32, (best & 0xFFFFFFFF) - _MIDDLE

    def _errors(self, ours: Codes, numbers: Places, offsets: Places) -> npt.NDArray[np.float64]:
        """Share of bits that differ where both have sound; 1 where that is too little to tell."""
        skipped = np.maximum(0, -(offsets // STRIDE))
        first = offsets + STRIDE * skipped
        of_ours = -((first - len(ours)) // STRIDE)
        of_theirs = self.starts[numbers + 1] - self.starts[numbers] - skipped
        counts = np.maximum(0, np.minimum(of_ours, of_theirs))
        errors = np.ones(len(numbers))
        loud = np.minimum(self.loud[numbers], int(np.count_nonzero(ours != QUIET)) // STRIDE)
        least = np.maximum(LEAST_FRAMES, LEAST_SHARE * loud)
        for batch in _batches(counts):
            total, starts = int(counts[batch].sum()), np.cumsum(counts[batch]) - counts[batch]
            clips = np.repeat(np.arange(batch.start, batch.start + len(starts)), counts[batch])
            places = np.arange(total) - np.repeat(starts, counts[batch])
            a = ours[first[clips] + STRIDE * places]
            b = self.codes[(self.starts[numbers] + skipped)[clips] + places]
            both = (a != QUIET) & (b != QUIET)
            compared = np.bincount(clips[both] - batch.start, minlength=len(starts))
            wrong = np.bincount(clips[both] - batch.start, np.bitwise_count(a ^ b)[both], minlength=len(starts))
            told = compared >= least[batch]
            errors[batch][told] = wrong[told] / (32 * compared[told])
        return errors


def _batches(counts: Places) -> Iterator[slice]:
    """Clips that are compared at once: of long ones few, so that memory stays small."""
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        before = ends[first] - counts[first]
        end = max(first + 1, int(np.searchsorted(ends, before + _FRAMES_AT_ONCE, "right")))
        yield slice(first, end)
        first = end


def thinned(codes: Codes) -> Codes:
    """What an index keeps of a clip."""
    kept: Codes = codes[::STRIDE].copy()
    return kept


def is_short(clip: Fingerprint) -> bool:
    """Whether a clip has too little sound to be found by."""
    return int(np.count_nonzero(thinned(clip.codes))) < LEAST_FRAMES
