"""Tables of number words by language, from ``numerals.yaml``, whose head describes its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

NUMERAL_LANGUAGES = frozenset(
    {"ar", "de", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "tr", "vi", "yue", "zh"}
)
"""The languages that have a table."""


@dataclass(frozen=True, slots=True)
class Numerals:
    """The number words of one language; ``numerals.yaml`` says how they are written.

    Attributes:
        words: Forms by value, parted by spaces; ``x100`` multiplies what stands before it.
        signs: The words that are spoken for the signs that belong to figures.
        fillers: Words inside a number that mean nothing.
        points: Words for the decimal sign.
        whole_words: Whether numbers are never written together.
        tens_last: Whether units come before tens: five and twenty.
        ten_adds: Whether a unit after ten is added to it: ten five is fifteen.
    """

    words: Mapping[str | int, str]
    signs: Mapping[str, str]
    fillers: str = ""
    points: str = ""
    whole_words: bool = field(default=False, kw_only=True)
    tens_last: bool = field(default=False, kw_only=True)
    ten_adds: bool = field(default=False, kw_only=True)


def numerals(code: str) -> Numerals:
    """The table of a language of :data:`NUMERAL_LANGUAGES`. Raises KeyError for another."""
    return _tables()["zh" if code == "yue" else code]


@cache
def _tables() -> dict[str, Numerals]:
    from ruamel.yaml import YAML

    text = resources.files("llaso_data.text").joinpath("numerals.yaml").read_text(encoding="utf-8")
    return {code: Numerals(**table) for code, table in YAML(typ="safe", pure=True).load(text).items()}
