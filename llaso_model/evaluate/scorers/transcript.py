"""What was said, in words: error rates of words and characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llaso_data.instruct.tasks import Set, Tasks
from llaso_model.evaluate.datasets.layouts import Prediction, language_code
from llaso_model.evaluate.extract.refusals import free_answer_kind
from llaso_model.evaluate.extract.replies import is_empty
from llaso_model.evaluate.kinds import KINDS, Kind, Row
from llaso_model.evaluate.metrics import error_rates


def _rows(declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    raw = (
        [error_rates.collapse_spaces(prediction.reference) for prediction in predictions],
        [error_rates.collapse_spaces(prediction.answer) for prediction in predictions],
    )
    language = [language_code(prediction.language or declared.language) for prediction in predictions]
    pairs = [
        error_rates.normalise_pair(prediction.reference, prediction.answer, code)
        for prediction, code in zip(predictions, language, strict=True)
    ]
    normal = [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]
    counts = {
        "wer": error_rates.word_errors(*normal),
        "wer_raw": error_rates.word_errors(*raw),
        "cer": error_rates.character_errors(*normal),
        "cer_raw": error_rates.character_errors(*raw),
        "wer_swapped": error_rates.word_errors(raw[1], raw[0]),
    }
    for i, prediction in enumerate(predictions):
        yield Row(
            prediction,
            free_answer_kind(prediction.answer) if is_empty(prediction.answer) else "one",
            normal[1][i],
            normal[0][i],
            error_rates.row_rate(counts["wer"][i]),
            {metric: tuple(rows[i].tolist()) for metric, rows in counts.items()},
        )


KINDS.register(
    "transcript",
    Kind(
        "Transcript",
        _rows,
        (error_rates.WER, error_rates.WER_RAW, error_rates.CER, error_rates.CER_RAW, error_rates.WER_SWAPPED),
        marks_differences=True,
        cost=1.0,
    ),
)
