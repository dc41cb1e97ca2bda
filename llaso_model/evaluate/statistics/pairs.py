"""Every two systems compared: paired by row, resampled by speaker, p values adjusted for how many there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from llaso_data.instruct.tasks import Tasks
from llaso_model.evaluate.metrics.base import Array
from llaso_model.evaluate.rows import metric_stats
from llaso_model.evaluate.statistics import intervals
from llaso_model.evaluate.statistics.intervals import Paired
from llaso_model.evaluate.statistics.measure import Scored, clusters_of, json_number


def compare_pairs(
    systems: Sequence[str], tasks: Tasks, scored: Mapping[str, Mapping[str, Scored]], seed: int
) -> list[dict[str, Any]]:
    """Compares every two systems on every set and every task, by the paired randomisation test.

    Args:
        systems: The systems' names.
        tasks: The declared tasks.
        scored: By set and system, over the rows that all systems answered.
        seed: Seed of the draws.

    Returns:
        A JSON object for each comparison. p values are adjusted by Holm's method within each set or task.
    """
    comparisons: list[dict[str, Any]] = []
    for name, by in scored.items():
        comparisons += _compare_all("set", name, systems, [by], seed)
    for name in tasks.tasks:
        sets = [by for set_, by in scored.items() if tasks.sets[set_].task == name]
        if sets:
            comparisons += _compare_all("task", name, systems, sets, seed)
    return comparisons


def _compare_all(
    on: str, name: str, systems: Sequence[str], sets: Sequence[Mapping[str, Scored]], seed: int
) -> list[dict[str, Any]]:
    complete = [system for system in systems if all(system in by for by in sets)]
    system_pairs = list(combinations(complete, 2))
    comparisons = [
        comparison
        for pair in system_pairs
        if (comparison := _compare_pair(on, name, *pair, sets, seed, len(system_pairs))) is not None
    ]
    adjusted = intervals.holm([pair["p"] for pair in comparisons])
    return [
        {**pair, "p": round(pair["p"], 6), "p_holm": round(p, 6)} for pair, p in zip(comparisons, adjusted, strict=True)
    ]


def _compare_pair(
    on: str,
    name: str,
    first: str,
    second: str,
    sets: Sequence[Mapping[str, Scored]],
    seed: int,
    comparisons: int,
) -> dict[str, Any] | None:
    """A set is compared by its metric, a task by the normalised scores of its sets, weighted by their rows.

    None where a set has no row with the metric of both systems: a judge may have rated other answers of each.
    """
    units = [_paired_units(by[first], by[second]) for by in sets]
    rows = [count for _, _, count in units]
    if not all(rows):
        return None
    parts = [
        Paired(by[first].name, *pair[:2], by[first].metric.value if on == "set" else by[first].score, count / sum(rows))
        for by, pair, count in zip(sets, units, rows, strict=True)
    ]
    difference = sum(p.weight * float(p.score(p.first.sum(axis=0)) - p.score(p.second.sum(axis=0))) for p in parts)
    resampled = np.sum([part.weight * _differences(part, seed) for part in parts], axis=0)
    low, high = intervals.interval(resampled, sum(len(part.first) for part in parts))
    if not low < high:  # all alike: no resample says how far others would differ
        low = high = float("nan")
    return {
        "on": on,
        "name": name,
        "first": first,
        "second": second,
        "metric": sets[0][first].metric.name if on == "set" else "score",
        "difference": json_number(difference),
        "low": json_number(low),
        "high": json_number(high),
        "p": intervals.randomisation_p(parts, seed, comparisons),
        "rows": sum(rows),
    }


def _paired_units(first: Scored, second: Scored) -> tuple[Array, Array, int]:
    """Statistics by unit of both systems, and of how many rows: those that have them in both."""
    (stats, there), (other_stats, other_there) = (
        metric_stats(scored.rows, scored.metric) for scored in (first, second)
    )
    both = sorted(set(there) & set(other_there))
    clusters = clusters_of([first.rows[i] for i in both])
    first_units = intervals.resampling_units(stats[np.isin(there, both)], clusters)[0]
    return first_units, intervals.resampling_units(other_stats[np.isin(other_there, both)], clusters)[0], len(both)


def _differences(part: Paired, seed: int) -> Array:
    """The first system's score minus the second's in every resample of the units; both are resampled alike."""
    first, second = (intervals.replicates(sums, part.score, part.name, seed) for sums in (part.first, part.second))
    difference: Array = first - second
    return difference
