"""Tasks as people read them: what each needs and answers, and instructions of rows that are made up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llaso_data.instruct.rendering import Instruction, Renderer
from llaso_data.instruct.tasks import Tasks
from llaso_data.instruct.tasks.build import AUDIO, LANGUAGE, SECOND_AUDIO, Build

_MANY = 12  # labels, of which a list names no more


def needs_of(build: Build) -> list[str]:
    """What a row must have: what goes in, and the further fields."""
    heard_or_read = [AUDIO] if build.input == AUDIO else [f"{AUDIO} or {build.input}"]
    if build.input != AUDIO and not set(build.modalities) & {"text_audio", "audio"}:
        heard_or_read = [build.input]
    return [*heard_or_read, *([SECOND_AUDIO] if build.clips == 2 else []), *build.needs]


def answer_of(tasks: Tasks, name: str) -> str:
    """What comes out, in words."""
    build = tasks.build[name]
    declared = tasks.sets[build.scored_as] if build.scored_as else None
    if build.expects != "answer":
        return "a refusal" if build.expects == "refusal" else "a question back"
    if build.answer.form == "label" and declared and declared.labels:
        labels = [tasks.name_of(declared.labels, label, "en") for label in tasks.labels[declared.labels]]
        named = f"one of {len(labels)} labels" if len(labels) > _MANY else ", ".join(labels)
        return named if build.closed else f"{named}, which instructions do not name"
    if declared and declared.range:
        what = "a number" if build.answer.form == "number" else "the text, and scores"
        return f"{what} from {declared.range[0]:g} to {declared.range[1]:g}"
    return {"text": "text", "audio": "audio"}[build.answer.form]


def examples_of(tasks: Tasks, name: str, count: int = 3) -> Iterator[Instruction]:
    """Instructions of rows that are made up, in each language of the task.

    Args:
        tasks: With what they say of the task.
        name: The task.
        count: Instructions in each language.
    """
    renderer = Renderer(tasks, name)
    for language in tasks.templates_of(name):
        for number in range(count):
            yield renderer(
                made_up(tasks, name, number),
                f"example {number}",
                modality=renderer.build.modalities[0],
                languages={language: 1.0},
                example_share=float(number == 1),
            )


def made_up(tasks: Tasks, name: str, number: int = 0) -> dict[str, Any]:
    """The fields of a row that is made up, with all that a task needs; its labels go by ``number``."""
    build = tasks.build[name]
    declared = tasks.sets[build.scored_as] if build.scored_as else None
    fields: dict[str, Any] = {field: f"({field})" for field in (AUDIO, SECOND_AUDIO, build.input, *build.needs)}
    label_sets = {field: label_set for field, label_set in build.shows.items() if label_set != LANGUAGE}
    if build.answer.form == "label" and declared and declared.labels:
        label_sets[build.answer.field] = declared.labels
    for field, label_set in label_sets.items():
        labels = list(tasks.labels[label_set])
        fields[field] = labels[number % len(labels)]
    fields.update({field: "fr" for field, shown in build.shows.items() if shown == LANGUAGE})
    if build.answer.form == "number" and declared and declared.range:
        fields[build.answer.field] = declared.range[0] + number
    return fields
