"""Which clips of a set sound like a given one: an inverted index of fingerprints, and bit error rates.

Songs are looked up so by Haitsma & Kalker (ISMIR 2002, section 5): a code of the clip, or one with its least certain
bits turned, names places in the set, and at each the bits of all frames are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.leakage.fingerprint import DOUBTS, QUIET, Codes, Fingerprint

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
_TURNS = np.array(list(product((0, 1), repeat=DOUBTS)), np.uint32).T  # (doubts, 16)


@dataclass(frozen=True, slots=True)
class SameSound:
    """A clip of the set that sounds the same: its number, and the share of bits that differ."""

    clip: int
    errors: float


@dataclass(frozen=True, slots=True)
class SoundIndex:
    """The fingerprints of a set: 12 bytes for each 64 ms.

    Attributes:
        codes: Every fourth code of all clips, clip after clip.
        starts: (clips + 1,) where each begins.
        order: Places of the codes that are not quiet, by code.
        sorted_codes: The codes in that order.
    """

    codes: Codes
    starts: npt.NDArray[np.int64]
    order: npt.NDArray[np.uint32]
    sorted_codes: Codes

    @classmethod
    def of(cls, clips: Sequence[Codes]) -> SoundIndex:
        """Index the codes of clips, thinned by :func:`thinned`."""
        starts = np.cumsum([0, *map(len, clips)], dtype=np.int64)
        codes = np.concatenate([np.zeros(0, np.uint32), *clips])
        loud = np.flatnonzero(codes != QUIET).astype(np.uint32)
        order = loud[np.argsort(codes[loud], kind="stable")]
        return cls(codes, starts, order, codes[order])

    def find(self, clip: Fingerprint) -> list[SameSound]:
        """The clips of the set that sound like this one, or of which one holds the other, by their numbers."""
        found: dict[int, float] = {}
        for number, offset in self._candidates(clip):
            errors = self._errors(clip.codes, number, offset)
            if errors <= MOST_ERRORS and errors < found.get(number, 1.0):
                found[number] = errors
        return [SameSound(number, round(errors, 4)) for number, errors in sorted(found.items())]

    def _candidates(self, clip: Fingerprint) -> list[tuple[int, int]]:
        """(clip, frame of ours at which its first frame lies) of those that most codes name."""
        frames = np.flatnonzero(clip.codes != QUIET)
        turned = clip.doubts[frames] @ _TURNS  # the bits of a row differ, so that their sum is their union
        probes = (clip.codes[frames, None] ^ turned).ravel()
        first = np.searchsorted(self.sorted_codes, probes)
        counts = np.searchsorted(self.sorted_codes, probes, "right") - first
        counts[counts > _MOST_OF_A_CODE] = 0
        ends = np.cumsum(counts)
        if not len(ends) or not ends[-1]:
            return []
        hits = np.arange(ends[-1]) + np.repeat(first - (ends - counts), counts)
        places = self.order[hits].astype(np.int64)
        numbers = np.searchsorted(self.starts, places, "right") - 1
        offsets = np.repeat(np.repeat(frames, 1 << DOUBTS), counts) - STRIDE * (places - self.starts[numbers])
        pairs, votes = np.unique(np.stack([numbers, offsets]), axis=1, return_counts=True)
        best = np.argsort(-votes, kind="stable")[:_MOST_CANDIDATES]
        return [(int(number), int(offset)) for number, offset in pairs[:, best].T]

    def _errors(self, ours: Codes, number: int, offset: int) -> float:
        """Share of bits that differ where both have sound; 1 where that is too little to tell."""
        theirs = self.codes[self.starts[number] : self.starts[number + 1]]
        loud = min(int((theirs != QUIET).sum()), int((ours != QUIET).sum()) // STRIDE)
        skipped = max(0, -(offset // STRIDE))
        ours = ours[offset + STRIDE * skipped :: STRIDE]
        count = min(len(ours), len(theirs) - skipped)
        ours, theirs = ours[:count], theirs[skipped : skipped + count]
        both = (ours != QUIET) & (theirs != QUIET)
        compared = int(both.sum())
        if compared < max(LEAST_FRAMES, LEAST_SHARE * loud):
            return 1.0
        return float(np.bitwise_count((ours ^ theirs)[both]).sum()) / (32 * compared)


def thinned(codes: Codes) -> Codes:
    """What an index keeps of a clip."""
    kept: Codes = codes[::STRIDE].copy()
    return kept


def is_short(clip: Fingerprint) -> bool:
    """Whether a clip has too little sound to be found by."""
    return int(np.count_nonzero(thinned(clip.codes))) < LEAST_FRAMES
