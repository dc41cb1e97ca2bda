"""Where a text and a hypothesis have different words, and the text in the hypothesis's spelling.

Two texts can only be compared by their likelihood where all else is equal. A transcript writes "press 1" where Whisper
writes "press one", with commas and capitals of its own, and each of these costs more than a wrong word. So the text is
rewritten in the hypothesis's spelling, and only the words that differ stay the text's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from llaso_data.text import comparable_words, is_spaced, normalize
from llaso_data.text.spoken import spoken_words

# Rows of full stops and dashes that stand apart mark a pause. Other symbols may be spoken.
_PAUSE = re.compile(r"\.{2,}|…|(?<!\S)[,;:–—-]+(?!\S)")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A text in the spelling of a hypothesis.

    Attributes:
        text: The rewritten text.
        hypothesis: The hypothesis.
        starts: Where each difference starts: character offsets in ``text`` and in ``hypothesis``.
    """

    text: str
    hypothesis: str
    starts: tuple[tuple[int, int], ...]


def rewrite(text: str, hypothesis: str, language: str) -> Rewritten:
    """The text with the hypothesis's spelling wherever both have the same words.

    Where all words are the same, the result is the hypothesis, without differences. Words that are written differently
    and read alike ("twenty five", "25"; "voice mail", "voicemail") are no difference.

    Args:
        text: A given transcript.
        hypothesis: What Whisper transcribed.
        language: Of both.
    """
    from rapidfuzz.distance import Levenshtein

    if _alike(text, hypothesis, language) or not normalize(text, language) + normalize(hypothesis, language):
        return Rewritten(hypothesis, hypothesis, ())
    spans, forms = spoken_words(text, language)
    hypothesis_spans, hypothesis_forms = spoken_words(hypothesis, language)
    gap = " " if is_spaced(language) else ""
    rewritten, starts = "", []
    opcodes = Levenshtein.opcodes(forms, hypothesis_forms)
    for equal, group in groupby(opcodes, key=lambda op: op.tag == "equal"):
        ops = list(group)
        own = _between(text, spans, ops[0].src_start, ops[-1].src_end)
        other = _between(hypothesis, hypothesis_spans, ops[0].dest_start, ops[-1].dest_end)
        same = equal or _alike(own, other, language)
        stretch = other if same else " ".join(_PAUSE.sub(" ", own).split())
        if not same:
            # A difference starts with the space before it, which is part of its first token.
            hypothesis_start = hypothesis_spans[ops[0].dest_start - 1][1] if ops[0].dest_start else 0
            starts.append((len(rewritten), hypothesis_start))
        rewritten += (gap if rewritten and stretch else "") + stretch
    if hypothesis[:1].isupper() and len(rewritten[:1].upper()) == 1:
        rewritten = rewritten[:1].upper() + rewritten[1:]
    return Rewritten(rewritten, hypothesis, tuple(starts))


def _alike(text: str, hypothesis: str, language: str) -> bool:
    """Whether both have words, and the same ones. Spaces do not count, and numbers may be in figures or in words."""
    own, other = ("".join(words).replace(" ", "") for words in comparable_words(text, hypothesis, language))
    return own == other != ""


def _between(text: str, spans: Sequence[tuple[int, int]], first: int, last: int) -> str:
    """Words ``[first, last)`` and what stands around them up to the next words, such as a single symbol."""
    start = spans[first - 1][1] if first else 0
    end = spans[last][0] if last < len(spans) else len(text)
    return text[start:end].strip()
