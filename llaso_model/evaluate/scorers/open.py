"""A free answer: a judge's score, and its likeness to the reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llaso_data.instruct.tasks import Set, Tasks
from llaso_model.evaluate.datasets.layouts import Prediction, language_code
from llaso_model.evaluate.extract.refusals import free_answer_kind
from llaso_model.evaluate.kinds import KINDS, Kind, Row
from llaso_model.evaluate.metrics import text_generation


def _rows(declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    references, answers = (
        [prediction.reference for prediction in predictions],
        [prediction.answer for prediction in predictions],
    )
    languages = [language_code(prediction.language or declared.language) for prediction in predictions]
    chrf, bleu = (
        text_generation.chrf_stats(references, answers),
        text_generation.bleu_stats(references, answers, languages),
    )
    cider = text_generation.cider(references, answers)
    for i, prediction in enumerate(predictions):
        if not text_generation.has_words(
            prediction.reference, languages[i]
        ):  # no measure says how near an answer comes
            yield Row(prediction, free_answer_kind(prediction.answer), prediction.answer, prediction.reference, 0.0)
            continue
        common = text_generation.rouge_l(prediction.reference, prediction.answer, languages[i])
        yield Row(
            prediction,
            free_answer_kind(prediction.answer),
            prediction.answer,
            prediction.reference,
            1.0 - common,
            {
                "rouge_l": (common, 1.0),
                "chrf": tuple(chrf[i].tolist()),
                "bleu": tuple(bleu[i].tolist()),
                "cider": (cider[i], 1.0),
            },
        )


KINDS.register(
    "open",
    Kind(
        "Open answer",
        _rows,
        (text_generation.ROUGE_L, text_generation.CHRF, text_generation.BLEU, text_generation.CIDER),
        is_judged=True,
        cost=3.0,
    ),
)
