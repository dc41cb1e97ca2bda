"""How sure a figure is: bootstrap intervals over clusters, paired tests, and corrections for many of them.

A metric is a function of the sum of its rows' statistics (an error count and a length, say). So a resample is a
weighted sum, and all resamples of a metric are one matrix product.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Value = Callable[[Array], Array]
"""Sums of statistics (…, k) to values (…)."""

RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its interval: (low, high) of ``CONFIDENCE``; of how many rows and clusters."""

    value: float
    low: float
    high: float
    rows: int
    clusters: int


def summed(stats: Array, clusters: Sequence[Hashable] | None = None) -> Array:
    """The statistics (rows, k) summed by cluster, (clusters, k), in the order of first appearance.

    Rows of one speaker are not independent: what is resampled is the speaker.
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
    """Values (count,) of bootstrap resamples of the clusters (Efron 1979): as many as there are, with replacement.

    The draw depends on `seed`, `name` and the number of clusters only: systems that answered the same rows of a set
    are resampled alike, so their replicates are paired.
    """
    return value(_weights(len(sums), name, seed, count) @ sums)


@lru_cache(maxsize=4)  # a set's metrics and systems are measured one behind another, with the same draw
def _weights(clusters: int, name: str, seed: int, count: int) -> Array:
    """How often each cluster is in each resample, (count, clusters)."""
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
    drawn = rng.integers(0, clusters, (count, clusters)) + clusters * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * clusters).reshape(count, clusters).astype(np.float64)


@lru_cache(maxsize=4)
def _swaps(clusters: int, seed: int, count: int) -> Array:
    """Which clusters change places between two systems, (count, clusters) of 0 and 1."""
    rng = np.random.Generator(np.random.Philox(key=[seed, clusters]))
    return rng.integers(0, 2, (count, clusters)).astype(np.float64)


def interval(values: Array, clusters: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The expanded percentile interval of replicates.

    The plain percentile interval is too narrow for few clusters: it forgets that the spread is estimated, and that a
    resample's spread is (n - 1)/n of the sample's. Its quantiles are moved out as Student's t demands: Hesterberg,
    "What Teachers Should Know About the Bootstrap", The American Statistician 69 (2015), "expanded percentile".
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
    """Clopper and Pearson's exact interval of a share (Biometrika 26, 1934), for where no resample differs.

    A hundred right answers of a hundred do not mean that the share is 1 for sure.
    """
    from scipy import stats

    half = (1 - confidence) / 2
    low = 0.0 if successes <= 0 else float(stats.beta.ppf(half, successes, total - successes + 1))
    high = 1.0 if successes >= total else float(stats.beta.ppf(1 - half, successes + 1, total - successes))
    return low, high


def figure(
    stats: Array, value: Value, clusters: Sequence[Hashable] | None = None, name: str = "", seed: int = 0
) -> tuple[Figure, Array]:
    """A metric of rows with its interval, and the replicates. ``stats`` is (rows, k)."""
    sums = summed(stats, clusters)
    whole = float(value(sums.sum(axis=0)))
    if not len(sums) or not np.isfinite(whole):
        nothing = np.full(RESAMPLES, np.nan)
        return Figure(whole, float("nan"), float("nan"), len(stats), len(sums)), nothing
    values = replicates(sums, value, name, seed)
    low, high = interval(values, len(sums))
    if low == high and whole in (0.0, 1.0) and len(sums) > 1:
        low, high = share_interval(whole * len(sums), len(sums))
    return Figure(whole, low, high, len(stats), len(sums)), values


def permutation_p(first: Array, second: Array, value: Value, seed: int = 0, count: int = 2000) -> float:
    """Two-sided p of the paired randomisation test of two systems over the same clusters, (clusters, k) each.

    Under the null hypothesis a cluster's answers could as well be the other system's (Noreen 1989; Yeh 2000 for
    metrics that are no means). The observed difference is one of the draws, so p is never 0.
    """
    seen = abs(float(value(first.sum(axis=0)) - value(second.sum(axis=0))))
    moved = _swaps(len(first), seed, count) @ (second - first)
    drawn = np.abs(value(first.sum(axis=0) + moved) - value(second.sum(axis=0) - moved))
    return float((1 + np.sum(drawn >= seen - 1e-12)) / (count + 1))


def replicate_p(differences: Array) -> float:
    """Two-sided p of a difference whose bootstrap replicates are given: how often it has the other sign."""
    finite = differences[np.isfinite(differences)]
    if not len(finite):
        return float("nan")
    smaller = min(int(np.sum(finite <= 0)), int(np.sum(finite >= 0)))
    return float(min(1.0, 2 * (1 + smaller) / (len(finite) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values adjusted for how many they are (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    most = 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = most
    return adjusted
