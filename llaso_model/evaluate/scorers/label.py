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
    class_numbers = {target: i for i, target in enumerate(extract.labels)}
    targets = [_reference(extract, prediction) for prediction in predictions]
    extractions: list[Extraction] = [extract(prediction.answer, prediction.prompt) for prediction in predictions]
    predicted_classes = [
        class_numbers[extraction.label] if extraction.label is not None else -1 for extraction in extractions
    ]
    stats = classes.class_stats([class_numbers[target] for target in targets], predicted_classes, len(class_numbers))
    for prediction, extraction, target, row in zip(predictions, extractions, targets, stats, strict=True):
        right = extraction.label == target
        answered = float(extraction.kind == "one")
        yield Row(
            prediction,
            extraction.kind,
            " | ".join(extraction.labels),
            target,
            0.0 if right else 1.0,
            {
                "accuracy": tuple(row.tolist()),
                "accuracy_answered": (float(right), answered),
                "coverage": (answered, 1.0),
            },
        )


def _reference(extract: Extractor, prediction: Prediction) -> str:
    label = extract.reference(prediction.reference)
    if label is None:
        raise LLaSOError(
            f"{prediction.place}: the reference {prediction.reference!r} is no label of {prediction.set}; "
            f"they are {', '.join(extract.labels)}"
        )
    return label


def extractor(declared: Set, tasks: Tasks) -> Extractor:
    """What reads an answer to a set with labels."""
    assert declared.labels is not None
    return Extractor(tasks.labels[declared.labels], declared.others, declared.ignore, declared.match)


def _answer_kind(prediction: Prediction, declared: Set, tasks: Tasks) -> AnswerKind:
    return extractor(declared, tasks)(prediction.answer, prediction.prompt).kind


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
