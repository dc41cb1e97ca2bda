"""A given transcript of a long recording, dealt to the segments that voice activity cut it into.

The words of the transcript are edit-aligned to the words that free decoding heard; each segment gets the stretch of
the transcript that lies over its own hypothesis. A segment over which nothing matches gets none, and is rejected by
name rather than trained on with somebody else's words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from llaso_data.text.number_words import equal_numbers
from llaso_data.text.spoken import spoken_words


@dataclass(slots=True)
class _Stretch:
    """Words ``[first, last)`` of the transcript over one segment, and how many of them it heard as they are."""

    first: int
    last: int
    matched: int
    heard: int

    def agrees(self, least: float, more: int = 0) -> bool:
        return self.matched >= least * max(self.heard, self.last - self.first + more)


def segment_spans(
    text: str, hypotheses: Sequence[str], language: str, min_matched: float = 0.5
) -> list[tuple[int, int] | None]:
    """The part of ``text`` that belongs to each segment, as its first character and the one after its last.

    None where under ``min_matched`` of its words agree. The parts are disjoint, in order, and keep the letters and
    punctuation of ``text``. Words that nobody heard go to the segment before them (the first words to the first
    segment), so that its scores can tell; they go to none where a segment that heard nothing of the text lies there, or
    where under ``min_matched`` would agree with them.
    """
    from rapidfuzz.distance import Levenshtein

    spans, given = spoken_words(text, language)
    heard: list[str] = []
    owner: list[int] = []
    for segment, hypothesis in enumerate(hypotheses):
        words = spoken_words(hypothesis, language)[1]
        heard += words
        owner += [segment] * len(words)
    for start, end, first, last in reversed(equal_numbers(given, heard, language)):  # 25 was heard as veinticinco
        if owner[first] == owner[last - 1]:
            heard[first:last] = given[start:end]
            owner[first:last] = [owner[first]] * (end - start)
    stretches: dict[int, _Stretch] = {}
    for op in Levenshtein.opcodes(given, heard):
        if op.tag not in ("equal", "replace"):
            continue
        for word, place in zip(range(op.src_start, op.src_end), range(op.dest_start, op.dest_end), strict=True):
            stretch = stretches.setdefault(owner[place], _Stretch(word, word, 0, 0))
            stretch.last = word + 1
            stretch.matched += op.tag == "equal"
    for segment in owner:
        if segment in stretches:
            stretches[segment].heard += 1
    _spread(stretches, len(hypotheses), len(given), min_matched)
    parts: list[tuple[int, int] | None] = []
    for segment in range(len(hypotheses)):
        found = stretches.get(segment)
        agreed = found is not None and found.matched > 0 and found.agrees(min_matched)
        parts.append((spans[found.first][0], spans[found.last - 1][1]) if found and agreed else None)
    return parts


def _spread(stretches: dict[int, _Stretch], segments: int, words: int, min_matched: float) -> None:
    """Give the words between two stretches to the first of them, and those at the text's ends to what stands there."""
    order = sorted(stretches)
    for segment, following in pairwise([*order, segments]):
        stop = stretches[following].first if following in stretches else words
        stretch = stretches[segment]
        if following == segment + 1 and stretch.agrees(min_matched, stop - stretch.last):
            stretch.last = stop
    if order and order[0] == 0 and stretches[0].agrees(min_matched, stretches[0].first):
        stretches[0].first = 0
