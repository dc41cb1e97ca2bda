"""What a metric is: statistics of every row, and a value of their sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Value = Callable[[Array], Array]
"""Sums of statistics (…, k) to values (…)."""
Range = tuple[float, float] | None
"""The lowest and the highest number that an answer can be."""
Better = Literal["higher", "lower"]
Unit = Literal["share", "number", "score"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name, how it reads, and its value of summed statistics (…, k) → (…).

    Attributes:
        name: In scores, and of a row's statistics.
        title: For people.
        value: Sums of statistics (…, k) to values (…).
        better: Which values are.
        unit: A share is shown in percent, a score out of 100 already, a number as it is.
        formula: How ``normalised`` maps, in words; ``{low:g}``, ``{high:g}`` and ``{width:g}`` are the set's range.
        normalised: Maps values to 0 (worst) to 1 for the overall score; (values, range of the set's numbers or None).
            None: the metric makes no score.
        limits: The lowest and highest value that a row can have, None where there are none (of an error rate that is 0,
            1 stands for the worst).
        statistics: Name of the metric whose statistics it is a value of; empty: it has its own.
    """

    name: str
    title: str
    value: Value
    better: Better = "higher"
    unit: Unit = "share"
    formula: str = ""
    normalised: Callable[[Array, Range], Array] | None = None
    limits: tuple[float, float] | None = None
    statistics: str = ""


def ratio(sums: Array) -> Array:
    """First statistic over the second, nan where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)


def identity(value: Array, limits: Range = None) -> Array:
    """The normalisation of a share, which lies in 0 to 1 already."""
    return value


def from_error_rate(value: Array, limits: Range = None) -> Array:
    """max(0, 1 - rate): an error rate of 1 or more is worth nothing."""
    return np.maximum(0.0, 1.0 - value)


JUDGED = Metric(
    "judge",
    "Judge",
    ratio,
    unit="number",
    formula="(judge's score − 1) / 4",
    normalised=lambda value, limits: (value - 1.0) / 4.0,
    limits=(1, 5),
)
"""A judge's score, where there is one."""
