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


Better = Literal["higher", "lower"]
Unit = Literal["share", "number", "score"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name, how it reads, and its value of summed statistics (…, k) → (…).

    ``unit``: a share is shown in percent, a score out of 100 already, a number as it is. ``normalised`` maps the value
    to 0 (worst) to 1 for the overall score; the formula in words is ``formula``. ``limits`` are the lowest and highest
    value that a row can have, None where there are none (of an error rate that is 0, 1 stands for the worst).
    """

    name: str
    title: str
    value: Value
    better: Better = "higher"
    unit: Unit = "share"
    formula: str = ""
    normalised: Callable[[Array], Array] | None = None
    limits: tuple[float, float] | None = None


def ratio(sums: Array) -> Array:
    """First statistic over the second, nan where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)


def as_is(value: Array) -> Array:
    """A share that is normalised already."""
    return value


def from_error_rate(value: Array) -> Array:
    """max(0, 1 - rate): an error rate of 1 and above is worth nothing."""
    return np.maximum(0.0, 1.0 - value)
