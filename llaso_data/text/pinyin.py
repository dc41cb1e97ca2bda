"""Mandarin by its syllables: what was said, where characters that sound alike stand for each other."""

from __future__ import annotations

import re
from importlib.util import find_spec

from llaso_data.text import base_code, comparable_texts

_PACKAGE = "pypinyin"


def version(language: str | None = "zh") -> str | None:
    """The version of what reads characters; None where it is not installed, or the language is not Mandarin."""
    if base_code(language) != "zh" or find_spec(_PACKAGE) is None:
        return None
    from importlib.metadata import version as installed

    return f"{_PACKAGE} {installed(_PACKAGE)}"


def syllable_error_rates(reference: str, hypothesis: str) -> tuple[float, float]:
    """Error rates of the syllables of two texts in Mandarin, with tones and without.

    Both texts are normalised, and equal numbers written alike. Latin words count as one syllable each. Characters are
    read by the phrases that they stand in; tones are those of the dictionary, without sandhi, in both texts.

    Args:
        reference: What was to be said.
        hypothesis: What was heard.

    Returns:
        Edits per syllable of the reference, with tones, and without. Where it is empty: 0.0 if the other is, too, else
        1.0.
    """
    from rapidfuzz.distance import Levenshtein

    own, other = comparable_texts(reference, hypothesis, "zh")
    rates = []
    for with_tones in (True, False):
        wanted, heard = (_syllables(text, with_tones) for text in (own, other))
        rates.append(Levenshtein.distance(wanted, heard) / len(wanted) if wanted else float(bool(heard)))
    return rates[0], rates[1]


def _syllables(text: str, with_tones: bool) -> list[str]:
    from pypinyin import Style, lazy_pinyin

    style = Style.TONE3 if with_tones else Style.NORMAL
    words: list[str] = []
    for part in re.findall(r"[a-z0-9]+|[^a-z0-9\s]+", text):
        words += [part] if part.isascii() else lazy_pinyin(part, style=style, neutral_tone_with_five=True)
    return words
