"""What was said, in phonemes of the IPA: their error rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llaso_data.instruct.tasks import Set, Tasks
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.extract.refusals import free_answer_kind
from llaso_model.evaluate.kinds import KINDS, Kind, Row
from llaso_model.evaluate.metrics import error_rates


def _rows(declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    counts = error_rates.phoneme_errors(
        [prediction.reference for prediction in predictions], [prediction.answer for prediction in predictions]
    )
    for prediction, row in zip(predictions, counts, strict=True):
        hypothesis = " ".join(error_rates.ipa_segments(error_rates.phonetic_part(prediction.answer)))
        target = " ".join(error_rates.ipa_segments(prediction.reference))
        yield Row(
            prediction,
            free_answer_kind(prediction.answer),
            hypothesis,
            target,
            error_rates.row_rate(row),
            {"per": tuple(row.tolist())},
        )


KINDS.register("phonemes", Kind("Phonemes", _rows, (error_rates.PER,), marks_differences=True))
