"""Figures of scored rows: a metric with its interval, and what a set's score is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llaso_data.instruct.tasks import Set
from llaso_model.evaluate.kinds import KINDS, Row
from llaso_model.evaluate.metrics.base import JUDGED, Array, Metric, Value
from llaso_model.evaluate.metrics.classes import REFUSED_RIGHTLY
from llaso_model.evaluate.rows import metric_stats
from llaso_model.evaluate.statistics import intervals
from llaso_model.evaluate.statistics.intervals import Figure

Normaliser = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Scored:
    """The score of one system on one set.

    Attributes:
        name: The set's name.
        rows: The system's rows.
        metric: The primary metric.
        normal: Its value, normalised to 0 to 1, with its interval.
        score: The normalised value of summed statistics.
    """

    name: str
    rows: list[Row]
    metric: Metric
    normal: Figure
    score: Value


def clusters_of(rows: Sequence[Row]) -> list[str]:
    """The cluster of each row: its speaker where known, else the row alone."""
    return [
        f"speaker {row.prediction.speaker}" if row.prediction.speaker else f"row {row.prediction.id}" for row in rows
    ]


def primary_metric(declared: Set, by_system: Mapping[str, Sequence[Row]]) -> Metric:
    """The primary metric of a set, of which its score is made.

    The judge's score of open answers, over the rows that it judged; where nothing of some system was judged, ROUGE-L.
    """
    kind = KINDS[declared.kind]
    if kind.is_judged and all(any(JUDGED.name in row.stats for row in rows) for rows in by_system.values()):
        return JUDGED
    if kind.scores_refusals:
        return kind.metrics[0]
    wants_refusal = all(row.prediction.expected != "answer" for rows in by_system.values() for row in rows)
    return REFUSED_RIGHTLY if wants_refusal else kind.metrics[0]


def normaliser(metric: Metric, declared: Set) -> Normaliser:
    """The function that maps a metric's value to 0 (worst) to 1."""
    normalised = metric.normalised
    assert normalised is not None
    return lambda value: normalised(value, declared.range)


def formula(metric: Metric, declared: Set) -> str:
    """How a set's normalised score is computed from its primary metric, in words."""
    if declared.range is None:
        return metric.formula
    low, high = declared.range
    return metric.formula.format(low=low, high=high, width=high - low)


def metric_figure(rows: Sequence[Row], metric: Metric, name: str, seed: int) -> tuple[Figure, Array] | None:
    """A metric of rows.

    Returns:
        (value with its interval, replicates (RESAMPLES,)); None where no row has the metric's statistics.
    """
    stats, row_numbers = metric_stats(rows, metric)
    if not row_numbers:
        return None
    clusters = clusters_of([rows[i] for i in row_numbers])
    return intervals.figure(stats, metric.value, clusters, name, seed, metric.limits)


def as_json(figure: Figure) -> dict[str, Any]:
    """A figure as JSON, with six decimals. NaN is null.

    ``few_clusters`` is there, and true, where the interval is over rows because there are too few clusters.
    """
    return {
        "value": json_number(figure.value),
        "low": json_number(figure.low),
        "high": json_number(figure.high),
        "rows": figure.rows,
        "clusters": figure.clusters,
        **({"few_clusters": True} if figure.few_clusters else {}),
    }


def json_number(value: float) -> float | None:
    """A number with six decimals; None where it is not finite."""
    return round(float(value), 6) if np.isfinite(value) else None
