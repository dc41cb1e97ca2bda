"""Pairs of recordings: which other row a row is compared with, of the same speaker or of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.compose import bits_of
from llaso_data.instruct.row import TARGET_AUDIO
from llaso_data.instruct.tasks.build import SECOND_AUDIO, Build
from llaso_data.io.prng import splitmix64
from llaso_data.pipeline.instruct.candidates import OTHERS, PAIRED, Candidates
from llaso_data.records import digest

Numbers = npt.NDArray[np.int64]
SAME, DIFFERENT = "same", "different"
ACROSS = {SECOND_AUDIO: "the second recording is in another split", TARGET_AUDIO: "the answer is in another split"}
"""Why rows do not feed tasks of two recordings."""


def within_splits(
    candidates: Candidates, splits: npt.NDArray[np.int8], builds: Mapping[str, Build]
) -> tuple[Candidates, npt.NDArray[np.bool_]]:
    """Take pairs apart whose recordings are in different splits, so that no split has a recording of another.

    A row that can be paired by the plan is paired anew, within its split. Any other does not feed the tasks that need
    both recordings, which is counted in ``not_fed``. All else that the row feeds stays.

    Args:
        candidates: All of them.
        splits: (rows,) int8.
        builds: By task, what it needs.

    Returns:
        The candidates that are left; and (2, rows) whether a row is without its second recording, and without that
        which is the answer.
    """
    without = _across(candidates, splits)
    if not without.any():
        return candidates, without
    kept, made_pairs = np.ones(len(candidates.row), bool), candidates.made_pairs.copy()
    not_fed = {name: dict(counts) for name, counts in candidates.not_fed.items()}
    can_be_paired = (candidates.speaker != 0) & ~candidates.repeats
    heard = (candidates.modalities & bits_of(("text_audio",))) != 0
    for number, name in enumerate(candidates.names):
        build = builds[name]
        needs = (build.clips == 2, TARGET_AUDIO in (build.input, build.answer.field, *build.needs))
        for place, field in enumerate(OTHERS):
            lacking = (candidates.task == number) & without[place][candidates.row] & ~candidates.made_pairs
            if not needs[place] or not lacking.any():
                continue
            is_paired = lacking & (place == 0 and PAIRED in build.needs) & can_be_paired[candidates.row] & heard
            made_pairs |= is_paired
            leaves = lacking & ~is_paired & kept
            kept &= ~leaves
            if count := int((leaves & (candidates.turn == 0)).sum()):
                not_fed.setdefault(name, {})[ACROSS[field]] = count
    return replace(candidates, made_pairs=made_pairs, not_fed=not_fed).where(kept), without


def _across(candidates: Candidates, splits: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """(2, rows) whether another split has a row's second recording, and that which is its answer.

    A recording belongs to the split of the row that is about it; where none is, to the most protected split in which it
    stands beside another.
    """
    others = candidates.others
    across = np.zeros((len(OTHERS), len(splits)), bool)
    if not len(others.row):
        return across
    own = splits[others.row]
    _, which = np.unique(others.place, return_inverse=True)
    most_protected = np.full(int(which.max()) + 1, -1, np.int8)
    np.maximum.at(most_protected, which, own)
    order = np.argsort(others.row_place, kind="stable")
    row = order[np.searchsorted(others.row_place[order], others.place).clip(max=len(order) - 1)]
    owner = np.where(others.row_place[row] == others.place, splits[row], most_protected[which])
    across[others.field, others.row] = owner != own
    return across


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
