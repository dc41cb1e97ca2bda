"""From scored rows to figures: sets, tasks and the overall score with intervals, pairs of systems, subgroups.

Everything is a pure function of the rows, the tasks and the seed, and the result is plain JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llaso_data.instruct.tasks import Tasks
from llaso_model.evaluate.extract.labels import ANSWER_KINDS
from llaso_model.evaluate.kinds import KINDS, Row
from llaso_model.evaluate.metrics import classes, error_rates
from llaso_model.evaluate.metrics.base import JUDGED, Metric, Value
from llaso_model.evaluate.rows import all_metrics, class_names, metric_stats
from llaso_model.evaluate.statistics import intervals, layers, unjudged
from llaso_model.evaluate.statistics.intervals import Figure
from llaso_model.evaluate.statistics.measure import (
    Normaliser,
    Scored,
    as_json,
    formula,
    json_number,
    metric_figure,
    normaliser,
    primary_metric,
)
from llaso_model.evaluate.statistics.pairs import compare_pairs
from llaso_model.evaluate.statistics.subgroups import by_subgroup, by_tag, clean_rows, common_rows

_MAX_NAMED_SETS = 3  # sets that a note names

OVERALL_FORMULA = (
    "The overall score is the mean over tasks. A task's score is the mean of its sets' normalised scores, each "
    "weighted by its rows. Normalised: accuracy and F1 as they are; error rates max(0, 1 − rate); mean absolute errors "
    "1 − MAE / (highest − lowest possible number), an answer without a number charged the worst error; a judge's "
    "score (score − 1) / 4 over the answers that it judged, and ROUGE-L F1 where nothing of some system was judged."
)


def summarise(rows: Sequence[Row], tasks: Tasks, seed: int = 0, asked: bool = False) -> dict[str, Any]:
    """All figures of scored rows as JSON.

    Systems are compared on the rows of a set that all of them answered; ``missing`` counts the others and names who
    lacks them. The score of a set is that of its rows without noise or another condition, where it has some; rows in
    a condition count under their tags. So do rows that are for another layer of evaluation than their task.

    Args:
        rows: Scored rows of any systems and sets.
        tasks: The declared tasks.
        seed: Seed of the bootstrap and of the randomisation tests.
        asked: A judge was asked about all open answers.
    """
    systems = list(dict.fromkeys(row.prediction.system for row in rows))
    grouped: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        grouped.setdefault(row.prediction.set, {}).setdefault(row.prediction.system, []).append(row)
    answered = {
        name: clean_rows(grouped[name], tasks.tasks[declared.task].layer)
        for name, declared in tasks.sets.items()
        if name in grouped
    }
    common = {name: by for name, set_rows in answered.items() if any((by := common_rows(set_rows)).values())}
    scored: dict[str, dict[str, Scored]] = {}
    sets = []
    for name, by in common.items():
        set_summary, set_scores = _set_summary(
            name, tasks, {system: by[system] for system in systems if system in by}, seed
        )
        sets.append(set_summary)
        if set_summary["normalised"]:
            scored[name] = set_scores
    task_scores, overall = _task_scores(systems, tasks, scored)
    missing = {name: lacks for name, by in answered.items() if (lacks := _missing(by))}
    return {
        "systems": systems,
        "rows": len(rows),
        "missing": missing,
        "notes": [*_missing_notes(systems, missing), *_undefined_notes(sets, common), *_few_cluster_notes(sets)],
        "unjudged": unjudged.unjudged_rows(rows, sets, asked),
        "sets": sets,
        "tasks": task_scores,
        "overall": overall,
        "pairs": compare_pairs(systems, tasks, scored, seed),
        "abstention": _abstention(systems, tasks, common),
        "tags": by_tag(systems, tasks, grouped, seed),
        "layers": layers.by_layer(systems, tasks, grouped, seed),
    }


def _missing(by_system: Mapping[str, Sequence[Row]]) -> dict[str, Any] | None:
    """Counts the rows of a set that any system answered, those that all answered, and those that each lacks."""
    ids = {system: {row.prediction.id for row in rows} for system, rows in by_system.items()}
    all_ids = set.union(*ids.values())
    lacks = {system: len(all_ids - own) for system, own in ids.items() if len(own) < len(all_ids)}
    return {"rows": len(all_ids), "common": len(set.intersection(*ids.values())), "lacks": lacks} if lacks else None


def _missing_notes(systems: Sequence[str], missing: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each system that lacks rows which another answered, and for each set without a common row."""
    lines = []
    for system in systems:
        sets = {name: counts["lacks"][system] for name, counts in missing.items() if system in counts["lacks"]}
        if sets:
            named = [
                f"{name} {count:,} of {missing[name]['rows']:,}" for name, count in list(sets.items())[:_MAX_NAMED_SETS]
            ]
            more = f", and {len(sets) - _MAX_NAMED_SETS} sets more" if len(sets) > _MAX_NAMED_SETS else ""
            lines.append(
                f"{system} lacks {sum(sets.values()):,} answers that others gave ({', '.join(named)}{more}): "
                "all systems are compared on the rows that all of them answered"
            )
    apart = [name for name, counts in missing.items() if not counts["common"]]
    return [*lines, *(f"{name}: no row that all systems answered, so it counts in no score" for name in apart)]


def _undefined_notes(sets: Sequence[Mapping[str, Any]], common: Mapping[str, Mapping[str, Sequence[Row]]]) -> list[str]:
    """A line for each set without a score, and for each set with references that no answer can be measured against."""
    lines = []
    for set_summary in sets:
        name, by = set_summary["name"], common[set_summary["name"]]
        if not set_summary["normalised"]:
            lines.append(
                f"{name}: its {_title(set_summary['primary'])} is undefined, because no reference has anything to "
                "measure an answer against; it counts in no score"
            )
        elif set_summary["primary"] == "rouge_l" and (without := _rows_without(by, set_summary["primary"])):
            lines.append(f"{name}: {without:,} references have no words; the answers to them are not measured")
    return lines


def _rows_without(by_system: Mapping[str, Sequence[Row]], metric: str) -> int:
    """How many rows that ask for an answer lack the statistics of a metric."""
    asked = ([row for row in rows if row.prediction.expected == "answer"] for rows in by_system.values())
    return max(sum(metric not in row.stats for row in rows) for rows in asked)


def _title(metric: str) -> str:
    """The title of a metric."""
    return all_metrics()[metric].title


def _few_cluster_notes(sets: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each set with too few speakers (or rows) to say how much they differ."""
    lines = []
    for set_summary in sets:
        figures = [
            by[set_summary["primary"]]
            for by in set_summary["metrics"].values()
            if set_summary["normalised"] and set_summary["primary"] in by
        ]
        if few := min((figure["clusters"] for figure in figures if figure.get("few_clusters")), default=0):
            lines.append(
                f"{set_summary['name']}: {few} cluster{'s' if few != 1 else ''}: too few; its intervals are over rows"
            )
    return lines


def _set_summary(
    name: str, tasks: Tasks, by_system: Mapping[str, list[Row]], seed: int
) -> tuple[dict[str, Any], dict[str, Scored]]:
    declared = tasks.sets[name]
    primary = primary_metric(declared, by_system)
    normal = normaliser(primary, declared)
    scores: dict[str, Scored] = {}
    metrics: dict[str, dict[str, Any]] = {}
    listed = dict.fromkeys((primary, *KINDS[declared.kind].metrics, JUDGED, classes.REFUSED_RIGHTLY))
    for system, rows in by_system.items():
        metrics[system] = {}
        for metric in listed:
            measured = metric_figure(rows, metric, name, seed)
            if measured is None:
                continue
            metrics[system][metric.name] = as_json(measured[0])
            if metric is primary:
                scores[system] = _score_set(name, rows, metric, measured[0], normal)
    if len(scores) < len(by_system) or not all(np.isfinite(measured.normal.value) for measured in scores.values()):
        scores = {}  # of nothing there is no score: neither 0 nor that of some systems alone
    groups = by_subgroup(by_system, primary, name, seed)
    labels = class_names(declared, tasks)
    return {
        "name": name,
        "task": declared.task,
        "kind": declared.kind,
        "unit": declared.unit,
        "primary": primary.name,
        "formula": formula(primary, declared),
        "rows": max(len(rows) for rows in by_system.values()),
        "clustered": any(row.prediction.speaker for rows in by_system.values() for row in rows),
        "metrics": metrics,
        "normalised": {system: as_json(measured.normal) for system, measured in scores.items()},
        "said": {system: _answer_kinds(rows) for system, rows in by_system.items()},
        "errors": {system: _error_kinds(rows) for system, rows in by_system.items()},
        "labels": list(labels),
        "confusion": {system: _confusion(rows, labels) for system, rows in by_system.items()} if labels else {},
        "risk_coverage": {system: curve for system, rows in by_system.items() if (curve := _risk_curve(rows))},
        "slices": groups,
    }, scores


def _score_set(name: str, rows: list[Row], metric: Metric, figure: Figure, normal: Normaliser) -> Scored:
    ends = sorted(float(normal(np.asarray(end))) for end in (figure.low, figure.high))
    value = float(normal(np.asarray(figure.value)))
    score: Value = lambda sums: normal(metric.value(sums))  # noqa: E731
    return Scored(name, rows, metric, replace(figure, value=value, low=ends[0], high=ends[1]), score)


def _task_scores(
    systems: Sequence[str], tasks: Tasks, scored: Mapping[str, Mapping[str, Scored]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Scores of tasks and overall. A system has a task if it answered all of its sets that any system answered."""
    task_scores: list[dict[str, Any]] = []
    values: dict[str, dict[str, list[tuple[Figure, float]]]] = {}
    for name, task in tasks.tasks.items():
        sets = {set_: by for set_, by in scored.items() if tasks.sets[set_].task == name}
        if not sets:
            continue
        values[name] = {
            system: _row_weighted([by[system] for by in sets.values()])
            for system in systems
            if all(system in by for by in sets.values())
        }
        task_scores.append(
            {
                "name": name,
                "title": task.title,
                "short": task.short,
                "group": task.group,
                "layer": task.layer,
                "sets": list(sets),
                "rows": sum(max(len(scored_rows.rows) for scored_rows in by.values()) for by in sets.values()),
                "scores": {system: _as_figure(parts) for system, parts in values[name].items()},
            }
        )
    common = [name for name, by in values.items() if all(system in by for system in systems)]
    overall: dict[str, Any] = {"formula": OVERALL_FORMULA, "common_tasks": common, "common": {}, "all": {}, "tasks": {}}
    for system in systems:
        own = [name for name in values if system in values[name]]
        overall["tasks"][system] = own
        if common:
            overall["common"][system] = _as_figure(_mean([values[name][system] for name in common]))
        if len(own) == len(values):
            overall["all"][system] = _as_figure(_mean([values[name][system] for name in own]))
    return task_scores, overall


def _row_weighted(parts: Sequence[Scored]) -> list[tuple[Figure, float]]:
    """The sets of a task, each weighted by its rows."""
    total = sum(len(part.rows) for part in parts)
    return [(part.normal, len(part.rows) / total) for part in parts]


def _mean(tasks: Sequence[list[tuple[Figure, float]]]) -> list[tuple[Figure, float]]:
    return [(figure, weight / len(tasks)) for parts in tasks for figure, weight in parts]


def _as_figure(parts: list[tuple[Figure, float]]) -> dict[str, Any]:
    value, low, high = intervals.combine_figures(parts)
    return {"value": json_number(value), "low": json_number(low), "high": json_number(high)}


def _answer_kinds(rows: Sequence[Row]) -> dict[str, int]:
    counts = Counter(row.answer_kind for row in rows)
    return {kind: counts[kind] for kind in ANSWER_KINDS}


def _error_kinds(rows: Sequence[Row]) -> dict[str, int]:
    """Substitutions, deletions, insertions and length in words or segments, where the set has such errors."""
    for metric in (error_rates.WER, error_rates.PER):
        stats, row_numbers = metric_stats(rows, metric)
        if row_numbers and stats.shape[1] == 4:
            return dict(zip(("sub", "del", "ins", "length"), map(int, stats.sum(axis=0)), strict=True))
    return {}


def _confusion(rows: Sequence[Row], labels: Sequence[str]) -> list[list[int]]:
    class_numbers = {label: i for i, label in enumerate(labels)}
    class_pairs = [
        (class_numbers[row.target], class_numbers.get(row.hypothesis, -1) if row.answer_kind == "one" else -1)
        for row in rows
        if row.target in class_numbers
    ]
    targets, predicted = ([pair[side] for pair in class_pairs] for side in (0, 1))
    counts: list[list[int]] = classes.confusion(targets, predicted, len(labels)).tolist()
    return counts


def _risk_curve(rows: Sequence[Row]) -> list[list[float]]:
    """The risk–coverage curve. Without confidences it is one point, that of all answered rows."""
    asked = [row for row in rows if "coverage" in row.stats and "accuracy_answered" in row.stats]
    answered = [row for row in asked if row.answer_kind == "one"]
    if not answered:
        return []
    confidences = [1.0 if row.prediction.confidence is None else row.prediction.confidence for row in answered]
    right = [row.error == 0 for row in answered]
    return [[round(x, 4), round(y, 4)] for x, y in classes.risk_coverage(confidences, right, len(asked))]


def _abstention(
    systems: Sequence[str], tasks: Tasks, grouped: Mapping[str, Mapping[str, list[Row]]]
) -> dict[str, dict[str, int]]:
    """How many answers to closed questions are of each kind, by system."""
    counts: dict[str, dict[str, int]] = {system: dict.fromkeys(ANSWER_KINDS, 0) for system in systems}
    for name, by in grouped.items():
        if KINDS[tasks.sets[name].kind].is_closed:
            for system, rows in by.items():
                for row in rows:
                    if row.prediction.expected == "answer":
                        counts[system][row.answer_kind] += 1
    return counts
