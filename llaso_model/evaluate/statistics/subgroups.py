"""Which rows are compared, and the subgroups of a set: by language, by the speaker's properties, by tag."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llaso_data.instruct.tasks import Tasks
from llaso_model.evaluate import conditions
from llaso_model.evaluate.kinds import Row
from llaso_model.evaluate.metrics.base import Array, Metric
from llaso_model.evaluate.rows import metric_stats
from llaso_model.evaluate.statistics import intervals
from llaso_model.evaluate.statistics.measure import as_json, clusters_of, json_number, metric_figure, primary_metric

MIN_SUBGROUP_ROWS = 20  # rows; fewer say nothing of a group


def clean_rows(by_system: dict[str, list[Row]], layer: str) -> dict[str, list[Row]]:
    """The rows of a set without noise or another condition, of its own layer; where there are none such, all rows."""
    clean = {
        system: kept for system, rows in by_system.items() if (kept := [row for row in rows if _is_clean(row, layer)])
    }
    return clean or by_system


def _is_clean(row: Row, layer: str) -> bool:
    return row.prediction.layer in (None, layer) and not any(_is_condition(tag) for tag in row.prediction.tags)


def common_rows(by_system: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
    """The rows of every system that all systems answered, ordered by id. A single system keeps all of its rows."""
    ids = set.intersection(*({row.prediction.id for row in rows} for rows in by_system.values()))
    return {
        system: sorted((row for row in rows if row.prediction.id in ids), key=lambda row: row.prediction.id)
        for system, rows in by_system.items()
    }


def _is_condition(tag: str) -> bool:
    return tag.partition(":")[0] in conditions.CONDITION_KINDS


def by_subgroup(by_system: Mapping[str, list[Row]], metric: Metric, name: str, seed: int) -> list[dict[str, Any]]:
    """The primary metric by language, gender, age and accent, with the gap between the best and the worst subgroup.

    Subgroups of fewer than :data:`MIN_SUBGROUP_ROWS` rows are left out.
    """
    subgroups = []
    for group in ("language", "gender", "age", "accent"):
        values: dict[str, dict[str, list[Row]]] = {}
        for system, rows in by_system.items():
            for row in rows:
                value = _group_value(row, group)
                if value is not None:
                    values.setdefault(value, {}).setdefault(system, []).append(row)
        large = {v: by for v, by in values.items() if max(len(rows) for rows in by.values()) >= MIN_SUBGROUP_ROWS}
        if len(large) < 2:
            continue
        figures: dict[str, dict[str, Any]] = {value: {} for value in large}
        gaps: dict[str, Any] = {}
        for system in by_system:
            for value, by in large.items():
                measured = metric_figure(by.get(system, []), metric, f"{name} {group} {value}", seed)
                if measured is not None:
                    figures[value][system] = as_json(measured[0])
            own = {value: by[system] for value, by in large.items() if _is_defined(figures[value].get(system))}
            gaps[system] = _gap(own, metric, f"{name} {group}", seed)
        subgroups.append({"group": group, "values": dict(sorted(figures.items())), "gaps": gaps})
    return subgroups


def _is_defined(figure: Mapping[str, Any] | None) -> bool:
    return figure is not None and figure["value"] is not None


def _gap(groups: Mapping[str, list[Row]], metric: Metric, name: str, seed: int) -> dict[str, Any] | None:
    """The highest minus the lowest value, of which group to which, and its p (:func:`intervals.gap_p`)."""
    if len(groups) < 2:
        return None
    parts: list[Array] = []
    clusters: list[tuple[str, str]] = []
    for value, rows in groups.items():
        stats, row_numbers = metric_stats(rows, metric)
        parts.append(stats)
        clusters += [(value, cluster) for cluster in clusters_of([rows[i] for i in row_numbers])]
    sums, cluster_count = intervals.resampling_units(np.concatenate(parts), clusters)
    labels = [value for value, _ in (dict.fromkeys(clusters) if len(sums) == cluster_count else clusters)]
    values = {value: float(metric.value(own.sum(axis=0))) for value, own in zip(groups, parts, strict=True)}
    high, low = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
    return {
        "from": low,
        "to": high,
        "value": json_number(values[high] - values[low]),
        "p": json_number(intervals.gap_p(sums, labels, metric.value, name, seed)),
    }


def _group_value(row: Row, group: str) -> str | None:
    if group == "language":
        return row.prediction.language
    value = row.prediction.groups.get(group)
    if value is None or not value.strip():
        return None
    if group == "age" and re.fullmatch(r"[0-9]{1,3}", value.strip()):
        decade = int(value) // 10 * 10
        return f"{decade}–{decade + 9}"
    return value.strip().lower()


def by_tag(
    systems: Sequence[str], tasks: Tasks, grouped: Mapping[str, Mapping[str, list[Row]]], seed: int
) -> list[dict[str, Any]]:
    """The primary metric by set and tag, such as noise levels; over the rows of a tag that all systems answered."""
    tagged = []
    for name, by in grouped.items():
        primary = primary_metric(tasks.sets[name], by)
        tags: dict[str, dict[str, list[Row]]] = {}
        for system, rows in by.items():
            for row in rows:
                for tag in row.prediction.tags:
                    tags.setdefault(tag, {}).setdefault(system, []).append(row)
        for tag, answered in tags.items():
            common = common_rows(answered)
            figures = {
                system: as_json(measured[0])
                for system in systems
                if system in common
                and (measured := metric_figure(common[system], primary, f"{name} {tag}", seed)) is not None
            }
            tagged.append({"set": name, "tag": tag, "metric": primary.name, "figures": figures})
    return tagged
