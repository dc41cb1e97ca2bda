"""The tasks that are scored: those of the registry, and those of a file. Each set's kind of score is checked here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import Tasks, all_tasks, merged
from llaso_data.io import settings
from llaso_data.records import digest
from llaso_model.evaluate.kinds import KINDS


def load(path: str | None = None) -> Tasks:
    """All tasks of the registry, and those of a YAML file; of what both declare, the file's.

    Args:
        path: A file, or a URI; None: the registry alone.

    Raises:
        LLaSOError: With every problem on a line: what names no task, label set or kind of score, what a kind needs and
            a set does not declare.
    """
    tasks = all_tasks()
    if path is not None:
        return merged(tasks, settings.load(Tasks, path, extra_checks=lambda own: _problems(merged(tasks, own))))
    if problems := [f"{'.'.join(map(str, at))}: {text}" for at, text in _problems(tasks)]:
        raise LLaSOError("\n".join(problems))
    return tasks


def digest_of(tasks: Tasks) -> str:
    """The digest of everything in the tasks that decides scores.

    Neither the place of a task in reports nor how instructions are built is part of it.
    """
    return digest(tasks.model_dump_json(exclude={"tasks": {"__all__": {"place"}}, "names": True, "build": True}))


def _problems(tasks: Tasks) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for name, declared in tasks.sets.items():
        if declared.task not in tasks.tasks:
            yield ("sets", name, "task"), f"no task {declared.task}; tasks has {', '.join(tasks.tasks)}"
        if (problem := KINDS.problem(declared.kind)) is not None:
            yield ("sets", name, "kind"), problem
            continue
        needs = KINDS[declared.kind].needs
        if "labels" in needs and declared.labels not in tasks.labels:
            yield ("sets", name), f"kind {declared.kind} needs labels, one of {', '.join(tasks.labels)}"
        if declared.labels is not None and not tasks.labels.get(declared.labels, "?"):
            yield (
                ("labels", declared.labels),
                "no label; name each with the list of its other forms, which may be empty",
            )
        if "range" in needs and declared.range is None:
            yield ("sets", name), f"kind {declared.kind} needs range: [lowest, highest]"
        if declared.range is not None and not (
            all(map(math.isfinite, declared.range)) and declared.range[0] < declared.range[1]
        ):
            yield ("sets", name, "range"), "two numbers, the lowest possible before the highest"
        for pattern in (*declared.ignore, *([declared.speaker] if declared.speaker else [])):
            try:
                re.compile(pattern)
            except re.error as error:
                yield ("sets", name), f"{pattern!r} is no regular expression: {error}"
