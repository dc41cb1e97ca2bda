"""A translation: its likeness to the reference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llaso_data.instruct.tasks import Set, Tasks
from llaso_model.evaluate.datasets.layouts import Prediction, language_code
from llaso_model.evaluate.extract.refusals import free_answer_kind
from llaso_model.evaluate.kinds import KINDS, Kind, Row
from llaso_model.evaluate.metrics import text_generation


def _rows(declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    references, answers = [one.reference for one in predictions], [one.answer for one in predictions]
    languages = [language_code(one.language or declared.language) for one in predictions]
    chrf = text_generation.chrf_stats(references, answers)
    bleu = text_generation.bleu_stats(references, answers, languages)
    likeness = text_generation.CHRF.value(chrf) / 100
    for i, prediction in enumerate(predictions):
        answer_kind = free_answer_kind(prediction.answer)
        if not text_generation.has_words(prediction.reference, languages[i]):
            yield Row(prediction, answer_kind, prediction.answer, prediction.reference, 0.0)
            continue
        stats = {"chrf": tuple(chrf[i].tolist()), "bleu": tuple(bleu[i].tolist())}
        yield Row(prediction, answer_kind, prediction.answer, prediction.reference, 1.0 - float(likeness[i]), stats)


KINDS.register(
    "translation",
    Kind("Translation", _rows, (text_generation.CHRF, text_generation.BLEU), marks_differences=True, cost=2.0),
)
