"""Where a text and what was heard say different words, and the text in the spelling of what was heard.

Two texts can only be compared by their likelihood where all else is equal: a transcript writes "press 1" where Whisper
writes "press one", with commas and capitals of its own, and each of these costs more than a wrong word. So the text is
written anew in the hypothesis's spelling, and only words that are heard as others stay the text's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from llaso_data.text import comparable_words, is_spaced, normalize
from llaso_data.text.spoken import spoken_words

# Rows of full stops and dashes that stand apart are how a writer marks a pause; a symbol may be what is said.
_PAUSE = re.compile(r"\.{2,}|…|(?<!\S)[,;:–—-]+(?!\S)")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The text in the hypothesis's spelling, and where each difference starts: places in ``text`` and in ``heard``."""

    text: str
    hypothesis: str
    starts: tuple[tuple[int, int], ...]


def rewrite(text: str, hypothesis: str, language: str) -> Rewritten:
    """The text with the hypothesis's spelling wherever both say the same words.

    Where they say the same from end to end the result is the hypothesis, without differences. A stretch that is
    written differently and read alike ("twenty five", "25"; "voice mail", "voicemail") is no difference.
    """
    from rapidfuzz.distance import Levenshtein

    if _alike(text, hypothesis, language) or not normalize(text, language) + normalize(hypothesis, language):
        return Rewritten(hypothesis, hypothesis, ())
    spans, forms = spoken_words(text, language)
    heard_spans, heard_forms = spoken_words(hypothesis, language)
    gap = " " if is_spaced(language) else ""
    written, starts = "", []
    opcodes = Levenshtein.opcodes(forms, heard_forms)
    for equal, group in groupby(opcodes, key=lambda op: op.tag == "equal"):
        ops = list(group)
        own = _between(text, spans, ops[0].src_start, ops[-1].src_end)
        heard = _between(hypothesis, heard_spans, ops[0].dest_start, ops[-1].dest_end)
        same = equal or _alike(own, heard, language)
        stretch = heard if same else " ".join(_PAUSE.sub(" ", own).split())
        if not same:
            # A difference starts with the space before it, which is its first token's.
            place = heard_spans[ops[0].dest_start - 1][1] if ops[0].dest_start else 0
            starts.append((len(written), place))
        written += (gap if written and stretch else "") + stretch
    if hypothesis[:1].isupper() and len(written[:1].upper()) == 1:
        written = written[:1].upper() + written[1:]
    return Rewritten(written, hypothesis, tuple(starts))


def _alike(text: str, heard: str, language: str) -> bool:
    """Whether both say something, and the same. Spaces are not heard, and numbers may be in figures or in words."""
    own, other = ("".join(side).replace(" ", "") for side in comparable_words(text, heard, language))
    return own == other != ""


def _between(text: str, spans: Sequence[tuple[int, int]], first: int, last: int) -> str:
    """Words ``[first, last)`` and what stands around them that is no word, such as a symbol on its own."""
    start = spans[first - 1][1] if first else 0
    end = spans[last][0] if last < len(spans) else len(text)
    return text[start:end].strip()
