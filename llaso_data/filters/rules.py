"""What a rule is: one column, one threshold, evaluated on many utterances at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Columns = Mapping[str, npt.NDArray[Any]]
"""Named arrays of equal length, one row per utterance. Scores are float64 with NaN for null; flags are bool."""

STANDS_OUT = "stands_out"
"""The flag of rows whose border is louder than is usual in their corpus (:mod:`llaso_data.filters.border_limits`)."""

GROUP = "group"
"""The column with the number of each row's group (:mod:`llaso_data.filters.group_thresholds`), integers."""

UNHEARD = "unheard"
"""The flag of rows with a given text in which Whisper hears other words."""

FLAGS = frozenset({"packed", "cjk", "given", UNHEARD, "no_text", "unscored", "not_a_number", STANDS_OUT})
"""Columns that :mod:`llaso_data.filters.columns` derives and that are bool."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit on one score. An utterance violates it where its score lies strictly beyond the threshold.

    Attributes:
        name: The rule's stored name, such as ``confidence.avg_logprob``.
        column: The score, or a flag.
        threshold: In the score's unit.
        side: The side of the threshold that violates.
        only: A flag: the rule looks at the rows where it is set, or, written ``!flag``, at those where it is not.
        null_violates: Whether a null score violates.
        by_group: The threshold of each group of corpus and language, by its number; None: ``threshold`` holds for all.
    """

    name: str
    column: str
    threshold: float
    side: Literal["below", "above"]
    only: str | None = None
    null_violates: bool = False
    by_group: tuple[float, ...] | None = None

    def thresholds(self, columns: Columns) -> npt.NDArray[np.float64]:
        """The threshold of every row, shape (rows,)."""
        if self.by_group is None:
            return np.full(len(columns[self.column]), self.threshold)
        of_rows: npt.NDArray[np.float64] = np.array(self.by_group)[columns[GROUP]]
        return of_rows

    def violations(self, columns: Columns) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Finds the rows that violate the rule.

        Args:
            columns: Arrays (rows,) by name.

        Returns:
            (rows,) bool, and the (rows,) float64 values that were looked at.
        """
        values = columns[self.column].astype(np.float64, copy=False)
        # A comparison with NaN is false: null passes here.
        limit = self.threshold if self.by_group is None else self.thresholds(columns)
        mask: npt.NDArray[np.bool_] = values < limit if self.side == "below" else values > limit
        if self.null_violates:
            mask = mask | np.isnan(values)
        return mask if self.only is None else mask & self.looks_at(columns), values

    def looks_at(self, columns: Columns) -> npt.NDArray[np.bool_]:
        """The rows (rows,) that the rule is for; ``only`` says which."""
        if self.only is None:
            return np.ones(len(columns[self.column]), bool)
        flag: npt.NDArray[np.bool_] = columns[self.only.removeprefix("!")]
        return ~flag if self.only.startswith("!") else flag

    def needs(self) -> set[str]:
        """The columns that it reads."""
        return {self.column} if self.only is None else {self.column, self.only.removeprefix("!")}


def below(name: str, column: str, threshold: float | None, only: str | None = None) -> list[Rule]:
    """The rule that a score is not below a threshold, as a list of one; empty where the threshold is null."""
    return [] if threshold is None else [Rule(name, column, threshold, "below", only)]


def above(name: str, column: str, threshold: float | None, only: str | None = None) -> list[Rule]:
    """The rule that a score is not above a threshold, as a list of one; empty where the threshold is null."""
    return [] if threshold is None else [Rule(name, column, threshold, "above", only)]


def apart(name: str, column: str, threshold: float | None, flag: str, special: float | None) -> list[Rule]:
    """The rule that a score is not below a threshold, with another threshold for the rows that have a flag.

    Args:
        name: The rule's name.
        column: The score.
        threshold: Of the rows without the flag; None: they have no rule.
        flag: The flag.
        special: The threshold of the rows with the flag; None: ``threshold`` holds for all.
    """
    if special is None:
        return below(name, column, threshold)
    return [*below(name, column, threshold, only=f"!{flag}"), *below(name, column, special, only=flag)]


def flagged(name: str, flag: str, only: str | None = None) -> list[Rule]:
    """Rejects the rows whose 0/1 column is set."""
    return [Rule(name, flag, 0.0, "above", only)]
