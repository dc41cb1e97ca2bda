"""Every two systems compared: paired by row, resampled by speaker, p values adjusted for how many there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from llaso_model.evaluate import intervals
from llaso_model.evaluate.intervals import Array
from llaso_model.evaluate.measure import Scored, clusters_of, number, primary_of, span
from llaso_model.evaluate.metrics.base import Metric
from llaso_model.evaluate.rows import Row, stats_of
from llaso_model.evaluate.tasks import Tasks

Joined = Callable[[Sequence[Scored]], tuple[float, Array]]


def pairs(
    systems: Sequence[str],
    tasks: Tasks,
    scored: Mapping[str, Mapping[str, Scored]],
    joined: Joined,
    seed: int,
) -> list[dict[str, Any]]:
    """Every two systems on every set (randomisation test over the rows that both answered), task and overall.

    p values are adjusted by Holm's method within what they are compared on.
    """
    found: list[dict[str, Any]] = []
    for name, by in scored.items():
        declared = tasks.sets[name]
        metric = primary_of(declared, {system: one.rows for system, one in by.items()})
        made = [
            _pair(name, first, second, by[first].rows, by[second].rows, metric, seed)
            for first, second in combinations([system for system in systems if system in by], 2)
        ]
        found += _adjusted([{"on": "set", **one} for one in made if one is not None])
    for name in tasks.tasks:
        sets = [set_ for set_ in scored if tasks.sets[set_].task == name]
        if sets:
            found += _adjusted(_replicated("task", name, systems, [scored[set_] for set_ in sets], joined))
    return found


def _pair(
    name: str, first: str, second: str, a: list[Row], b: list[Row], metric: Metric, seed: int
) -> dict[str, Any] | None:
    common = _measured(a, metric) & _measured(b, metric)
    one = [row for row in a if row.prediction.id in common]
    stats_a, there = stats_of(one, metric.name)
    stats_b, _ = stats_of([row for row in b if row.prediction.id in common], metric.name)
    if not there:
        return None
    clusters = clusters_of(one)
    sums_a, sums_b = intervals.summed(stats_a, clusters), intervals.summed(stats_b, clusters)
    drawn = intervals.replicates(sums_a, metric.value, name, seed) - intervals.replicates(
        sums_b, metric.value, name, seed
    )
    low, high = intervals.interval(drawn, len(sums_a))
    difference = float(metric.value(sums_a.sum(axis=0)) - metric.value(sums_b.sum(axis=0)))
    return {
        "name": name,
        "first": first,
        "second": second,
        "metric": metric.name,
        "difference": number(difference),
        "low": number(low),
        "high": number(high),
        "p": intervals.permutation_p(sums_a, sums_b, metric.value, seed),
        "rows": len(there),
    }


def _measured(rows: Sequence[Row], metric: Metric) -> set[str]:
    """The ids of the rows that have the metric's statistics: of a judge's perhaps not all."""
    return {rows[i].prediction.id for i in stats_of(rows, metric.name)[1]}


def _replicated(
    on: str,
    name: str,
    systems: Sequence[str],
    sets: Sequence[Mapping[str, Scored]],
    joined: Joined,
) -> list[dict[str, Any]]:
    there = [system for system in systems if all(system in by for by in sets)]
    found = []
    for first, second in combinations(there, 2):
        (a, drawn_a), (b, drawn_b) = (joined([by[system] for by in sets]) for system in (first, second))
        low, high = span(drawn_a - drawn_b)
        found.append(
            {
                "on": on,
                "name": name,
                "first": first,
                "second": second,
                "metric": "score",
                "difference": number(a - b),
                "low": number(low),
                "high": number(high),
                "p": intervals.replicate_p(drawn_a - drawn_b),
                "rows": sum(len(by[first].rows) for by in sets),
            }
        )
    return found


def _adjusted(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    adjusted = intervals.holm([pair["p"] for pair in pairs])
    return [{**pair, "p": round(pair["p"], 6), "p_holm": round(p, 6)} for pair, p in zip(pairs, adjusted, strict=True)]
