"""The fields of a row that people or programs wrote. Each has a type, and a value of another type is refused.

A missing field, and an optional one that is null, is None. Only numbers are turned into text, where both are allowed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.text.surrogates import has_lone_surrogate

_SURROGATE_MESSAGE = (
    "has half of a surrogate pair, which is no character: write the file as UTF-8 from whole characters"
)
_MOST_DIGITS = 30  # of a whole number that is taken for text; more is no name, label or quantity


class Fields:
    """The fields of one row, with checked types.

    Args:
        row: The JSON object.
        place: File and row, for messages.
    """

    def __init__(self, row: Mapping[str, Any], place: str) -> None:
        self.row = row
        self.place = place

    def __contains__(self, key: str) -> bool:
        return key in self.row

    def fault(self, key: str, wants: str) -> LLaSOError:
        """The error for a field of the wrong type."""
        is_now = describe_json(self.row.get(key))
        return LLaSOError(f"{self.place}: {key} is {is_now}; it should be {wants}: mend it, or take the row out")

    def text(self, key: str, wants: str = "text", numbers: bool = False) -> str | None:
        """A text, or None. With ``numbers`` a finite number is accepted too, as text. Raises LLaSOError."""
        value = self.row.get(key)
        if value is None:
            return None
        text = as_text(value) if numbers else value if isinstance(value, str) else None
        if text is None:
            raise self.fault(key, f"{wants} or a number" if numbers else wants)
        if has_lone_surrogate(text):
            raise LLaSOError(f"{self.place}: {key} {_SURROGATE_MESSAGE}")
        return text

    def name(self, key: str) -> str | None:
        """A name: a text or a whole number; None where it is empty. Raises LLaSOError."""
        value = self.row.get(key)
        whole = isinstance(value, int) and not isinstance(value, bool) and as_text(value) is not None
        name = str(value) if whole else self.text(key, "text or a whole number")
        return name or None

    def texts(self, key: str, wants: str = "text or a list of texts") -> tuple[str, ...]:
        """A text or a list of texts. Raises LLaSOError."""
        value = self.row.get(key)
        if value is None:
            return ()
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list):
            raise self.fault(key, wants)
        return tuple(Fields({key: item}, f"{self.place}, in a list").required(key) for item in listed)

    def required(self, key: str) -> str:
        """A text that must be there. Raises LLaSOError."""
        text = self.text(key)
        if text is None:
            raise self.fault(key, "text")
        return text

    def number(self, key: str) -> float | None:
        """A finite number, or one that is written as text. Raises LLaSOError."""
        value = self.row.get(key)
        if value is None:
            return None
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.fault(key, "a finite number")
        return number

    def whole(self, key: str) -> int | None:
        """A whole number of at most 64 bits. Raises LLaSOError."""
        value = self.row.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63):
            raise self.fault(key, "a whole number")
        return value

    def numbers(self, key: str) -> tuple[float, ...] | None:
        """A list of finite numbers. Raises LLaSOError."""
        value = self.row.get(key)
        if value is None:
            return None
        numbers = (
            [Fields({key: number}, self.place).number(key) for number in value] if isinstance(value, list) else [None]
        )
        if None in numbers:
            raise self.fault(key, "a list of numbers")
        return tuple(number for number in numbers if number is not None)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of some words; the first where the field is empty or missing. Raises LLaSOError."""
        value = self.row.get(key)
        if value in (None, ""):
            return choices[0]
        if value not in choices:
            raise self.fault(key, " or ".join(choices))
        return str(value)

    def mapping(self, key: str) -> Fields:
        """The fields of an object; none where it is missing. Raises LLaSOError."""
        value = self.row.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.fault(key, "an object")
        return Fields({f"{key}.{name}": item for name, item in (value or {}).items()}, self.place)

    def attribute(self, key: str) -> str | None:
        """A property of a speaker: a text or a finite number; None where it is empty. Raises LLaSOError."""
        return self.text(key, numbers=True) or None


def as_text(value: Any) -> str | None:
    """A text as it is, or a finite number in plain digits; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return str(value) if abs(value) < 10**_MOST_DIGITS else None
    return format(Decimal(repr(value)), "f") if math.isfinite(value) else None


def describe_json(value: Any) -> str:
    """A JSON value in words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    if isinstance(value, int | float):
        shown = as_text(value) or ""
        return f"the number {shown}" if 0 < len(shown) < 40 else "a number of very many digits"
    if isinstance(value, str):
        return repr(value[:40])
    return "a list" if isinstance(value, list) else "an object"


def contains_lone_surrogate(value: Any) -> bool:
    """Whether any text within lists and objects has half of a surrogate pair."""
    if isinstance(value, str):
        return has_lone_surrogate(value)
    if isinstance(value, Mapping):
        return any(contains_lone_surrogate(part) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and any(map(contains_lone_surrogate, value))
