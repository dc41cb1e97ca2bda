"""Pairs of recordings: which other row a row is compared with, of the same speaker or of another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llaso_data.io.prng import splitmix64
from llaso_data.pipeline.instruct.candidates import Candidates
from llaso_data.records import digest

Numbers = npt.NDArray[np.int64]
SAME, DIFFERENT = "same", "different"


def partners(
    candidates: Candidates, splits: npt.NDArray[np.int8], rows: Numbers, seed: int
) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """The other row of each, within its split.

    One in two is of the same speaker, as far as the speaker has several recordings.

    Args:
        candidates: With speakers, recordings and draws.
        splits: (rows,) int8.
        rows: (N,) numbers of rows whose speaker is known.
        seed: Decides the draws.

    Returns:
        (N,) the other row, -1 where there is none: a split with one speaker gives no pairs. And (N,) whether the
        speaker is the same.
    """
    speaker = candidates.speaker
    known = np.flatnonzero(speaker)
    order = known[np.lexsort((known, speaker[known], splits[known]))]
    split, who = splits[order].astype(np.int64), speaker[order]
    new_split = np.flatnonzero(np.diff(split, prepend=split[:1] - 1)) if len(order) else np.zeros(0, np.int64)
    is_new = np.ones(len(order), bool)
    is_new[1:] = (split[1:] != split[:-1]) | (who[1:] != who[:-1])
    new_speaker = np.flatnonzero(is_new)
    place = np.empty(len(speaker), np.int64)
    place[order] = np.arange(len(order))
    at = place[rows]
    speaker_of = np.searchsorted(new_speaker, at, "right") - 1
    first = new_speaker[speaker_of]
    last = np.append(new_speaker[1:], len(order))[speaker_of]
    split_of = np.searchsorted(new_split, at, "right") - 1
    split_first = new_split[split_of]
    split_last = np.append(new_split[1:], len(order))[split_of]
    state = np.uint64(int(digest("pair", seed, length=16), 16))
    draws = splitmix64(candidates.ids[rows] ^ state)
    pick = splitmix64(draws) >> np.uint64(1)
    own, others = last - first, (split_last - split_first) - (last - first)
    same = (draws & np.uint64(1)).astype(bool) & (own > 1)
    step = 1 + (pick % np.maximum(own - 1, 1).astype(np.uint64)).astype(np.int64)
    of_same = first + (at - first + step) % np.maximum(own, 1)
    jump = (pick % np.maximum(others, 1).astype(np.uint64)).astype(np.int64)
    of_other = split_first + jump + np.where(split_first + jump >= first, own, 0)
    chosen = np.where(same, of_same, of_other)
    is_possible = others > 0
    other = np.where(is_possible, order[np.minimum(chosen, max(len(order) - 1, 0))] if len(order) else -1, -1)
    return other.astype(np.int64), same & is_possible
