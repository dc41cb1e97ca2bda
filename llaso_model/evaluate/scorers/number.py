"""A number within limits: its mean absolute error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import Set, Tasks
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.extract import numbers
from llaso_model.evaluate.kinds import KINDS, Kind, Row
from llaso_model.evaluate.metrics import classes, quantities


def _rows(declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    limits = declared.limits
    for prediction in predictions:
        target = numbers.extract(prediction.reference)
        if target.value is None:
            raise LLaSOError(f"{prediction.place}: the reference {prediction.reference!r} is no number")
        extraction = numbers.extract(prediction.answer, declared.ignore, prediction.prompt, limits)
        error, answered = quantities.charged_error(extraction.value, target.value, limits)
        yield Row(
            prediction,
            extraction.kind,
            "" if extraction.value is None else f"{extraction.value:g}",
            f"{target.value:g}",
            error,
            {"mae": (error, 1.0), "mae_answered": (error * answered, answered), "coverage": (answered, 1.0)},
        )


KINDS.register(
    "number",
    Kind(
        "Number",
        _rows,
        (quantities.MAE, quantities.MAE_ANSWERED, classes.COVERAGE),
        needs=frozenset(("range",)),
        is_closed=True,
    ),
)
