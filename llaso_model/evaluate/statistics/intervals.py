"""How sure a figure is: bootstrap intervals over clusters, randomisation tests, and corrections for many of them.

A metric is a function of the sum of its rows' statistics (an error count and a length, say). So a resample is a
weighted sum, and all resamples of a metric are one matrix product.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from llaso_model.evaluate.metrics.base import Array, Value

RESAMPLES = 1000
CONFIDENCE = 0.95
MIN_CLUSTERS = 10
"""Fewer do not show how much clusters differ: rows are resampled instead, and the figure says so."""

_DRAWS = 2000  # of a randomisation test at least, and at a time
_ENOUGH_EXTREME_DRAWS = 50  # draws that differ as much as what was seen: p is known well, and is not small


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its confidence interval.

    Attributes:
        value: The value of all rows.
        low: Lower end of the interval of :data:`CONFIDENCE`; NaN where there is none.
        high: Upper end.
        rows: Number of rows.
        clusters: Number of clusters.
        few_clusters: There are fewer than :data:`MIN_CLUSTERS` clusters, so the interval is over rows.
    """

    value: float
    low: float
    high: float
    rows: int
    clusters: int
    few_clusters: bool = False


@dataclass(frozen=True, slots=True)
class Paired:
    """The rows of a set that two systems answered.

    Attributes:
        name: The set's name, which names the random draw.
        first: Statistics by unit of the first system, (units, k).
        second: The same of the second.
        score: The set's score of summed statistics.
        weight: The set's weight in a mean over several.
    """

    name: str
    first: Array
    second: Array
    score: Value
    weight: float = 1.0


def sum_by_cluster(stats: Array, clusters: Sequence[Hashable] | None = None) -> Array:
    """Sums statistics by cluster: rows of one speaker are not independent, so speakers are resampled.

    Args:
        stats: Statistics of the rows, (rows, k).
        clusters: The cluster of each row; None: every row is one.

    Returns:
        (clusters, k), in the order of first appearance.
    """
    if clusters is None:
        return np.asarray(stats, np.float64)
    numbers: dict[Hashable, int] = {}
    index = np.fromiter((numbers.setdefault(name, len(numbers)) for name in clusters), np.int64, len(stats))
    if len(numbers) == len(stats):
        return np.asarray(stats, np.float64)
    columns = [np.bincount(index, weights=column, minlength=len(numbers)) for column in stats.T]
    return np.stack(columns, axis=1)


def replicates(sums: Array, value: Value, name: str = "", seed: int = 0, count: int = RESAMPLES) -> Array:
    """Values of bootstrap resamples of the clusters, with replacement (Efron 1979).

    The draw depends on ``seed``, ``name`` and the number of clusters only. Systems that answered the same rows of a set
    are resampled alike, so their replicates are paired.

    Args:
        sums: Statistics by cluster, (clusters, k).
        value: The metric's value of summed statistics.
        name: Name of the draw.
        seed: Seed of the draw.
        count: Number of resamples.

    Returns:
        (count,)
    """
    return value(_weights(len(sums), name, seed, count) @ sums)


@lru_cache(maxsize=4)  # a set's metrics and systems are measured one behind another, with the same draw
def _weights(clusters: int, name: str, seed: int, count: int) -> Array:
    """How often each cluster is in each resample, (count, clusters)."""
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
    drawn = rng.integers(0, clusters, (count, clusters)) + clusters * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * clusters).reshape(count, clusters).astype(np.float64)


def resampling_units(stats: Array, clusters: Sequence[Hashable] | None = None) -> tuple[Array, int]:
    """The units that are resampled and exchanged: clusters, or rows where there are fewer than :data:`MIN_CLUSTERS`.

    With 2 clusters a 95 % interval over clusters holds the truth in 60 % of cases.

    Returns:
        (statistics by unit (units, k), number of clusters).
    """
    sums = sum_by_cluster(stats, clusters)
    return (sums if len(sums) >= MIN_CLUSTERS else np.asarray(stats, np.float64)), len(sums)


@lru_cache(maxsize=4)
def _swaps(count: int, name: str, seed: int, chunk: int) -> Array:
    """Which of ``count`` units change places between two systems, (draws, count) of 0 and 1."""
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(f"{name} swaps {chunk}".encode())]))
    return rng.integers(0, 2, (_DRAWS, count)).astype(np.float64)


def interval(values: Array, clusters: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The expanded percentile interval of bootstrap replicates.

    The plain percentile interval is too narrow for few clusters: it ignores that the spread is estimated, and that the
    spread of a resample is (n - 1)/n of the sample's. Its quantiles are moved out as Student's t demands: Hesterberg,
    "What Teachers Should Know About the Bootstrap", The American Statistician 69 (2015), "expanded percentile".

    Args:
        values: Replicates; those that are not finite are left out.
        clusters: Number of units that were resampled.
        confidence: Share of intervals that hold the truth.

    Returns:
        (low, high); NaN where there are no replicates or fewer than two units.
    """
    from scipy import stats

    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan")
    if clusters < 2:
        return float("nan"), float("nan")
    half = (1 - confidence) / 2
    tail = stats.norm.cdf(np.sqrt(clusters / (clusters - 1)) * stats.t.ppf(half, clusters - 1))
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def share_interval(successes: float, total: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a proportion (Clopper and Pearson, Biometrika 26, 1934), for where all resamples are equal.

    A hundred right answers of a hundred do not mean that the share is 1 for sure.
    """
    from scipy import stats

    half = (1 - confidence) / 2
    low = 0.0 if successes <= 0 else float(stats.beta.ppf(half, successes, total - successes + 1))
    high = 1.0 if successes >= total else float(stats.beta.ppf(1 - half, successes + 1, total - successes))
    return low, high


def figure(
    stats: Array,
    value: Value,
    clusters: Sequence[Hashable] | None = None,
    name: str = "",
    seed: int = 0,
    limits: tuple[float, float] | None = None,
) -> tuple[Figure, Array]:
    """A metric of rows with its interval, and the replicates.

    Where no resample differs and all rows are as good, or as bad, as can be, so is the share of rows that would be:
    its exact interval (:func:`share_interval`) bounds the metric, scaled to its limits. Rows that are all alike
    elsewhere do not say how far another would be, and there is no interval.

    Args:
        stats: Statistics of the rows, (rows, k).
        value: The metric's value of their sum.
        clusters: What each row belongs to; None: every row stands alone.
        name: Of the draw: equal names and sizes are resampled alike.
        seed: Of the draw.
        limits: The lowest and highest value that a row can have; (0, 1) of a share.

    Returns:
        The figure, and the values (RESAMPLES,) of the resamples.
    """
    sums, cluster_count = resampling_units(stats, clusters)
    point_estimate = float(value(sums.sum(axis=0)))
    few = cluster_count < MIN_CLUSTERS
    if not len(sums) or not np.isfinite(point_estimate):
        nothing = np.full(RESAMPLES, np.nan)
        return Figure(point_estimate, float("nan"), float("nan"), len(stats), cluster_count, few), nothing
    values = replicates(sums, value, name, seed)
    low, high = interval(values, len(sums))
    if not low < high:
        low, high = _interval_at_limit(point_estimate, len(sums), limits)
    return Figure(point_estimate, low, high, len(stats), cluster_count, few), values


def _interval_at_limit(value: float, count: int, limits: tuple[float, float] | None) -> tuple[float, float]:
    if limits is None or value not in limits:
        return float("nan"), float("nan")
    least, most = limits
    ends = share_interval(count if value == most else 0, count)
    return least + ends[0] * (most - least), least + ends[1] * (most - least)


def combine_figures(parts: Sequence[tuple[Figure, float]]) -> tuple[float, float, float]:
    """The interval of a weighted sum of independent figures.

    The ends come from the distances of each figure's own ends ("MOVER": Zou and Donner, Statistics in Medicine 27,
    2008). So a single figure keeps its interval, and a figure that did not vary still counts as unsure.

    Args:
        parts: Figures with their weights.

    Returns:
        (value, low, high); the ends are NaN where a figure has no interval.
    """
    value = sum(weight * figure.value for figure, weight in parts)
    below = sum((weight * (figure.value - figure.low)) ** 2 for figure, weight in parts)
    above = sum((weight * (figure.high - figure.value)) ** 2 for figure, weight in parts)
    return value, value - float(np.sqrt(below)), value + float(np.sqrt(above))


def randomisation_p(parts: Sequence[Paired], seed: int = 0, comparisons: int = 1) -> float:
    """Two-sided p of the paired randomisation test of two systems (Noreen 1989; Yeh 2000 for metrics that are no
    means).

    Under the null hypothesis the answers of a unit could as well be the other system's. The observed difference is
    one of the draws, so p is never 0.

    Args:
        parts: One or several sets; the weighted sum of their scores is tested.
        seed: Seed of the draws.
        comparisons: Number of comparisons that Holm's correction is made for. As many draws are made as a significant p
            among them needs; where p is not small, fewer are (Besag and Clifford, Biometrika 78, 1991).
    """

    def difference(shifts: Sequence[Array]) -> Array:
        scores = [
            part.weight * (part.score(part.first.sum(axis=0) + shift) - part.score(part.second.sum(axis=0) - shift))
            for part, shift in zip(parts, shifts, strict=True)
        ]
        return np.asarray(np.sum(scores, axis=0))

    observed = abs(float(difference([np.zeros(part.first.shape[1]) for part in parts])))
    most = max(_DRAWS, 40 * comparisons)
    as_extreme = drawn = 0
    while drawn < most and (as_extreme < _ENOUGH_EXTREME_DRAWS or not drawn):
        shifts = [
            _swaps(len(part.first), part.name, seed, drawn // _DRAWS) @ (part.second - part.first) for part in parts
        ]
        # What is no number is no evidence either.
        as_extreme += int(np.sum(~(np.abs(difference(shifts)) < observed - 1e-12)))
        drawn += _DRAWS
    return (1 + as_extreme) / (drawn + 1)


def gap_p(sums: Array, groups: Sequence[Hashable], value: Value, name: str = "", seed: int = 0) -> float:
    """p of the gap between the best and the worst group, by permutation of the groups' labels.

    Which two groups lie furthest apart is known only afterwards, so their difference has no valid interval. The test of
    the maximum minus the minimum looks at all groups alike (Good, "Permutation, Parametric and Bootstrap Tests of
    Hypotheses", 2005). Draws with the same gap, which are frequent where groups are small and answers right or wrong,
    count half (Lancaster's mid-p, JASA 56, 1961); otherwise fewer than 5 % of equal groups would have p < 0.05.

    Args:
        sums: Statistics by unit, (units, k).
        groups: The group of each unit.
        value: The metric's value of summed statistics.
        name: Name of the draw.
        seed: Seed of the draw.

    Returns:
        p, never 0; NaN where there are fewer than two groups.
    """
    numbers: dict[Hashable, int] = {}
    labels = np.fromiter((numbers.setdefault(group, len(numbers)) for group in groups), np.int64, len(sums))
    if len(numbers) < 2:
        return float("nan")
    observed = float(_gaps(labels[None], sums, value, len(numbers))[0])
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(f"{name} groups".encode())]))
    wider = same = drawn = 0
    while drawn < _DRAWS and wider < _ENOUGH_EXTREME_DRAWS:
        permuted = rng.permuted(np.tile(labels, (_DRAWS // 8, 1)), axis=1)
        gaps = _gaps(permuted, sums, value, len(numbers))
        alike = np.abs(gaps - observed) <= 1e-12
        same += int(np.sum(alike))
        wider += int(np.sum(~(gaps < observed) & ~alike))
        drawn += len(permuted)
    return (wider + (1 + same) / 2) / (drawn + 1)


def _gaps(labels: npt.NDArray[np.int64], sums: Array, value: Value, groups: int) -> Array:
    """The highest minus the lowest value of the groups, (draws,), of labels (draws, units)."""
    draws = len(labels)
    cells = (labels + groups * np.arange(draws)[:, None]).ravel()
    columns = [np.bincount(cells, np.tile(column, draws), draws * groups) for column in sums.T]
    values = value(np.stack(columns, axis=1)).reshape(draws, groups)
    gaps: Array = values.max(axis=1) - values.min(axis=1)
    return gaps


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for their number (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    most = 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = most
    return adjusted
