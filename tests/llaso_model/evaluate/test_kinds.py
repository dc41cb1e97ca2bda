"""The tables of evaluation: a kind of score from outside is declared by a set, scored, summarised and reported."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_model.evaluate import score
from llaso_model.evaluate.datasets import tasks
from llaso_model.evaluate.kinds import KINDS, Kind, Row
from llaso_model.evaluate.metrics.base import Metric, ratio
from llaso_model.evaluate.report.scores_page import report

NEARNESS = Metric(
    "nearness",
    "Nearness",
    ratio,
    formula="share of {high:g} words",
    normalised=lambda value, limits: value / (limits or (0, 1))[1],
    limits=(0, 9),
)


def _rows(declared: Any, all_: Any, predictions: Sequence[Any]) -> Iterable[Row]:
    for one in predictions:
        near = 9 - min(9, abs(len(one.answer.split()) - len(one.reference.split())))
        yield Row(one, "one", one.answer, one.reference, 9.0 - near, {"nearness": (float(near), 1.0)})


@pytest.fixture
def word_count() -> Iterator[None]:
    KINDS.register("word_count", Kind("Number of words", _rows, (NEARNESS,), needs=frozenset(("range",))))
    yield
    KINDS.unregister("word_count")


DECLARED = """
tasks: {length: {title: Length, short: LEN, group: content}}
sets:
  length: {task: length, kind: word_count, range: [0, 9]}
"""


def test_a_kind_from_outside_is_scored_summarised_and_reported(word_count, tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(DECLARED)
    lines = [
        {"set": "length", "id": "a", "reference": "three words here", "answer": "and <think>so</think> three words"},
        {"set": "length", "id": "b", "reference": "one", "answer": "seven words more than there should be"},
        {"set": "length", "id": "c", "reference": "", "answer": "I cannot answer that.", "expected": "refusal"},
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = score.score([str(tmp_path / "mine.jsonl")], str(tmp_path), str(tmp_path / "tasks.yaml"), workers=1)
    (one,) = said["sets"]
    assert one["kind"] == "word_count" and one["primary"] == "nearness" and one["formula"] == "share of 9 words"
    assert one["metrics"]["mine"]["nearness"]["value"] == 6.0  # 9 and 3
    assert one["metrics"]["mine"]["right_refusal"]["value"] == 1.0
    assert said["tasks"][0]["scores"]["mine"]["value"] == pytest.approx(6 / 9, abs=1e-6)
    html, _ = report([str(tmp_path)], tasks_path=str(tmp_path / "tasks.yaml"))
    assert "Nearness" in Path(html).read_text()


def test_a_set_of_no_kind_is_refused_with_the_choices(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(DECLARED)
    with pytest.raises(LLaSOError) as error:
        tasks.load(str(tmp_path / "tasks.yaml"))
    assert str(error.value) == (
        f"{tmp_path}/tasks.yaml:4: sets.length.kind: there is no kind of score 'word_count'; there are behaviour, "
        "entities, label, number, open, phonemes, sentence_scores, transcript, translation, word_scores"
    )


def test_what_a_kind_needs_is_asked_of_its_sets(word_count, tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text(DECLARED.replace(", range: [0, 9]", ""))
    with pytest.raises(LLaSOError, match="kind word_count needs range"):
        tasks.load(str(tmp_path / "tasks.yaml"))
