"""Classes of age, and which of them an age in years names: "27 years old" is 25-29."""

from __future__ import annotations

import re
from collections.abc import Iterable

_DECADES = ("", "teens", "twenties", "thirties", "fourties", "fifties", "sixties", "seventies", "eighties", "nineties")
_OLDEST = 120
_ABOUT = r"(?:\s*(?:is|was|of|be|:|=|~|about|around|approximately|roughly|maybe|perhaps|probably|likely|between))*"
_YEARS = r"(\d{2,3})(?:\s*(?:-|to|and|or|到|至)\s*(\d{2,3}))?"
_AGE = re.compile(
    rf"(?<![\d.,-]){_YEARS}[\s-]*(?:years?[\s-]old|years of age|(?:year )?age (?:band|bracket|group|range)|"
    r"y/?o\b|岁|歳)|"
    rf"\b(?:aged|ages?)\b{_ABOUT}\s*{_YEARS}(?![\d%]|[.,]\d)|\bbetween {_YEARS}(?![\d%]|[.,]\d)"
)


def years(labels: Iterable[str]) -> dict[str, tuple[int, int]]:
    """The first and last year of every label; empty unless every label is a class of age ("25-29", "30+", "teens")."""
    found: dict[str, tuple[int, int]] = {}
    for label in labels:
        limits = re.fullmatch(r"(\d\d)(?:-(\d\d)|\+)", label)
        if limits is not None:
            found[label] = (int(limits[1]), int(limits[2] or _OLDEST))
        elif label in _DECADES:
            decade = 10 * _DECADES.index(label)
            found[label] = (13 if decade == 10 else decade, decade + 9)
        else:
            return {}
    return found


def classes(text: str, limits: dict[str, tuple[int, int]]) -> list[str]:
    """The labels that the ages of a folded text name, each once; an age or a range in no class names none."""
    found: list[str] = []
    for age in _AGE.finditer(text):
        low, high, *_ = [int(number) for number in age.groups() if number] * 2
        found += [label for label, (first, last) in limits.items() if first <= low <= high <= last]
    return list(dict.fromkeys(found))
