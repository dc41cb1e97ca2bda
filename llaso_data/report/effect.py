"""What moving one threshold would do: of the utterances that every other rule passes, which would be kept.

The judge's own rules say so. Each is asked at every position of its grid; nothing here compares a score itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llaso_data import recipe
from llaso_data.filters.duplicates import Hashes
from llaso_data.filters.rules import Columns, Rule
from llaso_data.pipeline.judge import rules
from llaso_data.report.reasons import MEASURES

_PROBE = -98765.4321  # a threshold that nobody sets: where it turns up is the rule that a key belongs to
_NEVER = np.int16(np.iinfo(np.int16).max)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A key of the recipe, the rule that it sets, and where in the judge's order; ``current`` is None where off."""

    key: str
    rule: Rule
    current: float | None
    place: int | None
    positions: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """Accepted utterances and their seconds with the threshold at each of ``positions``, all else unchanged."""

    threshold: Threshold
    accepted: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    alone: int  # utterances that this threshold keeps out and no other rule does
    looked_at: int  # rows that have the score and that the rule is for


def thresholds(section: recipe.Judge) -> list[Threshold]:
    """Every threshold of the recipe that moves exactly one rule, in the order of the recipe's keys.

    A threshold of packed clips that is null moves none: the one for all clips holds.
    """
    found = []
    base = rules(section)
    for tier in ("confidence", "consistency"):
        part = getattr(section, tier)
        for name, known in type(part).model_fields.items():
            if known.annotation != (float | None):
                continue
            changed = part.model_copy(update={name: _PROBE})
            probed = rules(section.model_copy(update={tier: changed}))
            moved = [rule for rule in probed if rule not in base]
            if len(moved) != 1 or len(probed) - len(base) not in (0, 1):
                continue
            place = None if len(probed) > len(base) else probed.index(moved[0])
            current = getattr(part, name)
            found.append(Threshold(f"judge.{tier}.{name}", moved[0], current, place, _positions(moved[0], current)))
    return found


def _positions(rule: Rule, current: float | None) -> npt.NDArray[np.float64]:
    grid = MEASURES[rule.column].positions()
    return grid if current is None else np.union1d(grid, [current])


class Effects:
    """Counts what each threshold keeps, batch by batch.

    Of the utterances that share their audio the judge keeps one, if any of them passes. Rows whose audio may be
    shared are therefore held back, a few bytes each, and counted as groups in the end.
    """

    def __init__(self, section: recipe.Judge, shared: npt.NDArray[np.uint64]) -> None:
        """`shared`: the high halves of the audio ids that more than one row may have, sorted."""
        self.thresholds = thresholds(section)
        self._rules = rules(section)
        self._shared = shared
        self._kept = [np.zeros(len(t.positions) + 1, np.int64) for t in self.thresholds]
        self._seconds = [np.zeros(len(t.positions) + 1) for t in self.thresholds]
        self._looked_at = [0] * len(self.thresholds)
        self._held: list[tuple[Hashes, npt.NDArray[np.float64], npt.NDArray[np.int16]]] = []

    def violations(self, found: Columns) -> tuple[npt.NDArray[np.int16], dict[str, Mask]]:
        """(rules violated by each row; for each score, whether a rule on it is violated)."""
        rows = len(found["duration_s"])
        total = np.zeros(rows, np.int16)
        beyond: dict[str, Mask] = {}
        for rule in self._rules:
            mask = rule.violations(found)[0]
            total += mask
            beyond[rule.column] = beyond[rule.column] | mask if rule.column in beyond else mask
        return total, beyond

    def add(self, found: Columns, audio_ids: Hashes, judged: Mask) -> None:
        """`judged`: the rows whose verdict depends on rules, so neither failed nor of a repeated id."""
        total, _ = self.violations(found)
        seconds = np.nan_to_num(found["duration_s"])
        alone = ~_within(audio_ids[:, 0], self._shared)
        levels = np.full((len(total), len(self.thresholds)), _NEVER)
        for number, moving in enumerate(self.thresholds):
            own = self._rules[moving.place].violations(found)[0] if moving.place is not None else 0
            self._looked_at[number] += int((judged & _looks_at(moving.rule, found)).sum())
            rows = np.flatnonzero(judged & (total - own == 0))
            levels[rows, number] = level = _level(moving, {name: found[name][rows] for name in moving.rule.needs()})
            level = level[alone[rows]]
            self._kept[number] += np.bincount(level, minlength=len(moving.positions) + 1)
            self._seconds[number] += np.bincount(
                level, weights=seconds[rows][alone[rows]], minlength=len(moving.positions) + 1
            )
        held = ~alone & (levels != _NEVER).any(axis=1)
        self._held.append((audio_ids[held], seconds[held], levels[held]))

    def curves(self) -> list[Curve]:
        """The curves of everything added."""
        seconds, levels = self._groups()
        curves = []
        for number, moving in enumerate(self.thresholds):
            size = len(moving.positions)
            level = levels[:, number]
            some = level != _NEVER
            kept = self._kept[number] + np.bincount(level[some], minlength=size + 1)
            span = self._seconds[number] + np.bincount(level[some], weights=seconds[some], minlength=size + 1)
            # Kept from its own level on, from the strictest position to the laxest.
            accepted, total_s = np.cumsum(kept)[:size], np.cumsum(span)[:size]
            every = int(kept.sum())
            if moving.rule.side == "below":
                accepted, total_s = accepted[::-1], total_s[::-1]
            at = None if moving.current is None else int(np.searchsorted(moving.positions, moving.current))
            alone = 0 if at is None else every - int(accepted[at])
            curves.append(Curve(moving, accepted, total_s, alone, self._looked_at[number]))
        return curves

    def _groups(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int16]]:
        """One row per audio of the rows held back: it passes where the first of them passes."""
        ids = np.concatenate([np.zeros((0, 2), np.uint64), *(held[0] for held in self._held)])
        seconds = np.concatenate([np.zeros(0), *(held[1] for held in self._held)])
        none = np.zeros((0, len(self.thresholds)), np.int16)
        levels = np.concatenate([none, *(held[2] for held in self._held)])
        if not len(ids):
            return seconds, levels
        order = np.lexsort((ids[:, 1], ids[:, 0]))
        ids, seconds, levels = ids[order], seconds[order], levels[order]
        starts = np.flatnonzero(np.append(True, (ids[1:] != ids[:-1]).any(axis=1)))
        return seconds[starts], np.minimum.reduceat(levels, starts, axis=0)


def _level(moving: Threshold, found: Mapping[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.int16]:
    """At how many positions each row would be rejected, from 0 to all of them."""
    level = np.zeros(len(found[moving.rule.column]), np.int16)
    for position in moving.positions.tolist():
        level += dataclasses.replace(moving.rule, threshold=position).violations(found)[0]
    return level


def _looks_at(rule: Rule, found: Columns) -> Mask:
    """The rows that some threshold of the rule would reject."""
    everything = np.inf if rule.side == "below" else -np.inf
    return dataclasses.replace(rule, threshold=everything).violations(found)[0]


def _within(values: npt.NDArray[np.uint64], ordered: npt.NDArray[np.uint64]) -> Mask:
    if not len(ordered):
        return np.zeros(len(values), bool)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    mask: Mask = ordered[place] == values
    return mask


def shared(high_halves: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    """The values that occur more than once, sorted; zero, which stands for no audio, is none of them."""
    values = np.concatenate([np.zeros(0, np.uint64), *high_halves])
    values.sort()
    again = values[1:][values[1:] == values[:-1]]
    return np.unique(again[again != 0])
