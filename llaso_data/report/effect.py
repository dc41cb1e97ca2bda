"""The effect of one threshold: how many of the utterances that pass all other rules each value of it would keep.

The judge's own rules decide, at every position of the grid; nothing here compares a score itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llaso_data import recipe
from llaso_data.filters.duplicates import Hashes
from llaso_data.filters.fit import OFF
from llaso_data.filters.group_thresholds import NO_FITS, GroupThresholds
from llaso_data.filters.rules import Columns, Rule
from llaso_data.filters.tiers import rules
from llaso_data.report.reasons import MEASURES

_PROBE = -98765.4321  # a threshold that nobody sets: the rule that gets it is the rule of the key
_NEVER = np.int16(np.iinfo(np.int16).max)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold of the recipe.

    Attributes:
        key: of the recipe.
        rule: the rule that it sets.
        current: its value, be it the recipe's or a fitted one; None where it is off, or differs by group.
        place: the number of the rule in the judge's order; None where it has none.
        positions: the values that are tried, ascending.
        by_group: the values that it has in groups of corpus and language, ascending, where they differ; None: off.
    """

    key: str
    rule: Rule
    current: float | None
    place: int | None
    positions: npt.NDArray[np.float64]
    by_group: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Curve:
    """The effect of a threshold, with all other thresholds unchanged.

    Attributes:
        threshold: which one.
        accepted: utterances that are accepted at each position.
        seconds: of these utterances.
        alone: utterances that only this threshold rejects.
        looked_at: utterances that have the score and that the rule is for.
    """

    threshold: Threshold
    accepted: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    alone: int
    looked_at: int


def thresholds(section: recipe.Judge, fitted: GroupThresholds = NO_FITS) -> list[Threshold]:
    """The thresholds of a recipe that set exactly one rule, in the order of the recipe's keys.

    A threshold of packed clips that is null sets none, because the threshold for all clips holds.

    Args:
        section: the recipe's.
        fitted: what replaces its thresholds.
    """
    result = []
    base, judging = rules(section), fitted.rules(section)
    replaced = {key for fit in fitted.fits for key in fit.thresholds}
    places = {_looks(rule): place for place, rule in enumerate(judging)}
    for tier in ("confidence", "consistency"):
        part = getattr(section, tier)
        for name, info in type(part).model_fields.items():
            if info.annotation != (float | None):
                continue
            changed = part.model_copy(update={name: _PROBE})
            probed = rules(section.model_copy(update={tier: changed}))
            changed_rules = [rule for rule in probed if rule not in base]
            if len(changed_rules) != 1 or len(probed) - len(base) not in (0, 1):
                continue
            (rule,) = changed_rules
            place = places.get(_looks(rule))
            key = f"{tier}.{name}"
            current = getattr(part, name)
            by_group: tuple[float | None, ...] = ()
            if key in replaced and place is not None:
                in_use = [_set(key, value) for value in fitted.in_use(judging[place])]
                values = tuple(dict.fromkeys(in_use))
                current, by_group = (values[0], ()) if len(values) == 1 else (None, values)
            result.append(Threshold(f"judge.{key}", rule, current, place, _positions(rule, current), by_group))
    return result


def _looks(rule: Rule) -> tuple[str, str, str | None]:
    """What tells the rules of one recipe apart: no two have the same name and look at the same rows from one side."""
    return rule.name, rule.side, rule.only


def _set(key: str, value: float) -> float | None:
    """A threshold as a recipe has it: None where it rejects nothing."""
    return value if np.isfinite(value) and value != OFF[key] else None


def _positions(rule: Rule, current: float | None) -> npt.NDArray[np.float64]:
    grid = MEASURES[rule.column].positions()
    return grid if current is None else np.union1d(grid, [current])


class Effects:
    """Counts what each threshold keeps, batch by batch.

    Of utterances with the same audio the judge keeps one, if any of them passes. Rows whose audio others may have are
    therefore held back, a few bytes each, and are counted as groups at the end.
    """

    def __init__(
        self, section: recipe.Judge, repeated_audio: npt.NDArray[np.uint64], fitted: GroupThresholds = NO_FITS
    ) -> None:
        """Prepare the thresholds.

        Args:
            section: the recipe's.
            repeated_audio: high halves of the audio ids that more than one row may have, sorted.
            fitted: what replaces thresholds of the recipe.
        """
        self.thresholds = thresholds(section, fitted)
        self._rules = fitted.rules(section)
        self._shared = repeated_audio
        self._kept = [np.zeros(len(t.positions) + 1, np.int64) for t in self.thresholds]
        self._seconds = [np.zeros(len(t.positions) + 1) for t in self.thresholds]
        self._looked_at = [0] * len(self.thresholds)
        self._held: list[tuple[Hashes, npt.NDArray[np.float64], npt.NDArray[np.int16]]] = []

    def violations(self, scores: Columns) -> tuple[npt.NDArray[np.int16], dict[str, Mask]]:
        """Apply all rules to a batch of rows.

        Returns:
            The number of rules that each row violates, int16; and for each score whether a rule on it is violated,
            bool. All arrays have shape (rows,).
        """
        rows = len(scores["duration_s"])
        total = np.zeros(rows, np.int16)
        beyond: dict[str, Mask] = {}
        for rule in self._rules:
            mask = rule.violations(scores)[0]
            total += mask
            beyond[rule.column] = beyond[rule.column] | mask if rule.column in beyond else mask
        return total, beyond

    def add(self, scores: Columns, audio_ids: Hashes, judged: Mask) -> None:
        """Add a batch of rows.

        Args:
            scores: the judge's columns.
            audio_ids: hashed, uint64 of shape (rows, 2).
            judged: whether rules decide on the row: it did not fail and its id is not a repeated one.
        """
        total, _ = self.violations(scores)
        seconds = np.nan_to_num(scores["duration_s"])
        alone = ~_within(audio_ids[:, 0], self._shared)
        levels = np.full((len(total), len(self.thresholds)), _NEVER)
        for number, threshold in enumerate(self.thresholds):
            own = self._rules[threshold.place].violations(scores)[0] if threshold.place is not None else 0
            self._looked_at[number] += int((judged & _looks_at(threshold.rule, scores)).sum())
            rows = np.flatnonzero(judged & (total - own == 0))
            levels[rows, number] = level = _level(
                threshold, {name: scores[name][rows] for name in threshold.rule.needs()}
            )
            level = level[alone[rows]]
            self._kept[number] += np.bincount(level, minlength=len(threshold.positions) + 1)
            self._seconds[number] += np.bincount(
                level, weights=seconds[rows][alone[rows]], minlength=len(threshold.positions) + 1
            )
        held = ~alone & (levels != _NEVER).any(axis=1)
        self._held.append((audio_ids[held], seconds[held], levels[held]))

    def curves(self, accepted_now: int) -> list[Curve]:
        """The curves of all rows that were added, of which so many are accepted now."""
        seconds, levels = self._groups()
        curves = []
        for number, threshold in enumerate(self.thresholds):
            size = len(threshold.positions)
            level = levels[:, number]
            kept_rows = level != _NEVER
            kept = self._kept[number] + np.bincount(level[kept_rows], minlength=size + 1)
            span = self._seconds[number] + np.bincount(level[kept_rows], weights=seconds[kept_rows], minlength=size + 1)
            # A row is kept from its level on, counted from the strictest position to the most lenient.
            accepted, total_s = np.cumsum(kept)[:size], np.cumsum(span)[:size]
            total = int(kept.sum())
            if threshold.rule.side == "below":
                accepted, total_s = accepted[::-1], total_s[::-1]
            at = None if threshold.current is None else int(np.searchsorted(threshold.positions, threshold.current))
            now = accepted_now if threshold.by_group else total if at is None else int(accepted[at])
            alone = total - now
            curves.append(Curve(threshold, accepted, total_s, alone, self._looked_at[number]))
        return curves

    def _groups(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int16]]:
        """One row for each audio of the rows held back: it passes where the first of them passes."""
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


def _level(threshold: Threshold, scores: Mapping[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.int16]:
    """At how many positions each row would be rejected, from 0 to all of them."""
    level = np.zeros(len(scores[threshold.rule.column]), np.int16)
    for position in threshold.positions.tolist():
        level += dataclasses.replace(threshold.rule, threshold=position).violations(scores)[0]
    return level


def _looks_at(rule: Rule, scores: Columns) -> Mask:
    """The rows that some threshold of the rule would reject."""
    everything = np.inf if rule.side == "below" else -np.inf
    return dataclasses.replace(rule, threshold=everything).violations(scores)[0]


def _within(values: npt.NDArray[np.uint64], ordered: npt.NDArray[np.uint64]) -> Mask:
    if not len(ordered):
        return np.zeros(len(values), bool)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    mask: Mask = ordered[place] == values
    return mask


def repeated_values(high_halves: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
    """The values that occur more than once, sorted, without zero, which stands for no audio."""
    values = np.concatenate([np.zeros(0, np.uint64), *high_halves])
    values.sort()
    again = values[1:][values[1:] == values[:-1]]
    return np.unique(again[again != 0])
