"""Scores of how words or a sentence were pronounced, after a transcript: their mean absolute error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import Set, Tasks
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.extract.labels import AnswerKind
from llaso_model.evaluate.extract.refusals import is_refusal
from llaso_model.evaluate.extract.replies import is_empty
from llaso_model.evaluate.kinds import KINDS, Kind, Row
from llaso_model.evaluate.metrics import classes, error_rates, quantities


def _rows(
    read: Callable[[str], Mapping[Any, float]], declared: Set, tasks: Tasks, predictions: Sequence[Prediction]
) -> Iterable[Row]:
    limits = declared.limits
    transcript_errors = error_rates.word_errors(
        [
            error_rates.whisper_normalise(quantities.leading_transcript(prediction.reference), "en")
            for prediction in predictions
        ],
        [
            error_rates.whisper_normalise(quantities.leading_transcript(prediction.answer), "en")
            for prediction in predictions
        ],
    )
    for prediction, word_errors in zip(predictions, transcript_errors, strict=True):
        target: Mapping[Any, float] = read(prediction.reference)
        if not target:
            raise LLaSOError(f"{prediction.place}: the reference {prediction.reference[:80]!r} gives no scores")
        hypothesis: Mapping[Any, float] = read(prediction.answer)
        charged, answered, exact, coverage = quantities.score_errors(hypothesis, target, limits)
        answer_kind: AnswerKind = "one" if answered[1] else ("empty" if is_empty(prediction.answer) else "none")
        if answer_kind == "none" and is_refusal(prediction.answer):
            answer_kind = "refusal"
        yield Row(
            prediction,
            answer_kind,
            _listed(hypothesis),
            _listed(target),
            charged[0] / max(1.0, charged[1]),
            {
                "mae": charged,
                "mae_answered": answered,
                "exact": exact,
                "coverage": coverage,
                "wer": tuple(word_errors.tolist()),
            },
        )


def _listed(scores: Mapping[Any, float]) -> str:
    names = (" ".join(map(str, key)) if isinstance(key, tuple) else str(key) for key in scores)
    return ", ".join(f"{name} {score:g}" for name, score in zip(names, scores.values(), strict=True))


_METRICS = (quantities.MAE, quantities.MAE_ANSWERED, quantities.EXACT, classes.COVERAGE, error_rates.WER)

KINDS.register(
    "sentence_scores",
    Kind("Scores of a sentence", partial(_rows, quantities.sentence_scores), _METRICS, needs=frozenset(("range",))),
)
KINDS.register(
    "word_scores",
    Kind("Scores of words", partial(_rows, quantities.word_scores), _METRICS, needs=frozenset(("range",))),
)
