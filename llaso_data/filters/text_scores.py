"""A stage: the scores that need only text. Rates, error rates, repetition, script, invented phrases."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from llaso_data.audio import Pcm
from llaso_data.records import GIVEN, Utterance
from llaso_data.text import HALLUCINATIONS, cer, letters, markup, normalize, repetition, scripts_match, surplus, wer


def score_text(utterances: Sequence[Utterance], pcm: Sequence[Pcm | None]) -> list[Utterance]:
    """The utterances with rates, repetition, error rates of given text, and flags in ``extra``."""
    return [_score_text(utterance) if utterance.failure is None else utterance for utterance in utterances]


def _score_text(utterance: Utterance) -> Utterance:
    if not utterance.text:
        return utterance
    text, language, hypothesis = utterance.text, utterance.language, utterance.hypothesis or ""
    compared = utterance.text_origin == GIVEN and utterance.hypothesis is not None
    extra = {
        **utterance.scores.extra,
        "script_mismatch": 0.0 if scripts_match(text, language) else 1.0,
        "phrase": 1.0 if normalize(text, language) in _phrases(language) else 0.0,
    }
    if markup.unknown_markup(text):
        extra["markup"] = 1.0
    scores = dataclasses.replace(
        utterance.scores,
        chars_per_s=letters(text) / utterance.duration_s if utterance.duration_s else None,
        repetition=repetition(text, language),
        cer=cer(text, hypothesis, language) if compared else None,
        wer=wer(text, hypothesis, language) if compared else None,
        surplus=surplus(text, hypothesis, language) if compared else None,
        extra=extra,
    )
    return dataclasses.replace(utterance, scores=scores)


@functools.cache
def _phrases(language: str | None) -> frozenset[str]:
    return frozenset(normalize(phrase, language) for phrase in HALLUCINATIONS.get(language or "", ()))
