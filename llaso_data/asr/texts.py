"""The text of an utterance once it was heard: the corpus's without its labels, else the hypothesis without markup."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from llaso_data.asr.given import segment_spans
from llaso_data.asr.speaker_labels import SpeakerTurns, speaker_turns
from llaso_data.records import ASR, GIVEN, UNKNOWN, Attribute, Utterance
from llaso_data.text import chinese
from llaso_data.text.markup import CleanedText, clean

_GENERIC = re.compile(
    r"(?:speaker|spkr?|voice|person|participant|student|teacher|interviewer|interviewee|host|guest|caller|agent|"
    r"customer|man|woman|male|female|doctor|patient|question|answer|[a-z])?[ _#-]*(?:\d{1,3}|[a-z])?",
    re.IGNORECASE,
)
"""Labels that are others in each recording, so that one of them in two recordings is not one speaker."""


def with_hypothesis(utterance: Utterance, hypothesis: str | None, script: chinese.Script | None = None) -> Utterance:
    """The utterance with its text; that of a segment stays with its recording (:func:`assign_given`).

    Where the corpus gives none, it is the hypothesis without markup, Chinese in the script that is wanted; where it
    gives nothing but markup, there is none.
    """
    if utterance.text_origin != GIVEN:
        text = utterance.text or clean(hypothesis or "").text or None
        if text and script and chinese.is_chinese(utterance.language):
            text = chinese.convert_script(text, script)
        return dataclasses.replace(utterance, text=text, text_origin=ASR if text else utterance.text_origin)
    if not utterance.text or utterance.recording != utterance.id:
        return utterance
    found = speaker_turns(utterance.text, None if hypothesis is None else [hypothesis], utterance.language or "en")
    return _with_part(utterance, found, _said(utterance), 0, len(found.cleaned.text))


def assign_given(results: list[Utterance], segments: Sequence[int]) -> None:
    """Give each of a recording's segments its part of the given text, and the speaker that the text names there."""
    whole = results[segments[0]]
    language = whole.language or "en"
    hypotheses = [results[i].hypothesis or "" for i in segments]
    found = speaker_turns(whole.text or "", hypotheses, language)
    spans = segment_spans(found.cleaned.text, hypotheses, language)
    said = _said(whole)
    for i, span in zip(segments, spans, strict=True):
        if span is None:
            scores = results[i].scores
            scores = dataclasses.replace(scores, extra={**scores.extra, "given_unmatched": 1.0})
            results[i] = dataclasses.replace(results[i], text=None, text_given=None, scores=scores)
        else:
            results[i] = _with_part(results[i], found, said, *span)


def _said(utterance: Utterance) -> CleanedText:
    """The corpus's text, cleaned of markup, and where in it that stands."""
    return clean(utterance.text_given if utterance.text_given is not None else utterance.text or "")


def _with_part(utterance: Utterance, found: SpeakerTurns, said: CleanedText, start: int, end: int) -> Utterance:
    text = found.cleaned.text[start:end]
    if not text:
        return dataclasses.replace(utterance, text=None, text_given=utterance.text_given or utterance.text)
    offsets = found.cleaned.offsets
    given = utterance.text_given or utterance.text or ""
    first, last = said.offsets[offsets[start]], said.offsets[offsets[end - 1]]
    whole = end - start == len(found.cleaned.text)
    before = given if whole else given[first : last + 1]
    speaker, name = utterance.speaker, found.speaker(start, end)
    if name and speaker.id.origin == UNKNOWN:
        own = f"{utterance.recording}/{name}" if _GENERIC.fullmatch(name) else name
        speaker = dataclasses.replace(speaker, id=Attribute(own, GIVEN))
    return dataclasses.replace(utterance, text=text, text_given=None if before == text else before, speaker=speaker)
