"""The layers of a test set: who passes, and that neither always refusing nor always answering does."""

from __future__ import annotations

from typing import Any

from llaso_data.instruct.tasks import LAYERS
from llaso_model.evaluate import score
from llaso_model.evaluate.report.scores_page import render
from llaso_model.evaluate.rows import score_rows
from llaso_model.evaluate.statistics.layers import by_layer
from llaso_model.evaluate.statistics.summary import summarise
from tests.support.evaluation import TASKS, prediction

SAID = ["the ship left at noon", "nobody saw the second light", "a cold wind came over the hills", "they sold the farm"]
REFUSED = "I'm sorry, I cannot do that."
ASKED_BACK = "Which one do you mean?"


def questions(layer: str) -> list[dict[str, Any]]:
    """Rows of a layer: labels, transcripts, and pairs of what can and cannot be followed."""
    rows: list[dict[str, Any]] = []
    for i in range(20):
        said = f"{SAID[i % 4]} on day {i}"
        rows += [
            {"set": "gender", "reference": ("male", "female")[i % 2]},
            {"set": "ASR", "reference": said, "tags": ("snr:5",) if layer == "robustness" else ()},
            {"set": "impossible", "reference": said, "expected": "answer", "transcript": said},
            {"set": "impossible", "reference": REFUSED, "expected": "refusal", "transcript": said},
            {"set": "ambiguous", "reference": said, "expected": "answer", "transcript": said},
            {"set": "ambiguous", "reference": ASKED_BACK, "expected": "ask_back", "transcript": said},
        ]
    return [{**row, "layer": layer, "id": f"{layer} {number}", "language": "en"} for number, row in enumerate(rows)]


def scored(**answers: Any) -> list[Any]:
    asked = [row for layer in LAYERS for row in questions(layer)]
    rows = []
    for system, answer in answers.items():
        by_set: dict[str, list[Any]] = {}
        for row in asked:
            more = {key: value for key, value in row.items() if key not in ("set", "reference")}
            made = prediction(row["set"], answer(row), row["reference"], system=system, **more)
            by_set.setdefault(row["set"], []).append(made)
        rows += [row for name, predictions in by_set.items() for row in score_rows(name, predictions, TASKS)]
    return rows


def grouped(rows: list[Any]) -> dict[str, dict[str, list[Any]]]:
    by: dict[str, dict[str, list[Any]]] = {}
    for row in rows:
        by.setdefault(row.prediction.set, {}).setdefault(row.prediction.system, []).append(row)
    return by


def test_only_who_answers_and_refuses_where_each_is_right_passes_a_layer() -> None:
    rows = scored(
        oracle=lambda row: row["reference"],
        refuser=lambda row: REFUSED,
        # Right wherever one can answer: so it is right in all tasks, and never says that it cannot.
        answerer=lambda row: row["reference"] if row.get("expected", "answer") == "answer" else row["transcript"],
        constant=lambda row: "male",
    )
    layers = by_layer(list(dict.fromkeys(row.prediction.system for row in rows)), TASKS, grouped(rows), 0)
    assert [layer["name"] for layer in layers] == list(LAYERS)
    for layer in layers:
        assert {system: told["passed"] for system, told in layer["systems"].items()} == {
            "oracle": True, "refuser": False, "answerer": False, "constant": False
        }, layer["name"]  # fmt: skip
        assert layer["systems"]["oracle"]["informedness"]["value"] == 1.0
        assert layer["systems"]["answerer"]["informedness"]["value"] == 0.0
        assert layer["systems"]["answerer"]["score"]["value"] == 1.0 and 0.2 < layer["chance"] < 0.5


def test_the_page_says_who_passes_and_the_tags_have_their_rows() -> None:
    rows = scored(answerer=lambda row: row["reference"] if row.get("expected", "answer") == "answer" else "so it is")
    said = summarise(rows, TASKS)
    assert {one["tag"] for one in said["tags"]} == {"snr:5"}
    made = {**score.provenance(TASKS, 0, {}), "judged_by": None}
    page = render(rows, {**said, "made": made, "skipped": [], "remarks": []}, TASKS)
    assert "not passed, informedness 0.00" in page and "Chance:" in page


def test_rows_of_another_layer_do_not_count_for_their_task() -> None:
    rows = scored(mixed=lambda row: row["reference"] if row["layer"] == "tasks" else "")
    (gender,) = [one for one in summarise(rows, TASKS)["sets"] if one["name"] == "gender"]
    assert gender["rows"] == 20 and gender["metrics"]["mixed"]["accuracy"]["value"] == 1.0


def test_rows_that_name_no_layer_have_none() -> None:
    rows = score_rows("ASR", [prediction("ASR", "so it is", "so it is")], TASKS)
    assert by_layer(["a"], TASKS, {"ASR": {"a": rows}}, 0) == []
