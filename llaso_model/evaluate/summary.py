"""From scored rows to figures: sets, tasks and the overall score with intervals, pairs of systems, slices, abstention.

Everything is a pure function of the rows, the tasks and the seed, and the result is plain JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llaso_model.evaluate import unjudged
from llaso_model.evaluate.intervals import RESAMPLES, Array, Figure
from llaso_model.evaluate.labels import KINDS
from llaso_model.evaluate.measure import (
    Normal,
    Scored,
    as_json,
    formula,
    measured,
    normaliser,
    number,
    primary_of,
    span,
)
from llaso_model.evaluate.metrics import classes
from llaso_model.evaluate.pairs import pairs
from llaso_model.evaluate.rows import JUDGED, METRICS, Row, class_names, stats_of
from llaso_model.evaluate.slices import as_they_are, slices, tagged
from llaso_model.evaluate.tasks import Tasks

OVERALL_FORMULA = (
    "The overall score is the mean over tasks. A task's score is the mean of its sets' normalised scores, each "
    "weighted by its rows. Normalised: accuracy and F1 as they are; error rates max(0, 1 − rate); mean absolute errors "
    "1 − MAE / (highest − lowest possible number), an answer without a number charged the worst error; a judge's "
    "score (score − 1) / 4 over the answers that it judged, and ROUGE-L F1 where nothing of some system was judged."
)


def summarise(rows: Sequence[Row], tasks: Tasks, seed: int = 0, asked: bool = False) -> dict[str, Any]:
    """All figures of scored rows as JSON. Rows of a set are brought into one order, so that systems are paired.

    Where a set has rows that were heard as they are, those alone are its score; rows of noise and other conditions
    count under their tags. ``asked`` says that a judge was asked about all open answers.
    """
    systems = list(dict.fromkeys(row.prediction.system for row in rows))
    grouped: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        grouped.setdefault(row.prediction.set, {}).setdefault(row.prediction.system, []).append(row)
    plain = {name: as_they_are(by) for name, by in grouped.items()}
    names = [name for name in tasks.sets if name in plain]
    scored: dict[str, dict[str, Scored]] = {}
    sets = []
    for name in names:
        by_system = {
            system: sorted(plain[name][system], key=lambda row: row.prediction.id)
            for system in systems
            if system in plain[name]
        }
        said, scored[name] = _set(name, tasks, by_system, seed)
        sets.append(said)
    task_scores, overall = _tasks(systems, tasks, scored)
    return {
        "systems": systems,
        "rows": len(rows),
        "unjudged": unjudged.found(rows, sets, asked),
        "sets": sets,
        "tasks": task_scores,
        "overall": overall,
        "pairs": pairs(systems, tasks, scored, weighted, seed),
        "abstention": _abstention(systems, tasks, plain),
        "tags": tagged(systems, tasks, grouped, seed),
    }


def _set(
    name: str, tasks: Tasks, by_system: Mapping[str, list[Row]], seed: int
) -> tuple[dict[str, Any], dict[str, Scored]]:
    declared = tasks.sets[name]
    primary = primary_of(declared, by_system)
    normal = normaliser(primary, declared)
    found: dict[str, Scored] = {}
    metrics: dict[str, dict[str, Any]] = {}
    listed = dict.fromkeys((primary, *METRICS[declared.kind], JUDGED, *METRICS["refusal"]))
    for system, rows in by_system.items():
        metrics[system] = {}
        for metric in listed:
            one = measured(rows, metric, name, seed)
            if one is None:
                continue
            metrics[system][metric.name] = as_json(one[0])
            if metric is primary:
                found[system] = _normalised(rows, *one, normal)
    groups = slices(by_system, primary, name, seed)
    labels = class_names(declared, tasks)
    return {
        "name": name,
        "task": declared.task,
        "kind": declared.kind,
        "unit": declared.unit,
        "primary": primary.name,
        "formula": formula(primary, declared),
        "rows": max(len(rows) for rows in by_system.values()),
        "same_rows": len({tuple(row.prediction.id for row in rows) for rows in by_system.values()}) == 1,
        "clustered": any(row.prediction.speaker for rows in by_system.values() for row in rows),
        "metrics": metrics,
        "normalised": {system: as_json(one.normal) for system, one in found.items()},
        "said": {system: _said(rows) for system, rows in by_system.items()},
        "errors": {system: _error_kinds(rows) for system, rows in by_system.items()},
        "labels": list(labels),
        "confusion": {system: _confusion(rows, labels) for system, rows in by_system.items()} if labels else {},
        "risk_coverage": {system: curve for system, rows in by_system.items() if (curve := _risk(rows))},
        "slices": groups,
    }, found


def _normalised(rows: list[Row], figure: Figure, replicates: Array, normal: Normal) -> Scored:
    low, high = sorted(float(normal(np.asarray(end))) for end in (figure.low, figure.high))
    value = float(normal(np.asarray(figure.value)))
    return Scored(rows, figure, Figure(value, low, high, figure.rows, figure.clusters), normal(replicates))


def _tasks(
    systems: Sequence[str], tasks: Tasks, scored: Mapping[str, Mapping[str, Scored]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Scores of tasks and overall; a system has a task where it answered all of the task's sets that any one did."""
    made: list[dict[str, Any]] = []
    values: dict[str, dict[str, tuple[float, Array]]] = {}
    for name, task in tasks.tasks.items():
        sets = {set_: by for set_, by in scored.items() if tasks.sets[set_].task == name}
        if not sets:
            continue
        values[name] = {
            system: weighted([by[system] for by in sets.values()])
            for system in systems
            if all(system in by for by in sets.values())
        }
        made.append(
            {
                "name": name,
                "title": task.title,
                "short": task.short,
                "group": task.group,
                "layer": task.layer,
                "sets": list(sets),
                "rows": sum(max(len(one.rows) for one in by.values()) for by in sets.values()),
                "scores": {system: _as_figure(*one) for system, one in values[name].items()},
            }
        )
    common = [name for name, by in values.items() if all(system in by for system in systems)]
    overall: dict[str, Any] = {"formula": OVERALL_FORMULA, "common_tasks": common, "common": {}, "all": {}, "tasks": {}}
    for system in systems:
        own = [name for name in values if system in values[name]]
        overall["tasks"][system] = own
        if common:
            overall["common"][system] = _as_figure(*_mean([values[name][system] for name in common]))
        if len(own) == len(values):
            overall["all"][system] = _as_figure(*_mean([values[name][system] for name in own]))
    return made, overall


def weighted(parts: Sequence[Scored]) -> tuple[float, Array]:
    """(value, replicates) of sets together, each weighted by its rows."""
    total = sum(len(part.rows) for part in parts)
    value = sum(part.normal.value * len(part.rows) for part in parts) / total
    replicates = np.zeros(RESAMPLES)
    for part in parts:
        replicates = replicates + part.replicates * (len(part.rows) / total)
    return value, replicates


def _mean(parts: Sequence[tuple[float, Array]]) -> tuple[float, Array]:
    return float(np.mean([value for value, _ in parts])), np.mean([drawn for _, drawn in parts], axis=0)


def _as_figure(value: float, replicates: Array) -> dict[str, Any]:
    low, high = span(replicates)
    return {"value": number(value), "low": number(min(low, value)), "high": number(max(high, value))}


def _said(rows: Sequence[Row]) -> dict[str, int]:
    counts = Counter(row.said for row in rows)
    return {kind: counts[kind] for kind in KINDS}


def _error_kinds(rows: Sequence[Row]) -> dict[str, int]:
    """Substitutions, deletions, insertions and length in words or segments, where the set has such errors."""
    for name in ("wer", "per"):
        stats, there = stats_of(rows, name)
        if there and stats.shape[1] == 4:
            return dict(zip(("sub", "del", "ins", "length"), map(int, stats.sum(axis=0)), strict=True))
    return {}


def _confusion(rows: Sequence[Row], labels: Sequence[str]) -> list[list[int]]:
    number = {label: i for i, label in enumerate(labels)}
    pairs = [
        (number[row.wanted], number.get(row.given, -1) if row.said == "one" else -1)
        for row in rows
        if row.wanted in number
    ]
    return classes.confusion([a for a, _ in pairs], [b for _, b in pairs], len(labels)).tolist()  # type: ignore[no-any-return]


def _risk(rows: Sequence[Row]) -> list[list[float]]:
    """The risk–coverage curve: by confidence where the system gives it, else the one point of all that it answered."""
    asked = [row for row in rows if "coverage" in row.stats and "accuracy_answered" in row.stats]
    answered = [row for row in asked if row.said == "one"]
    if not answered:
        return []
    sure = [1.0 if row.prediction.confidence is None else row.prediction.confidence for row in answered]
    right = [row.badness == 0 for row in answered]
    return [[round(x, 4), round(y, 4)] for x, y in classes.risk_coverage(sure, right, len(asked))]


def _abstention(
    systems: Sequence[str], tasks: Tasks, grouped: Mapping[str, Mapping[str, list[Row]]]
) -> dict[str, dict[str, int]]:
    """How the answers to all closed questions split, by system."""
    found: dict[str, dict[str, int]] = {system: dict.fromkeys(KINDS, 0) for system in systems}
    for name, by in grouped.items():
        if tasks.sets[name].kind in ("label", "number"):
            for system, rows in by.items():
                for row in rows:
                    if row.prediction.expected != "refusal":
                        found[system][row.said] += 1
    return found
