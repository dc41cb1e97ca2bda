"""Names of speakers in a transcript, ``NAME:`` before what each says.

Nobody says them, and yet "Note: this" may be said. So a name before a colon is a label where it was not heard; in
brackets (``[Ann]:``) or after ``>>`` it is one whatever was heard.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import regex

from llaso_data.text.markup import CleanedText, TextEditor
from llaso_data.text.spoken import spoken_words

_MOST_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class SpeakerTurns:
    """A transcript without its labels, and at which of its characters which speaker's turn begins."""

    cleaned: CleanedText
    starts: tuple[tuple[int, str], ...] = ()

    def speaker(self, start: int, end: int) -> str | None:
        """Who says the characters ``[start, end)``; None where that is not known, or several do."""
        places = [place for place, _ in self.starts]
        first = bisect_right(places, start) - 1
        if first < 0:
            return None
        found = {name for place, name in self.starts[first:] if place < end}
        return found.pop() if len(found) == 1 else None


def speaker_turns(text: str, heard: Sequence[str] | None, language: str) -> SpeakerTurns:
    """The transcript's labels taken off.

    Args:
        text: The transcript of a recording, cleaned of markup.
        heard: What was heard in the recording, in order; None where it was not listened to: then only what is a label
            by its form is taken off.
        language: Of both.
    """
    edited = TextEditor(text)
    if not regex.search("[:：]", text):
        return SpeakerTurns(edited.done())
    by_form, by_place = _patterns()
    candidates = [match for match in by_place.finditer(text) if len(match["name"]) <= _MOST_CHARACTERS]
    unheard = _unheard(text, [match.span() for match in candidates], heard, language)
    labels = [*by_form.finditer(text), *(match for match in candidates if match.span() in unheard)]
    labels.sort(key=lambda match: match.start())
    edited.put([(*match.span(), " ") for match in labels])
    cleaned = edited.done()
    return SpeakerTurns(
        cleaned, tuple((bisect_left(cleaned.offsets, m.end()), " ".join(m["name"].split())) for m in labels)
    )


def _unheard(
    text: str, candidates: list[tuple[int, int]], heard: Sequence[str] | None, language: str
) -> list[tuple[int, int]]:
    """Those of the candidates over which nothing was heard; where several were not, also those misheard as something.

    None where nothing was heard at all.
    """
    from rapidfuzz.distance import Levenshtein

    forms = [form for one in heard or () for form in spoken_words(one, language)[1]]
    if not candidates or not forms:
        return []
    spans, words = spoken_words(text, language)
    fate = ["delete"] * len(words)
    for op in Levenshtein.opcodes(words, forms):
        fate[op.src_start : op.src_end] = [op.tag] * (op.src_end - op.src_start)
    inside = [
        {fate[n] for n, (a, b) in enumerate(spans) if start <= a < end and not any(map(str.isalnum, text[end:b]))}
        or {"equal"}
        for start, end in candidates
    ]
    clearly = sum(tags == {"delete"} for tags in inside)
    several = clearly >= 2 and 2 * clearly >= len(candidates)
    return [
        candidate
        for candidate, tags in zip(candidates, inside, strict=True)
        if tags == {"delete"} or (several and "equal" not in tags)
    ]


@cache
def _patterns() -> tuple[regex.Pattern[str], regex.Pattern[str]]:
    """What is a label by its form, and what may be one: a name at the start, or after the end of a sentence."""
    inside = r"[^\s.,;:：!?¿¡()\[\]{}<>\"“”„«»。！？，、/]"
    name = rf"(?:\p{{Lu}}\p{{L}}{{0,4}}\.\s)?[\p{{Lu}}\p{{Lt}}\p{{Lo}}]{inside}*(?:[ _]{inside}+){{0,3}}"
    return (
        regex.compile(r"[\[(](?P<name>[^\[\]()]{1,40})[\])]\s?[:：]\s*"),
        regex.compile(rf"(?:^|(?<=[.!?…。！？।؟:]['\"”»)]?\s?)|(?<=[—–\-]\s))(?P<name>{name})\s?[:：]\s*(?=\S)"),
    )
