"""Scores of pronunciation, written as answers: the form that the published sets have and that evaluation reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from llaso_data.errors import LLaSOError

SENTENCE_ASPECTS = {"accuracy": "accuracy", "prosody": "prosodic", "fluency": "fluency", "total": "total score"}
"""What is scored of a sentence, and what an answer calls it."""
WORD_ASPECTS = {"accuracy": "accuracy", "stress": "stress", "total": "total score"}
"""The same of a word."""


def written(scores: Any, text: str, limits: tuple[float, float] | None) -> str:
    """The text, and the scores of it.

    Args:
        scores: Of a sentence a mapping of accuracy, prosody, fluency and total; of words a list of such mappings, of
            word, accuracy, stress and total.
        text: What is said.
        limits: The lowest and the highest possible score.

    Raises:
        LLaSOError: A score is missing, or lies outside of the limits.
    """
    transcript = text if not text or text[-1] in ".?!。？！" else f"{text}."
    if isinstance(scores, Mapping):
        return f"{transcript} For the sentence: {_listed(scores, SENTENCE_ASPECTS, limits)}.".strip()
    if isinstance(scores, Sequence) and scores and all(isinstance(one, Mapping) and "word" in one for one in scores):
        words = [f'For "{one["word"]}", {_listed(one, WORD_ASPECTS, limits)}.' for one in scores]
        return " ".join([transcript, *words]).strip()
    raise LLaSOError(f"scores are a mapping for a sentence, or a list of mappings with word; got {scores!r:.100}")


def _listed(scores: Mapping[str, Any], aspects: Mapping[str, str], limits: tuple[float, float] | None) -> str:
    lowest, highest = limits or (-math.inf, math.inf)
    parts = []
    for aspect, called in aspects.items():
        score = scores.get(aspect)
        if not isinstance(score, int | float) or not lowest <= score <= highest:
            raise LLaSOError(
                f"the score {aspect} is {score!r:.50}; it should be a number from {lowest:g} to {highest:g}"
            )
        parts.append(f"{called} is {score:g}")
    return f"{', '.join(parts[:-1])}, and {parts[-1]}"
