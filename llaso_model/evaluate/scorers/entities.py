"""Entities in the words: F1 of types and values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llaso_data.instruct.tasks import Set, Tasks
from llaso_model.evaluate.datasets.layouts import Prediction, language_code
from llaso_model.evaluate.extract.refusals import free_answer_kind
from llaso_model.evaluate.kinds import KINDS, Kind, Row
from llaso_model.evaluate.metrics import classes, structured


def _rows(declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    for prediction in predictions:
        language = language_code(prediction.language or declared.language)
        hypothesis, target = (
            structured.parse_entities(prediction.answer, language),
            structured.parse_entities(prediction.reference, language),
        )
        counts = structured.match_counts(hypothesis, target)
        answer_kind = free_answer_kind(prediction.answer)
        if answer_kind != "empty" and structured.has_entity_form(prediction.answer):
            answer_kind = "one"
        elif answer_kind == "one" and target:
            answer_kind = "none"
        yield Row(
            prediction,
            answer_kind,
            ", ".join(f"{kind}: {value}" for kind, value in hypothesis),
            ", ".join(f"{kind}: {value}" for kind, value in target),
            counts[1] + counts[2] - 2 * counts[0],
            {
                "entity_f1": counts,
                "type_f1": structured.type_match_counts(hypothesis, target),
                "coverage": (float(answer_kind == "one"), 1.0),
            },
        )


KINDS.register("entities", Kind("Entities", _rows, (structured.ENTITY_F1, structured.TYPE_F1, classes.COVERAGE)))
