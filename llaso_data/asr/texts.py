"""The text of a transcribed utterance: the corpus's without speaker labels, else the hypothesis without markup."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from llaso_data.asr.given import segment_spans
from llaso_data.asr.speaker_labels import SpeakerTurns, speaker_turns
from llaso_data.records import ASR, GIVEN, GIVEN_UNMATCHED, UNKNOWN, Attribute, Utterance
from llaso_data.text import chinese
from llaso_data.text.markup import CleanedText, clean

_GENERIC = re.compile(
    r"(?:speaker|spkr?|voice|person|participant|student|teacher|interviewer|interviewee|host|guest|caller|agent|"
    r"customer|man|woman|male|female|doctor|patient|question|answer|[a-z])?[ _#-]*(?:\d{1,3}|[a-z])?",
    re.IGNORECASE,
)
"""Labels that name another speaker in each recording, so that the same label in two recordings is two speakers."""


def with_hypothesis(utterance: Utterance, hypothesis: str | None, script: chinese.Script | None = None) -> Utterance:
    """The utterance with its text.

    A given text loses its speaker labels; that of a segment stays as it is until :func:`assign_given` divides it. Where
    the corpus gives no text, it is the hypothesis without markup; there is none where the corpus gives only markup.

    Args:
        utterance: The utterance, with the text that the corpus gives.
        hypothesis: What Whisper transcribed; None where it did not.
        script: The script that a Chinese hypothesis is converted to.
    """
    if utterance.text_origin != GIVEN:
        text = utterance.text or clean(hypothesis or "").text or None
        if text and script and chinese.is_chinese(utterance.language):
            text = chinese.convert_script(text, script)
        return dataclasses.replace(utterance, text=text, text_origin=ASR if text else utterance.text_origin)
    if not utterance.text or utterance.recording != utterance.id:
        return utterance
    turns = speaker_turns(utterance.text, None if hypothesis is None else [hypothesis], utterance.language or "en")
    return _with_part(utterance, turns, _cleaned_given(utterance), 0, len(turns.cleaned.text))


def without_hypothesis(utterance: Utterance, before: Utterance) -> Utterance:
    """The utterance as it was before its packed transcription, but for its language and a given text.

    Args:
        utterance: A transcribed utterance.
        before: The same before it was transcribed.
    """
    kept = dataclasses.replace(
        utterance.scores, llr=None, min_word_logprob=None, mean_word_logprob=None, eot_logprob=None
    )
    forgotten = dataclasses.replace(utterance, hypothesis=None, decoding=before.decoding, words=(), scores=kept)
    if utterance.text_origin == GIVEN:
        return forgotten
    return dataclasses.replace(forgotten, text=before.text, text_origin=before.text_origin)


def assign_given(results: list[Utterance], segments: Sequence[int]) -> None:
    """Give each segment of one recording its part of the given text, and the speaker that the text names there.

    Args:
        results: The block's utterances; the segments among them are replaced.
        segments: Numbers of the recording's segments, in order, all transcribed.
    """
    first = results[segments[0]]  # every segment has the whole text
    language = first.language or "en"
    hypotheses = [results[i].hypothesis or "" for i in segments]
    turns = speaker_turns(first.text or "", hypotheses, language)
    spans = segment_spans(turns.cleaned.text, hypotheses, language)
    given = _cleaned_given(first)
    for i, span in zip(segments, spans, strict=True):
        if span is None:
            scores = results[i].scores
            scores = dataclasses.replace(scores, extra={**scores.extra, GIVEN_UNMATCHED: 1.0})
            results[i] = dataclasses.replace(results[i], text=None, text_given=None, scores=scores)
        else:
            results[i] = _with_part(results[i], turns, given, *span)


def _cleaned_given(utterance: Utterance) -> CleanedText:
    """The corpus's text cleaned of markup, with its characters' offsets in the text as it was given."""
    return clean(utterance.text_given if utterance.text_given is not None else utterance.text or "")


def _with_part(utterance: Utterance, turns: SpeakerTurns, cleaned: CleanedText, start: int, end: int) -> Utterance:
    """The utterance with characters ``[start, end)`` of the text without labels, and what was given there."""
    text = turns.cleaned.text[start:end]
    if not text:
        return dataclasses.replace(utterance, text=None, text_given=utterance.text_given or utterance.text)
    offsets = turns.cleaned.offsets
    given = utterance.text_given or utterance.text or ""
    first, last = cleaned.offsets[offsets[start]], cleaned.offsets[offsets[end - 1]]
    whole = end - start == len(turns.cleaned.text)
    given_part = given if whole else given[first : last + 1]
    speaker, name = utterance.speaker, turns.speaker(start, end)
    if name and speaker.id.origin == UNKNOWN:
        speaker_id = f"{utterance.recording}/{name}" if _GENERIC.fullmatch(name) else name
        speaker = dataclasses.replace(speaker, id=Attribute(speaker_id, GIVEN))
    text_given = None if given_part == text else given_part
    return dataclasses.replace(utterance, text=text, text_given=text_given, speaker=speaker)
