"""Metrics of answering and refusing, which neither always refusing nor always answering makes good."""

from __future__ import annotations

import numpy as np

from llaso_model.evaluate.metrics.base import Array, Metric, Range, ratio


def stats(right: bool, answerable: bool) -> tuple[float, float, float, float]:
    """The statistics of a row.

    Args:
        right: Whether it was answered where it can be, or refused or asked back where it cannot.
        answerable: Whether it can be answered.

    Returns:
        (refused rightly, cannot be answered, answered rightly, can be answered), each 0 or 1.
    """
    return (float(right and not answerable), float(not answerable), float(right and answerable), float(answerable))


def _informedness(sums: Array) -> Array:
    return _refused(sums) + _answered(sums) - 1.0


def _refused(sums: Array) -> Array:
    return ratio(sums[..., :2])


def _answered(sums: Array) -> Array:
    return ratio(sums[..., 2:])


def _above_chance(value: Array, limits: Range = None) -> Array:
    return np.maximum(0.0, value)


INFORMEDNESS = Metric(
    "informedness",
    "Informedness",
    _informedness,
    formula="share refused or asked back of what cannot be answered + share answered of what can be − 1, not below 0",
    normalised=_above_chance,
    limits=(-1, 1),
)
"""Youden's J (1950): 0 for who always refuses and for who always answers. Undefined without rows of both kinds."""
RIGHTLY_REFUSED = Metric("refused", "Refused rightly", _refused, limits=(0, 1), statistics="informedness")
RIGHTLY_ANSWERED = Metric("answered", "Answered rightly", _answered, limits=(0, 1), statistics="informedness")
EXACT = Metric("exact_behaviour", "Behaviour as expected", ratio, limits=(0, 1))
"""A refusal where one is expected, a question back where one is, an answer where one is."""
