"""Slices of a set: by language, by the speaker's properties, by tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llaso_model.evaluate import noise
from llaso_model.evaluate.intervals import Array
from llaso_model.evaluate.measure import as_json, measured, number, primary_of, span
from llaso_model.evaluate.metrics.base import Metric
from llaso_model.evaluate.rows import Row
from llaso_model.evaluate.tasks import Tasks

LEAST_IN_SLICE = 20  # rows; fewer say nothing of a group


def as_they_are(by_system: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """A set's rows that no condition changed; all of them where there are no such."""
    found = {
        system: kept
        for system, rows in by_system.items()
        if (kept := [row for row in rows if not any(_is_condition(tag) for tag in row.prediction.tags)])
    }
    return found or by_system


def _is_condition(tag: str) -> bool:
    return tag.partition(":")[0] in noise.KINDS


def slices(by_system: Mapping[str, list[Row]], metric: Metric, name: str, seed: int) -> list[dict[str, Any]]:
    """The primary metric by language and by the speaker's properties, and the gap between the best and worst group."""
    found = []
    for group in ("language", "gender", "age", "accent"):
        values: dict[str, dict[str, list[Row]]] = {}
        for system, rows in by_system.items():
            for row in rows:
                value = _group_value(row, group)
                if value is not None:
                    values.setdefault(value, {}).setdefault(system, []).append(row)
        large = {v: by for v, by in values.items() if max(len(rows) for rows in by.values()) >= LEAST_IN_SLICE}
        if len(large) < 2:
            continue
        figures: dict[str, dict[str, Any]] = {value: {} for value in large}
        gaps: dict[str, Any] = {}
        for system in by_system:
            drawn: dict[str, tuple[float, Array]] = {}
            for value, by in large.items():
                one = measured(by.get(system, []), metric, f"{name} {group} {value}", seed)
                if one is not None:
                    figures[value][system] = as_json(one[0])
                    drawn[value] = (one[0].value, one[1])
            gaps[system] = _gap(drawn)
        found.append({"group": group, "values": dict(sorted(figures.items())), "gaps": gaps})
    return found


def _gap(drawn: Mapping[str, tuple[float, Array]]) -> dict[str, Any] | None:
    if len(drawn) < 2:
        return None
    high = max(drawn, key=lambda value: drawn[value][0])
    low = min(drawn, key=lambda value: drawn[value][0])
    difference = drawn[high][1] - drawn[low][1]
    ends = span(difference)
    gap = drawn[high][0] - drawn[low][0]
    return {"from": low, "to": high, **dict(zip(("value", "low", "high"), map(number, (gap, *ends)), strict=True))}


def _group_value(row: Row, group: str) -> str | None:
    if group == "language":
        return row.prediction.language
    value = row.prediction.groups.get(group)
    if value is None or not value.strip():
        return None
    if group == "age" and value.strip().isdigit():
        decade = int(value) // 10 * 10
        return f"{decade}–{decade + 9}"
    return value.strip().lower()


def tagged(
    systems: Sequence[str], tasks: Tasks, grouped: Mapping[str, Mapping[str, list[Row]]], seed: int
) -> list[dict[str, Any]]:
    """The primary metric by set and tag, and of modalities: what the layers of generalisation and robustness show."""
    found = []
    for name, by in grouped.items():
        primary = primary_of(tasks.sets[name], by)
        tags: dict[str, dict[str, list[Row]]] = {}
        for system, rows in by.items():
            for row in rows:
                for tag in row.prediction.tags:
                    tags.setdefault(tag, {}).setdefault(system, []).append(row)
        for tag, some in tags.items():
            figures = {
                system: as_json(one[0])
                for system in systems
                if system in some and (one := measured(some[system], primary, f"{name} {tag}", seed)) is not None
            }
            found.append({"set": name, "tag": tag, "metric": primary.name, "figures": figures})
    return found
