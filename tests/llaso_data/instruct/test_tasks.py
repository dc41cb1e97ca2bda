"""The registry of tasks: one from outside is scored beside the project's own, and what contradicts is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import TASKS, Tasks, all_tasks
from llaso_model.evaluate import score
from llaso_model.evaluate.datasets import tasks

MOOD = {
    "tasks": {"mood": {"place": 65, "title": "Mood", "short": "M", "group": "speaker", "instruction": "{answer}?"}},
    "labels": {"moods": {"good": ["fine"], "bad": []}},
    "sets": {"mood": {"task": "mood", "kind": "label", "labels": "moods"}},
}


@pytest.fixture
def mood() -> Iterator[None]:
    TASKS.register("mood", Tasks.model_validate(MOOD))
    yield
    TASKS.unregister("mood")


def test_a_task_from_outside_is_scored_at_its_place_beside_the_others(mood, tmp_path: Path) -> None:
    own = all_tasks()
    assert own.instruction("mood") == "one of: good, bad?"
    assert list(own.tasks).index("mood") == list(own.tasks).index("emotion") - 1
    lines = [
        {"set": "mood", "reference": "good", "answer": "I feel fine"},
        {"set": "asr", "reference": "so it is", "answer": "so it is"},
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = score.score([str(tmp_path / "mine.jsonl")], str(tmp_path / "out"), workers=1)
    assert {one["name"]: one["scores"]["mine"]["value"] for one in said["tasks"]} == {"asr": 1.0, "mood": 1.0}


def test_two_tasks_that_declare_one_set_are_refused(mood) -> None:
    TASKS.register("again", Tasks.model_validate({**MOOD, "tasks": {}, "labels": {}}))
    try:
        with pytest.raises(LLaSOError, match="task again: sets: mood is declared by another task, too"):
            all_tasks()
    finally:
        TASKS.unregister("again")


def test_a_task_from_outside_is_checked_as_a_file_is() -> None:
    TASKS.register("mood", Tasks.model_validate({**MOOD, "labels": {}}))
    try:
        with pytest.raises(LLaSOError, match=r"sets\.mood: kind label needs labels, one of"):
            tasks.load()
    finally:
        TASKS.unregister("mood")


def test_every_task_has_a_file_of_its_name() -> None:
    assert all(list(declared.tasks) == list(declared.build) == [name] for name, declared in TASKS.items())
