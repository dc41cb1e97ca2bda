"""Speaker labels in a transcript: ``NAME:`` before what each speaker says.

A label is not spoken, but "Note: this" may be. So a name before a colon is a label where the hypothesis lacks it. In
brackets (``[Ann]:``) or after ``>>`` it is a label in any case.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import regex

from llaso_data.text.markup import CleanedText, TextEditor
from llaso_data.text.spoken import spoken_words

_MAX_CHARACTERS = 40  # of a name


@dataclass(frozen=True, slots=True)
class SpeakerTurns:
    """A transcript without its labels.

    Attributes:
        cleaned: The text, with its characters' offsets in the transcript.
        starts: For each label the character of ``cleaned.text`` at which the speaker's turn starts, and the name.
    """

    cleaned: CleanedText
    starts: tuple[tuple[int, str], ...] = ()

    def speaker(self, start: int, end: int) -> str | None:
        """Who says the characters ``[start, end)`` of the text; None where that is not known, or several do."""
        first = bisect_right([turn_start for turn_start, _ in self.starts], start) - 1
        if first < 0:
            return None
        names = {name for turn_start, name in self.starts[first:] if turn_start < end}
        return names.pop() if len(names) == 1 else None


def speaker_turns(text: str, hypotheses: Sequence[str] | None, language: str) -> SpeakerTurns:
    """Take the labels off a transcript.

    Args:
        text: The transcript of a recording, cleaned of markup.
        hypotheses: What Whisper transcribed of the recording, in order. None where it transcribed nothing: then only
            labels in brackets are taken off.
        language: Of both.
    """
    editor = TextEditor(text)
    if not regex.search("[:：]", text):
        return SpeakerTurns(editor.result())
    bracketed, named = _patterns()
    candidates = [match for match in named.finditer(text) if len(match["name"]) <= _MAX_CHARACTERS]
    unspoken = _unspoken(text, [match.span() for match in candidates], hypotheses, language)
    labels = [*bracketed.finditer(text), *(match for match in candidates if match.span() in unspoken)]
    labels.sort(key=lambda match: match.start())
    editor.replace([(*match.span(), " ") for match in labels])
    cleaned = editor.result()
    starts = ((bisect_left(cleaned.offsets, label.end()), " ".join(label["name"].split())) for label in labels)
    return SpeakerTurns(cleaned, tuple(starts))


def _unspoken(
    text: str, candidates: list[tuple[int, int]], hypotheses: Sequence[str] | None, language: str
) -> list[tuple[int, int]]:
    """The candidates that the hypotheses have no words for; none where the hypotheses have no words at all.

    Where these are at least two and half of the candidates, those transcribed as other words are labels, too.
    """
    from rapidfuzz.distance import Levenshtein

    transcribed = [word for hypothesis in hypotheses or () for word in spoken_words(hypothesis, language)[1]]
    if not candidates or not transcribed:
        return []
    spans, words = spoken_words(text, language)
    word_tags = ["delete"] * len(words)  # equal, replace or delete
    for op in Levenshtein.opcodes(words, transcribed):
        word_tags[op.src_start : op.src_end] = [op.tag] * (op.src_end - op.src_start)
    candidate_tags = [
        {word_tags[n] for n, (a, b) in enumerate(spans) if start <= a < end and not any(map(str.isalnum, text[end:b]))}
        or {"equal"}
        for start, end in candidates
    ]
    deleted = sum(tags == {"delete"} for tags in candidate_tags)
    several = deleted >= 2 and 2 * deleted >= len(candidates)
    return [
        candidate
        for candidate, tags in zip(candidates, candidate_tags, strict=True)
        if tags == {"delete"} or (several and "equal" not in tags)
    ]


@cache
def _patterns() -> tuple[regex.Pattern[str], regex.Pattern[str]]:
    """Labels in brackets, and names that may be labels: at the start, after the end of a sentence or after a dash."""
    inside = r"[^\s.,;:：!?¿¡()\[\]{}<>\"“”„«»。！？，、/]"
    name = rf"(?:\p{{Lu}}\p{{L}}{{0,4}}\.\s)?[\p{{Lu}}\p{{Lt}}\p{{Lo}}]{inside}*(?:[ _]{inside}+){{0,3}}"
    return (
        regex.compile(r"[\[(](?P<name>[^\[\]()]{1,40})[\])]\s?[:：]\s*"),
        regex.compile(rf"(?:^|(?<=[.!?…。！？।؟:]['\"”»)]?\s?)|(?<=[—–\-]\s))(?P<name>{name})\s?[:：]\s*(?=\S)"),
    )
