"""The number that an answer gives: an age, a MIDI pitch. One, several, none, a refusal, or empty.

A range is its middle ("between 20 and 30": 25), a decade too ("40s" and "forties": 45, "teens": 16), as is a choice of
two neighbouring decades ("20s or 30s": 30). Spelled numbers count, in English and Chinese. A number that the answer
says to be the one asked for ("the MIDI number is 69", "45 years old") comes before others that it mentions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llaso_model.evaluate.labels import GENERAL, Kind, clauses
from llaso_model.evaluate.refusals import PATTERN as REFUSAL
from llaso_model.evaluate.refusals import folded, is_empty

_UNITS = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
_DECADES = {
    "teens": 16.0, "teenager": 16.0, "teenage": 16.0, "twenties": 25.0, "thirties": 35.0, "forties": 45.0,
    "fourties": 45.0, "fifties": 55.0, "sixties": 65.0, "seventies": 75.0, "eighties": 85.0, "nineties": 95.0,
}  # fmt: skip
_CHINESE = {character: value for value, character in enumerate("零一二三四五六七八九")}
_SPELLED = re.compile(
    rf"\b(?:(?P<hundred>a|one) hundred(?:\s+and)?[\s-]*)?(?:(?P<tens>{'|'.join(_TENS)})(?:[\s-]+(?P<unit>one|"
    rf"two|three|four|five|six|"
    rf"seven|eight|nine))?|(?P<small>{'|'.join(sorted(_UNITS, key=len, reverse=True))}))\b|\b(?:a|one) hundred\b"
)
_CHINESE_NUMBER = re.compile(r"(?:(?P<tens>[一二三四五六七八九])?十(?P<unit>[一二三四五六七八九])?)")
_DECADE = re.compile(
    rf"(?<![a-z0-9.])'?(?:(?P<digits>[1-9]0)'?s|(?P<name>{'|'.join(_DECADES)}))\b|(?P<chinese>[1-9]0)多岁"
)
_NUMBER = r"\d+(?:\.\d+)?"
_RANGE = re.compile(rf"(?<![a-z0-9.])({_NUMBER})\s*(?:岁)?\s*(?:-|~|to|and|到|至|or)\s*({_NUMBER})(?![a-z0-9-]|\.\d)")
_SINGLE = re.compile(rf"(?<![a-z0-9.#])({_NUMBER})(?!\.?\d|[a-z]|'?s\b)")
_LIST_ITEM = re.compile(r"(?<=\s)\d{1,2}\.(?=\s[a-z])")
_CUED = (
    re.compile(rf"\bmidi\b[^.\d]{{0,60}}?\b(?:is|of|:|=|be)\s*(?:approximately |about |around )?({_NUMBER})"),
    re.compile(rf"({_NUMBER})\s*(?:-|\s)?\s*(?:years? old|years of age|year-old|岁)"),
    re.compile(
        rf"\b(?:age|pitch|answer|value|number)\b[^.\d]{{0,60}}?\b(?:is|of|:|=|be)\s*(?:approximately |about |"
        rf"around |likely )?({_NUMBER})"
    ),
)


@dataclass(frozen=True, slots=True)
class Number:
    """What an answer gives: the value where the kind is *one*."""

    kind: Kind
    value: float | None = None


def extract(answer: str, ignore: Sequence[str] = ()) -> Number:
    """The number that an answer gives. ``ignore`` are regular expressions of stretches that give none."""
    if is_empty(answer):
        return Number("empty")
    text = _LIST_ITEM.sub(" ", folded(answer))
    refuses = REFUSAL.search(text) is not None
    for pattern in ignore:
        text = re.sub(pattern, " ", text)
    if refuses:  # a number in what is said of something else is no answer
        parts = [text[start:end] for start, end in clauses(text)]
        text = " . ".join(part for part in parts if not REFUSAL.search(part) and not GENERAL.search(part))
    values = _values(_digits(text))
    if len(values) == 1:
        return Number("one", values[0])
    if len(values) > 1:
        return Number("several")
    return Number("refusal" if refuses else "none")


def _values(text: str) -> list[float]:
    """The distinct numbers of the text, or the one that it says to be the answer."""
    decades = [_decade(found) for found in _DECADE.finditer(text)]
    if decades:
        low, high = min(decades), max(decades)
        return [(low + high) / 2] if high - low <= 10 else sorted(set(decades))
    ranges = {(float(low) + float(high)) / 2 for low, high in _RANGE.findall(text) if float(low) < float(high)}
    if ranges:
        return sorted(ranges)
    every = sorted({float(found) for found in _SINGLE.findall(text)})
    if len(every) > 1:
        for pattern in _CUED:
            cued = {float(found) for found in pattern.findall(text)}
            if len(cued) == 1:
                return sorted(cued)
    return every


def _decade(found: re.Match[str]) -> float:
    if found["name"]:
        return _DECADES[found["name"]]
    return float(found["digits"] or found["chinese"]) + 5


def _digits(text: str) -> str:
    """The text with spelled numbers from 10 on as digits; smaller ones are words like any other ("one of")."""

    def english(found: re.Match[str]) -> str:
        if found["tens"] is None and found["small"] is None:
            return "100"
        rest = (
            _TENS[found["tens"]] + _UNITS.get(found["unit"] or "zero", 0) if found["tens"] else _UNITS[found["small"]]
        )
        value = (100 if found["hundred"] else 0) + rest
        return str(value) if value >= 10 or text == found[0] else found[0]

    def chinese(found: re.Match[str]) -> str:
        return str(10 * _CHINESE.get(found["tens"] or "一", 1) + _CHINESE.get(found["unit"] or "零", 0))

    return _CHINESE_NUMBER.sub(chinese, _SPELLED.sub(english, text))
