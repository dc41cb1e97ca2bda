"""The given transcript of a long recording, divided among the segments that voice activity cut it into.

The words of the transcript are edit-aligned to those of the hypotheses. Each segment gets the stretch of the transcript
that is aligned to its own hypothesis. A segment to which nothing is aligned gets none and is rejected by name: it is
not trained on with another segment's words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from llaso_data.text.number_words import equal_numbers
from llaso_data.text.spoken import spoken_words


@dataclass(slots=True)
class _Stretch:
    """Words ``[first, last)`` of the transcript that one segment gets."""

    first: int
    last: int
    matched: int  # of these words, those that the segment's hypothesis has as they are
    hypothesis_words: int

    def agrees(self, min_matched: float, more_words: int = 0) -> bool:
        """Whether enough words match, of the stretch with so many more, and of the hypothesis."""
        return self.matched >= min_matched * max(self.hypothesis_words, self.last - self.first + more_words)


def segment_spans(
    text: str, hypotheses: Sequence[str], language: str, min_matched: float = 0.5
) -> list[tuple[int, int] | None]:
    """The part of a recording's transcript that belongs to each of its segments.

    The parts are disjoint, in order, and keep the letters and punctuation of ``text``. Words that no hypothesis has go
    to the segment before them (the first words to the first segment), so that its scores can tell. They go to none
    where a segment without any of the text follows, or where too few words would then agree.

    Args:
        text: The transcript.
        hypotheses: What Whisper transcribed of each segment, in order.
        language: Of both.
        min_matched: Share (0-1) of a part's words that have to agree with the hypothesis.

    Returns:
        For each segment ``(start, end)`` in characters; None where too few words agree.
    """
    from rapidfuzz.distance import Levenshtein

    spans, given = spoken_words(text, language)
    transcribed: list[str] = []
    segment_of: list[int] = []
    for segment, hypothesis in enumerate(hypotheses):
        words = spoken_words(hypothesis, language)[1]
        transcribed += words
        segment_of += [segment] * len(words)
    # Numbers are aligned in the transcript's form: 25, where the hypothesis has veinticinco.
    for start, end, first, last in reversed(equal_numbers(given, transcribed, language)):
        if segment_of[first] == segment_of[last - 1]:
            transcribed[first:last] = given[start:end]
            segment_of[first:last] = [segment_of[first]] * (end - start)
    stretches: dict[int, _Stretch] = {}
    for op in Levenshtein.opcodes(given, transcribed):
        if op.tag not in ("equal", "replace"):
            continue
        for word, other in zip(range(op.src_start, op.src_end), range(op.dest_start, op.dest_end), strict=True):
            stretch = stretches.setdefault(segment_of[other], _Stretch(word, word, 0, 0))
            stretch.last = word + 1
            stretch.matched += op.tag == "equal"
    for segment in segment_of:
        if segment in stretches:
            stretches[segment].hypothesis_words += 1
    _assign_words_between(stretches, len(hypotheses), len(given), min_matched)
    parts: list[tuple[int, int] | None] = []
    for segment in range(len(hypotheses)):
        own = stretches.get(segment)
        agrees = own is not None and own.matched > 0 and own.agrees(min_matched)
        parts.append((spans[own.first][0], spans[own.last - 1][1]) if own and agrees else None)
    return parts


def _assign_words_between(stretches: dict[int, _Stretch], segments: int, words: int, min_matched: float) -> None:
    """Give the words between two stretches to the first of them, and those at the text's ends to the stretch there."""
    order = sorted(stretches)
    for segment, following in pairwise([*order, segments]):
        stop = stretches[following].first if following in stretches else words
        stretch = stretches[segment]
        if following == segment + 1 and stretch.agrees(min_matched, stop - stretch.last):
            stretch.last = stop
    if order and order[0] == 0 and stretches[0].agrees(min_matched, stretches[0].first):
        stretches[0].first = 0
