"""Entities in the words: F1 of types and values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llaso_data.instruct.tasks import Set, Tasks
from llaso_model.evaluate.datasets.layouts import Prediction, language_code
from llaso_model.evaluate.extract.refusals import free_answer_kind
from llaso_model.evaluate.kinds import KINDS, Kind, Row
from llaso_model.evaluate.metrics import classes, structured


def _rows(declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    for one in predictions:
        language = language_code(one.language or declared.language)
        found, wanted = (
            structured.parse_entities(one.answer, language),
            structured.parse_entities(one.reference, language),
        )
        counts = structured.match_counts(found, wanted)
        said = free_answer_kind(one.answer)
        if said != "empty" and structured.has_entity_form(one.answer):
            said = "one"
        elif said == "one" and wanted:
            said = "none"
        yield Row(
            one,
            said,
            ", ".join(f"{kind}: {value}" for kind, value in found),
            ", ".join(f"{kind}: {value}" for kind, value in wanted),
            counts[1] + counts[2] - 2 * counts[0],
            {
                "entity_f1": counts,
                "type_f1": structured.type_match_counts(found, wanted),
                "coverage": (float(said == "one"), 1.0),
            },
        )


KINDS.register("entities", Kind("Entities", _rows, (structured.ENTITY_F1, structured.TYPE_F1, classes.COVERAGE)))
