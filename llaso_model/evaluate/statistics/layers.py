"""The layers of evaluation: what a system scores in each, and whether it passes.

A layer's score is the mean of the normalised scores of its sets. Chance is the same mean of the best constant answer:
the most frequent reference, the middle one, or a refusal. A layer is passed where the lower end of the score's interval
is above chance, and that of the informedness over instructions that can and cannot be followed is above 0. So neither a
system that always refuses nor one that always answers passes: the second loses on the pairs of instructions that every
layer of a test set has (:mod:`llaso_data.instruct.evaluation`), however right its answers are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llaso_data.instruct.tasks import LAYERS, Tasks
from llaso_model.evaluate.kinds import KINDS, Row
from llaso_model.evaluate.metrics.base import Metric
from llaso_model.evaluate.metrics.behaviour import INFORMEDNESS
from llaso_model.evaluate.rows import metric_stats, score_rows
from llaso_model.evaluate.statistics import intervals
from llaso_model.evaluate.statistics.intervals import Figure
from llaso_model.evaluate.statistics.measure import as_json, json_number, metric_figure, normaliser, primary_metric
from llaso_model.evaluate.statistics.subgroups import common_rows

_REFUSAL = "I'm sorry, I cannot answer that."


def by_layer(
    systems: Sequence[str], tasks: Tasks, grouped: Mapping[str, Mapping[str, list[Row]]], seed: int
) -> list[dict[str, Any]]:
    """The layers of a test set whose rows name theirs; empty where none does.

    Args:
        systems: Their names.
        tasks: The declared tasks.
        grouped: Rows by set and system.
        seed: Seed of the bootstrap.

    Returns:
        For each layer its name, rows, sets, the chance level and, by system, the score, the informedness and whether
        the layer is passed: null where it has nothing to tell it by.
    """
    layers = []
    for layer in LAYERS:
        sets = {name: by for name, all_rows in grouped.items() if (by := _of_layer(all_rows, layer))}
        if not sets:
            continue
        answered = {name: by for name, by in sets.items() if not KINDS[tasks.sets[name].kind].scores_refusals}
        metrics = {name: primary_metric(tasks.sets[name], by) for name, by in answered.items()}
        metrics = {name: metric for name, metric in metrics.items() if metric.normalised is not None}
        chance = {name: _chance(name, tasks, next(iter(sets[name].values())), metrics[name]) for name in metrics}
        results = {}
        for system in systems:
            scores = [
                _normalised(name, tasks, sets[name].get(system, []), metric, f"{layer} {name}", seed)
                for name, metric in metrics.items()
            ]
            results[system] = _result(scores, chance, _paired(sets, tasks, system), layer, seed)
        layers.append(
            {
                "name": layer,
                "rows": sum(max(map(len, by.values())) for by in sets.values()),
                "sets": list(sets),
                "chance": json_number(float(np.mean(list(chance.values())))) if chance else None,
                "systems": results,
            }
        )
    return layers


def _of_layer(by_system: Mapping[str, list[Row]], layer: str) -> dict[str, list[Row]]:
    own = {
        system: kept
        for system, rows in by_system.items()
        if (kept := [row for row in rows if row.prediction.layer == layer])
    }
    return common_rows(own) if own else {}


def _paired(sets: Mapping[str, Mapping[str, list[Row]]], tasks: Tasks, system: str) -> list[Row]:
    """A system's rows of sets that ask what can and what cannot be followed."""
    names = [name for name in sets if KINDS[tasks.sets[name].kind].scores_refusals]
    return [row for name in names for row in sets[name].get(system, [])]


def _normalised(name: str, tasks: Tasks, rows: Sequence[Row], metric: Metric, key: str, seed: int) -> Figure | None:
    measured = metric_figure(rows, metric, key, seed)
    if measured is None or not np.isfinite(measured[0].value):
        return None
    figure, normal = measured[0], normaliser(metric, tasks.sets[name])
    low, high = sorted(float(normal(np.asarray(end))) for end in (figure.low, figure.high))
    return replace(figure, value=float(normal(np.asarray(figure.value))), low=low, high=high)


def _result(
    scores: Sequence[Figure | None], chance: Mapping[str, float], paired: Sequence[Row], layer: str, seed: int
) -> dict[str, Any]:
    told: dict[str, Any] = {"score": None, "informedness": None, "passed": None}
    passed = []
    if scores and all(score is not None for score in scores):
        parts = [(score, 1 / len(scores)) for score in scores if score is not None]
        value, low, high = intervals.combine_figures(parts)
        told["score"] = {"value": json_number(value), "low": json_number(low), "high": json_number(high)}
        passed.append(low > float(np.mean(list(chance.values()))))
    measured = metric_figure(paired, INFORMEDNESS, f"{layer} informedness", seed)
    if measured is not None and np.isfinite(measured[0].value):
        told["informedness"] = as_json(measured[0])
        passed.append(measured[0].low > 0)
    told["passed"] = all(passed) if passed else None
    return told


def _chance(name: str, tasks: Tasks, rows: Sequence[Row], metric: Metric) -> float:
    """The normalised score of the best constant answer to the rows of a set."""
    declared = tasks.sets[name]
    predictions = [row.prediction for row in rows]
    references = [one.reference for one in predictions if one.expected == "answer"]
    if not references:
        return 0.0
    constants = {Counter(references).most_common(1)[0][0], sorted(references)[len(references) // 2], _REFUSAL}
    if declared.range is not None:
        constants.add(_middle(references))
    values = []
    for constant in sorted(constants):
        scored = score_rows(name, [replace(one, answer=constant) for one in predictions], tasks)
        stats, numbers = metric_stats(scored, metric)
        if numbers:
            value = float(normaliser(metric, declared)(np.asarray(metric.value(stats.sum(axis=0)))))
            values.append(value if np.isfinite(value) else 0.0)
    return max(values, default=0.0)


def _middle(references: Sequence[str]) -> str:
    """The reference whose number is the median, of texts that are numbers; else the first."""
    try:
        return sorted(references, key=float)[len(references) // 2]
    except ValueError:
        return min(references)
