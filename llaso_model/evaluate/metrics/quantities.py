"""Errors of numbers and of pronunciation scores. What cannot be read is charged the worst error, never dropped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from llaso_model.evaluate.metrics.base import Array, Metric, Range, ratio


def normalised_mae(value: Array, limits: Range) -> Array:
    """1 - MAE over the width of the limits."""
    low, high = limits or (0.0, 1.0)
    normal: Array = 1.0 - np.asarray(value) / (high - low)
    return normal.clip(0.0, 1.0)


MAE = Metric(
    "mae",
    "MAE",
    ratio,
    "lower",
    "number",
    formula="1 − MAE / {width:g}; no number is charged the worst error within {low:g} … {high:g}",
    normalised=normalised_mae,
)
MAE_ANSWERED = Metric("mae_answered", "MAE on answered", ratio, "lower", "number")
EXACT = Metric("exact", "Exact scores", ratio, limits=(0, 1))

SENTENCE_ASPECTS = ("accuracy", "prosodic", "fluency", "total")
WORD_ASPECTS = ("accuracy", "stress", "total")

Key = TypeVar("Key")

_ASPECT = r"(accuracy|prosod\w*|fluency|stress|total)"
_ASPECT_THEN_SCORE = re.compile(
    rf"\b{_ASPECT}\b(?:\s+score)?[^.;,\d]{{0,25}}?(?:is|:|=|as|of|at|-)?\s*(\d+(?:\.\d+)?)\b(?:\s*/\s*10|\s*out "
    rf"of\s*10)?"
)
_SCORE_THEN_ASPECT = re.compile(rf"\b(\d+(?:\.\d+)?)\b\s*(?:/\s*10\s*)?(?:for|in|on)\s+(?:the\s+)?{_ASPECT}\b")
_QUOTED_WORD = re.compile(r"(?:for\s+)?[\"“]([^\"”]{1,40})[\"”]\s*[,:]")


def charged_error(value: float | None, target: float, limits: tuple[float, float]) -> tuple[float, float]:
    """The error of a number. A missing number is charged the worst error that a number within the limits can have.

    Args:
        value: The number of the answer; None: it gives none.
        target: The number of the reference.
        limits: Lowest and highest possible number. A number outside of them is charged no more than the worst error.

    Returns:
        (the error, 1 where there is a number, else 0).
    """
    worst = max(target - limits[0], limits[1] - target)
    if value is None:
        return worst, 0.0
    return min(abs(value - target), worst), 1.0


def sentence_scores(text: str) -> dict[str, float]:
    """The scores of a sentence that a text gives: accuracy, prosody, fluency and total. A missing score is left out.

    Both "accuracy is 9" and "9 for accuracy" are read. The first mention of an aspect counts.
    """
    return _scores(text.casefold(), SENTENCE_ASPECTS)


def word_scores(text: str) -> dict[tuple[str, int, str], float]:
    """The scores of words that a text gives: accuracy, stress and total.

    Returns:
        Scores by (word in lower case, number of its occurrence from 0, aspect).
    """
    word_scores_by_key: dict[tuple[str, int, str], float] = {}
    mentions = list(_QUOTED_WORD.finditer(text))
    occurrences: dict[str, int] = {}
    for number, mention in enumerate(mentions):
        end = mentions[number + 1].start() if number + 1 < len(mentions) else len(text)
        scores = _scores(text[mention.end() : end].casefold(), WORD_ASPECTS)
        word = mention[1].casefold().strip()
        occurrence = occurrences[word] = occurrences.get(word, -1) + 1
        word_scores_by_key.update({(word, occurrence, aspect): score for aspect, score in scores.items()})
    return word_scores_by_key


def leading_transcript(text: str) -> str:
    """The transcript that stands before the scores."""
    return re.split(r"\bfor (?:the sentence|[\"“])", text, maxsplit=1, flags=re.IGNORECASE)[0].strip()


def _scores(text: str, aspects: tuple[str, ...]) -> dict[str, float]:
    after = _first_scores([(aspect, float(score)) for aspect, score in _ASPECT_THEN_SCORE.findall(text)], aspects)
    before = _first_scores([(aspect, float(score)) for score, aspect in _SCORE_THEN_ASPECT.findall(text)], aspects)
    return before if len(before) > len(after) else after


def _first_scores(named: list[tuple[str, float]], aspects: tuple[str, ...]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for aspect, score in named:
        name = "prosodic" if aspect.startswith("prosod") else aspect
        if name in aspects and 0 <= score <= 10:
            scores.setdefault(name, score)
    return scores


def score_errors(
    hypothesis: Mapping[Key, float], target: Mapping[Key, float], limits: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Errors of pronunciation scores.

    Args:
        hypothesis: The answer's scores.
        target: The reference's scores; each of them is looked for in the answer.
        limits: Lowest and highest possible score.

    Returns:
        Four pairs (sum, count): charged errors, errors of the scores that were given, exact scores, scores given.
    """
    errors = [charged_error(hypothesis.get(key), value, limits) for key, value in target.items()]
    count, answered = float(len(errors)), sum(is_answered for _, is_answered in errors)
    exact = float(sum(error == 0 and is_answered == 1 for error, is_answered in errors))
    answered_error = sum(error for error, is_answered in errors if is_answered)
    return (sum(error for error, _ in errors), count), (answered_error, answered), (exact, count), (answered, count)
