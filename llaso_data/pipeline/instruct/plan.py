"""What is chosen of what the rows can feed: splits, leaks, pairs, the mix."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.pipeline.instruct import leaks, pairs, splits, tasks
from llaso_data.pipeline.instruct.candidates import PAIRED, Candidates
from llaso_data.pipeline.instruct.mix import NATURAL, groups_of
from llaso_data.pipeline.instruct.row_store import RowStore
from llaso_data.pipeline.instruct.selection import Selection
from llaso_data.recipe import Recipe

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FoundLeaks:
    """Rows that no task may have, by sample and sound; by text, those that no task may have which answers freely."""

    sounds: leaks.RowLeaks | None
    texts: leaks.RowLeaks | None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python, for JSON."""
        return {
            name: one.to_dict() for name, one in (("sounds", self.sounds), ("texts", self.texts)) if one is not None
        }


@dataclass(slots=True)
class Plan:
    """What is known once the rows are read.

    Attributes:
        candidates: What the rows can feed.
        splits: (rows,) int8.
        usable: (candidates,) bool.
        speaker: (rows,) the speakers of rows that may be half of a pair; 0 of others.
        other: (candidates,) the other row of a pair, -1 elsewhere; and ``same`` whether it is of the same speaker.
        leaks: What the search for leaks found.
    """

    candidates: Candidates
    splits: npt.NDArray[np.int8]
    usable: npt.NDArray[np.bool_]
    speaker: npt.NDArray[np.uint64]
    other: Numbers
    same: npt.NDArray[np.bool_]
    selection: Selection
    texts_shared: int = 0
    leaks: dict[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """What the summary says of it."""
        return {
            "candidates": len(self.candidates.row),
            "not_fed": {name: counts for name, counts in self.candidates.not_fed.items() if counts},
            "value_examples": self.candidates.examples,
            "texts_shared": self.texts_shared,
            "leakage": self.leaks,
            "held_out": self.candidates.held_out,
        }


def split_up(
    candidates: Candidates, rows: RowStore, recipe: Recipe, own: str
) -> tuple[Candidates, npt.NDArray[np.int8]]:
    """Give each row its split, and take pairs apart that two splits would share.

    Args:
        candidates: All.
        rows: All rows; from now on those are without their other recording that is in another split.
        recipe: The shares, and what splits do not share.
        own: The user's tasks.

    Returns:
        The candidates that are left, and (rows,) the split of each.
    """
    instruct = recipe.instruct
    split = splits.assign(candidates, instruct.split, instruct.by, instruct.given_splits)
    candidates, without = pairs.within_splits(candidates, split, tasks.tasks_of(own).build)
    rows.leave_out(without)
    return candidates, split


def planned(
    recipe: Recipe,
    own: str,
    candidates: Candidates,
    split: npt.NDArray[np.int8],
    free: npt.NDArray[np.bool_],
    found: FoundLeaks | None,
) -> Plan:
    """Choose among candidates.

    Args:
        recipe: The mix, the total, the seed.
        own: The user's tasks.
        candidates: All.
        split: (rows,) of each row.
        free: (tasks,) whether texts tell what a task answers.
        found: Which rows leak; None: nobody looked.
    """
    instruct = recipe.instruct
    usable = np.ones(len(candidates.row), bool)
    texts_shared = 0
    if instruct.split and instruct.by in ("speaker_and_text", "text"):
        shared = splits.shared_texts(candidates, split)[candidates.row] & free[candidates.task]
        usable &= ~shared
        texts_shared = int(shared.sum())
    speaker = np.where(candidates.repeats, np.uint64(0), candidates.speaker)
    if found is not None and found.sounds is not None:
        usable &= ~found.sounds.leaks[candidates.row]
        speaker = np.where(found.sounds.leaks, np.uint64(0), speaker)
    if found is not None and found.texts is not None:
        usable &= ~(found.texts.leaks[candidates.row] & free[candidates.task])
    other = np.full(len(candidates.row), -1, np.int64)
    same = np.zeros(len(candidates.row), bool)
    build = tasks.tasks_of(own).build
    compares = np.array([build[name].clips == 2 and PAIRED in build[name].needs for name in candidates.names], bool)
    paired = np.flatnonzero(compares[candidates.task] & usable & candidates.made_pairs)
    if len(paired):
        with_known = replace(candidates, speaker=speaker)
        of_rows = candidates.row[paired].astype(np.int64)
        other[paired], same[paired] = pairs.partners(with_known, split, of_rows, instruct.seed)
        usable[paired[other[paired] < 0]] = False
    mix = instruct.mix
    groups = None if mix == NATURAL else groups_of(mix, candidates.names, tasks.tasks_of(own))
    selection = Selection(candidates, split, usable, groups, instruct.samples, instruct.seed)
    told = {} if found is None else found.to_dict()
    return Plan(candidates, split, usable, speaker, other, same, selection, texts_shared, told)
