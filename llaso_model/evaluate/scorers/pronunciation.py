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
    heard = error_rates.word_errors(
        [error_rates.whisper_normalise(quantities.leading_transcript(one.reference), "en") for one in predictions],
        [error_rates.whisper_normalise(quantities.leading_transcript(one.answer), "en") for one in predictions],
    )
    for one, words in zip(predictions, heard, strict=True):
        wanted: Mapping[Any, float] = read(one.reference)
        if not wanted:
            raise LLaSOError(f"{one.place}: the reference {one.reference[:80]!r} gives no scores")
        given: Mapping[Any, float] = read(one.answer)
        charged, answered, exact, coverage = quantities.score_errors(given, wanted, limits)
        said: AnswerKind = "one" if answered[1] else ("empty" if is_empty(one.answer) else "none")
        if said == "none" and is_refusal(one.answer):
            said = "refusal"
        yield Row(
            one,
            said,
            _listed(given),
            _listed(wanted),
            charged[0] / max(1.0, charged[1]),
            {
                "mae": charged,
                "mae_answered": answered,
                "exact": exact,
                "coverage": coverage,
                "wer": tuple(words.tolist()),
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
