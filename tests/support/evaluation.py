"""What the tests of evaluation share: rows of published outputs, few of them here, all beside the repository."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from typing import Any

import pytest

from llaso_model.evaluate.datasets import layouts, tasks
from llaso_model.evaluate.datasets.layouts import Prediction, ScoringInput
from llaso_model.evaluate.kinds import Row
from llaso_model.evaluate.rows import score_rows
from tests.support.paths import DATA, REPOSITORY

ROWS = DATA / "evaluate"
SHARED = REPOSITORY.parent / "shared" / "data" / "llaso_eval_outputs.tar.xz"
TASKS = tasks.load()


def shared_outputs() -> ScoringInput:
    """All published outputs; the test is skipped where they are not there."""
    if not SHARED.exists():
        pytest.skip(f"{SHARED} is not there: the published outputs of six systems are not part of the repository")
    return _read()


@cache
def _read() -> ScoringInput:
    return layouts.read_predictions([str(SHARED)], TASKS)


def fault_rows(fault: str) -> list[Prediction]:
    """The rows of ``faults.jsonl`` that show a fault, as the reader of the published layout gives them."""
    found = []
    for line in (ROWS / "faults.jsonl").read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        if said["fault"] == fault:
            row = layouts.published_prediction(
                said["system"], said["set"], "faults.jsonl", said["row"], TASKS.sets[said["set"]], Counter()
            )
            found.append(row)
    assert found, fault
    return found


def scored(predictions: list[Prediction]) -> list[Row]:
    """The rows of predictions, each scored with the others of its set."""
    return [row for one in predictions for row in score_rows(one.set, [one], TASKS)]


def prediction(set_: str, answer: str, reference: str = "", **more: Any) -> Prediction:
    """A prediction with only what a test says."""
    given: dict[str, Any] = {
        "system": "a", "set": set_, "id": f"{answer} {reference}", "prompt": "", "reference": reference,
        "answer": answer, "place": "here", **more,
    }  # fmt: skip
    return Prediction(**given)
