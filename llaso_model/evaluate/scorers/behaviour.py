"""Whether one answers what can be answered, and refuses or asks back where one cannot: informedness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llaso_data.instruct.tasks import Set, Tasks
from llaso_model.evaluate.datasets.layouts import Prediction, language_code
from llaso_model.evaluate.extract import replies
from llaso_model.evaluate.extract.behaviours import behaviours
from llaso_model.evaluate.extract.labels import AnswerKind
from llaso_model.evaluate.kinds import KINDS, Kind, Row
from llaso_model.evaluate.metrics import behaviour, text_generation


def _rows(declared: Set, tasks: Tasks, predictions: Sequence[Prediction]) -> Iterable[Row]:
    for prediction in predictions:
        language = language_code(prediction.language or declared.language)
        answer = replies.visible_answer(prediction.answer)
        answerable = prediction.expected == "answer"
        said = [text for text in (prediction.transcript, prediction.reference if answerable else None) if text]
        found = behaviours(answer, said, language)
        right = "answer" in found if answerable else bool(found) and "answer" not in found
        stats: dict[str, tuple[float, ...]] = {
            "informedness": behaviour.stats(right, answerable),
            "exact_behaviour": (float(prediction.expected in found), 1.0),
        }
        if answerable and text_generation.has_words(prediction.reference, language):
            stats["rouge_l"] = (text_generation.rouge_l(prediction.reference, answer, language), 1.0)
        kind: AnswerKind = "empty" if not found else "one" if "answer" in found else "refusal"
        yield Row(prediction, kind, " + ".join(sorted(found)), prediction.expected, float(not right), stats)


KINDS.register(
    "behaviour",
    Kind(
        "Answering or refusing",
        _rows,
        (
            behaviour.INFORMEDNESS,
            behaviour.EXACT,
            behaviour.RIGHTLY_REFUSED,
            behaviour.RIGHTLY_ANSWERED,
            text_generation.ROUGE_L,
        ),
        scores_refusals=True,
    ),
)
