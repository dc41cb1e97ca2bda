"""One of given labels: accuracy and F1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import Set, Tasks
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.extract.labels import AnswerKind, Extraction, Extractor
from llaso_model.evaluate.kinds import KINDS, Kind, Row
from llaso_model.evaluate.metrics import classes


def _rows(declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    extract = extractor(declared, tasks)
    number = {label: i for i, label in enumerate(extract.labels)}
    wanted = [_reference(extract, one) for one in predictions]
    said: list[Extraction] = [extract(one.answer, one.prompt) for one in predictions]
    given = [number[found.label] if found.label is not None else -1 for found in said]
    stats = classes.class_stats([number[label] for label in wanted], given, len(number))
    for one, found, label, row in zip(predictions, said, wanted, stats, strict=True):
        right = found.label == label
        answered = float(found.kind == "one")
        yield Row(
            one,
            found.kind,
            " | ".join(found.labels),
            label,
            0.0 if right else 1.0,
            {
                "accuracy": tuple(row.tolist()),
                "accuracy_answered": (float(right), answered),
                "coverage": (answered, 1.0),
            },
        )


def _reference(extract: Extractor, one: Prediction) -> str:
    label = extract.reference(one.reference)
    if label is None:
        raise LLaSOError(
            f"{one.place}: the reference {one.reference!r} is no label of {one.set}; "
            f"they are {', '.join(extract.labels)}"
        )
    return label


def extractor(declared: Set, tasks: Tasks) -> Extractor:
    """What reads an answer to a set with labels."""
    assert declared.labels is not None
    return Extractor(tasks.labels[declared.labels], declared.others, declared.ignore, declared.match)


def _answer_kind(one: Prediction, declared: Set, tasks: Tasks) -> AnswerKind:
    return extractor(declared, tasks)(one.answer, one.prompt).kind


KINDS.register(
    "label",
    Kind(
        "Label",
        _rows,
        (classes.ACCURACY, classes.MACRO_F1, classes.BALANCED, classes.ANSWERED, classes.COVERAGE),
        needs=frozenset(("labels",)),
        is_closed=True,
        answer_kind=_answer_kind,
    ),
)
