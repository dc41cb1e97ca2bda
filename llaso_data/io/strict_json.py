"""JSON as RFC 8259 has it: Python's own reader takes NaN, Infinity, UTF-16 and bytes that are no text besides."""

from __future__ import annotations

import json
from typing import Any


def loads(data: bytes) -> Any:
    """The value of a whole text in UTF-8, with or without a byte-order mark. Raises ValueError, RecursionError."""
    return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse)


def loads_object(data: bytes) -> dict[str, Any]:
    """The same of a text that is an object. Raises ValueError, RecursionError."""
    value = loads(data)
    if not isinstance(value, dict):
        raise ValueError(f"an object is expected, got {type(value).__name__}")
    return value


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON; a number that is not there is null")
