"""What is scored and how, as ``tasks.yaml`` says: tasks, label sets, and the sets of rows that belong to a task."""

from __future__ import annotations

import importlib.resources
import math
import re
from collections.abc import Iterator
from functools import cache
from typing import Literal

from pydantic import Field

from llaso_data.errors import LLaSOError
from llaso_data.io import settings
from llaso_data.recipe import Part
from llaso_model.evaluate.kinds import KINDS

Layer = Literal["basic", "tasks", "generalisation", "robustness"]


class Task(Part):
    """One of the tasks: its names, and where it stands in a report."""

    title: str
    short: str
    group: Literal["linguistic", "semantic", "speaker", "content"]
    layer: Layer = "tasks"
    instruction: str = ""


class Set(Part):
    """Rows that are scored alike: a file of LLaSO-Eval. The keys are explained in ``tasks.yaml``."""

    task: str
    kind: str
    labels: str | None = None
    match: Literal["anywhere", "named"] = "anywhere"
    others: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    range: tuple[float, float] | None = None
    unit: str = ""
    language: str | None = None
    speaker: str | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest number that an answer can be, of a set that declares them."""
        assert self.range is not None
        return self.range


class Tasks(Part):
    """The whole of ``tasks.yaml``."""

    tasks: dict[str, Task] = Field(default_factory=dict)
    labels: dict[str, dict[str, tuple[str, ...]]] = Field(default_factory=dict)
    sets: dict[str, Set] = Field(default_factory=dict)

    def instruction(self, name: str) -> str:
        """What a sample of a set is asked that has no instruction of its own; its labels or limits are named in it."""
        one = self.sets[name]
        labels = ", ".join(self.labels[one.labels]) if one.labels else ""
        limits = "" if one.range is None else f"a whole number from {one.range[0]:g} to {one.range[1]:g}"
        asked = self.tasks[one.task].instruction
        return asked.replace("{labels}", labels).replace("{answer}", limits or f"one of: {labels}")

    def set_of(self, name: str) -> str | None:
        """The set that a file's stem, a set's or a task's own name means; None where there is none.

        A task that has a single set may be named instead of it.
        """
        stem = re.sub(r"_test$", "", name)
        if stem in self.sets:
            return stem
        of_task = [key for key, one in self.sets.items() if one.task == name]
        return of_task[0] if len(of_task) == 1 else None


def load(path: str | None = None) -> Tasks:
    """The tasks of a YAML file, or those that come with LLaSO. Raises LLaSOError with every problem on a line."""
    return _own() if path is None else settings.load(Tasks, path, more=_problems)


@cache
def _own() -> Tasks:
    with importlib.resources.as_file(importlib.resources.files(__package__) / "tasks.yaml") as path:
        return settings.load(Tasks, str(path), more=_problems)


def _problems(tasks: Tasks) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for name, one in tasks.sets.items():
        if one.task not in tasks.tasks:
            yield ("sets", name, "task"), f"no task {one.task}; tasks has {', '.join(tasks.tasks)}"
        if (problem := KINDS.problem(one.kind)) is not None:
            yield ("sets", name, "kind"), problem
            continue
        needs = KINDS[one.kind].needs
        if "labels" in needs and one.labels not in tasks.labels:
            yield ("sets", name), f"kind {one.kind} needs labels, one of {', '.join(tasks.labels)}"
        if one.labels is not None and not tasks.labels.get(one.labels, "?"):
            yield ("labels", one.labels), "no label; name each with the list of its other forms, which may be empty"
        if "range" in needs and one.range is None:
            yield ("sets", name), f"kind {one.kind} needs range: [lowest, highest]"
        if one.range is not None and not (all(map(math.isfinite, one.range)) and one.range[0] < one.range[1]):
            yield ("sets", name, "range"), "two numbers, the lowest possible before the highest"
        for pattern in (*one.ignore, *([one.speaker] if one.speaker else [])):
            try:
                re.compile(pattern)
            except re.error as error:
                yield ("sets", name), f"{pattern!r} is no regular expression: {error}"


def unknown(name: str, tasks: Tasks) -> LLaSOError:
    """The error for a set that is not there."""
    return LLaSOError(f"{name} is no set of tasks.yaml; known are {', '.join(tasks.sets)}")
