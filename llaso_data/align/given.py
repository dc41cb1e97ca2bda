"""A given transcript of a long recording, dealt to the segments that voice activity cut it into.

The words of the transcript are edit-aligned to the words that free decoding heard; each segment gets the stretch of
the transcript that lies over its own hypothesis. A segment over which nothing matches gets none, and is rejected by
name rather than trained on with somebody else's words.
"""

from __future__ import annotations

from collections.abc import Sequence

from llaso_data.text import normalize, word_spans


def deal(text: str, hypotheses: Sequence[str], language: str, min_matched: float = 0.5) -> list[str | None]:
    """The part of ``text`` that belongs to each segment, or None where under ``min_matched`` of its words agree.

    The parts are disjoint and in order; words between two segments that neither heard go to the nearer neighbour in
    the alignment. ``text`` keeps its letters and punctuation.
    """
    from rapidfuzz.distance import Levenshtein

    spans = word_spans(text, language)
    given = [normalize(text[a:b], language) for a, b in spans]
    heard, owner = [], []
    for segment, hypothesis in enumerate(hypotheses):
        for a, b in word_spans(hypothesis, language):
            heard.append(normalize(hypothesis[a:b], language))
            owner.append(segment)
    heard_count = [owner.count(segment) for segment in range(len(hypotheses))]
    first: list[int | None] = [None] * len(hypotheses)
    last: list[int | None] = [None] * len(hypotheses)
    matched = [0] * len(hypotheses)
    previous: int | None = None
    for op in Levenshtein.opcodes(given, heard):
        if op.tag == "insert":  # heard, not given
            continue
        for step in range(op.src_end - op.src_start):
            word = op.src_start + step
            if op.tag == "delete":  # given, not heard: stays with the segment before, inside its stretch only
                if previous is not None:
                    last[previous] = word + 1
                continue
            place = min(op.dest_start + step, op.dest_end - 1)
            segment = owner[place]
            first[segment] = word if first[segment] is None else first[segment]
            last[segment] = word + 1
            matched[segment] += op.tag == "equal"
            previous = segment
    parts: list[str | None] = []
    for segment in range(len(hypotheses)):
        start, stop = first[segment], last[segment]
        if start is None or stop is None:
            parts.append(None)
        elif matched[segment] < min_matched * max(heard_count[segment], stop - start):
            parts.append(None)
        else:
            parts.append(text[spans[start][0] : spans[stop - 1][1]])
    return parts
