"""Praat's TextGrids, in the long form and the short: tiers of intervals, of which some are utterances, some words.

Praat reads either form alike: free-standing numbers, texts in quotes and ``<exists>`` count, whatever stands between
them does not (the manual's page "TextGrid file formats").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from llaso_data.errors import LLaSOError
from llaso_data.formats.beside_audio.labels import Label, Labels, checked, in_order, is_pause

_TOKEN = re.compile(
    r'"([^"]*(?:""[^"]*)*)"|(<exists>|<absent>)|(?<!\S)([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)%?(?!\S)|!.*'
)
_WORDS = re.compile(r"(?:.* - )?(?:words?|wrd|ort-mau)", re.IGNORECASE)
_UTTERANCES = re.compile(
    r"(?:.* - )?(?:utterances?|utt|sentences?|phrases?|transcri(?:pts?|ptions?)|text|orthograph(?:y|ic)|ort|speech"
    r"|ipus?|turns?)",
    re.IGNORECASE,
)
_OTHERS = re.compile(
    r"(?:.* - )?(?:phones?|phonemes?|phonetic|phn|segments?|mau|kan(?:-mau)?|sampa|x-sampa|ipa|syll?(?:able)?s?|tones?"
    r"|breaks?|pitch|notes?|misc|comments?|gloss|translations?|pos|lemma)",
    re.IGNORECASE,
)


class Tier(NamedTuple):
    """A tier of intervals. ``intervals``: those with a label that is no pause."""

    name: str
    intervals: list[Label]


def textgrid(text: str) -> Labels:
    """The utterances and the words of a TextGrid.

    A tier named ``words`` holds words, one named ``utterances``, ``sentences``, ``transcript`` … utterances; so does
    the only tier that has none of the names that tiers of phones, syllables, notes … have.

    Raises:
        LLaSOError: It is no TextGrid, or breaks off.
    """
    tiers = [tier for tier in tiers_of(text) if tier.intervals]
    words = next((tier for tier in tiers if _WORDS.fullmatch(tier.name.strip())), None)
    named = [tier for tier in tiers if _UTTERANCES.fullmatch(tier.name.strip())]
    known = (_WORDS, _UTTERANCES, _OTHERS)
    others = [tier for tier in tiers if not any(pattern.fullmatch(tier.name.strip()) for pattern in known)]
    if not named and words is None and len(others) == 1:
        named = others
    cues = named[0].intervals if named else []
    if cues or words is not None:
        return Labels(cues=in_order(cues), words=in_order(words.intervals if words else ()))
    return Labels(unread="a TextGrid without a tier of words or utterances")


def tiers_of(text: str) -> list[Tier]:
    """The tiers of intervals, in the order of the file; tiers of points are left out.

    Raises:
        LLaSOError: It is no TextGrid, or breaks off.
    """
    tokens = _Tokens(text)
    if [tokens.text() for _ in range(2)] != ["ooTextFile", "TextGrid"]:
        raise LLaSOError("not a TextGrid in Praat's text format; save it as text")
    tokens.number(), tokens.number()
    if tokens.flag() == "<absent>":
        return []
    tiers = []
    for _ in range(tokens.count()):
        kind, name = tokens.text(), tokens.text()
        tokens.number(), tokens.number()
        size = tokens.count()
        if kind == "IntervalTier":
            tiers.append(Tier(name, list(_intervals(tokens, size))))
        elif kind == "TextTier":
            for _ in range(size):
                tokens.number(), tokens.text()
        else:
            raise LLaSOError(f"line {tokens.line}: there are no tiers {kind[:40]!r}")
    return tiers


def _intervals(tokens: _Tokens, count: int) -> Iterator[Label]:
    for _ in range(count):
        start_s, end_s, line = tokens.number(), tokens.number(), tokens.line
        label = tokens.text()
        if not is_pause(label):
            yield checked(start_s, end_s, label, line)


class _Tokens:
    """The numbers, texts and flags of a file, one after another; ``line``: that of the last."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found = _TOKEN.finditer(text)
        self._at = 0
        self.line = 1

    def text(self) -> str:
        return str(self._next(1, "a text in quotes")).replace('""', '"')

    def flag(self) -> str:
        return str(self._next(2, "<exists>"))

    def number(self) -> float:
        return float(self._next(3, "a number"))

    def count(self) -> int:
        number = self.number()
        if not (number.is_integer() and number >= 0):
            raise LLaSOError(f"line {self.line}: {number:g} is not a number of tiers or intervals")
        return int(number)

    def _next(self, group: int, what: str) -> str:
        for match in self._found:
            if match.lastindex is None:  # a comment
                continue
            self.line += self._text.count("\n", self._at, match.start())
            self._at = match.start()
            if match.lastindex != group:
                raise LLaSOError(f"line {self.line}: {what} expected, got {match[0][:40]!r}")
            return match[group]
        raise LLaSOError(f"it breaks off where {what} should follow")
