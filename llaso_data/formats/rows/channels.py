"""Which channels of its file a row names: ``channel`` selects, ``channels`` selects by a list and counts by a number.

Channels are counted from 0, and letters from A, as telephone corpora name the two sides of a call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llaso_data.formats.rows.source_row import RowError, is_empty

_MOST = 1024  # channels of a file
_NAMES = {"left": 0, "right": 1, **{letter: number for number, letter in enumerate("abcdefgh")}}
_COUNTS = {"mono": 1, "stereo": 2}
_ALL = frozenset(("", "nan", "null", "none", "all", "both", "mix", "mixed", *_COUNTS))


def selection(values: Mapping[str, Any]) -> tuple[tuple[int, ...] | None, int | None]:
    """(the channels to average, None for all; how many the file is said to have, None where nothing is said).

    Raises RowError for what is no channel, and where ``channel`` and ``channels`` select different ones.
    """
    one, many = _parsed(values.get("channel")), _parsed(values.get("channels"))
    count = None
    if isinstance(many, str) and many in _COUNTS:
        count, many = _COUNTS[many], None
    elif _is_number(many):
        count, many = _number(many, "channels"), None
        if not count:
            raise RowError("channels is the number of channels, or a list of those to average; 0 is neither")
    chosen, listed = _chosen(one, "channel"), _chosen(many, "channels")
    if chosen is not None and listed is not None and chosen != listed:
        raise RowError(f"channel selects {_said(chosen)}, and channels {_said(listed)}; leave one out")
    return listed if chosen is None else chosen, count


def _parsed(value: Any) -> Any:
    """A cell as a number, a lower-case word or a list: tables write lists as JSON, or with commas or spaces."""
    if is_empty(value):
        return None
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    if text.startswith("["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise RowError(f"a list of channels is written [0, 1]; got {value[:40]!r}") from None
    parts = re.split(r"[\s,;+]+", text)
    return parts if len(parts) > 1 else text


def _is_number(value: Any) -> bool:
    return (isinstance(value, (int, float)) and not isinstance(value, bool)) or (
        isinstance(value, str) and re.fullmatch(r"\d+(\.0*)?", value) is not None
    )


def _chosen(value: Any, name: str) -> tuple[int, ...] | None:
    if value is None or (isinstance(value, str) and value in _ALL):
        return None
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(sorted({_number(item, name) for item in items})) or None


def _number(value: Any, name: str) -> int:
    known = _NAMES.get(value.strip().lower()) if isinstance(value, str) else None
    if known is not None:
        return known
    number = float(value) if _is_number(value) else -1.0
    if not (number.is_integer() and 0 <= number < _MOST):
        raise RowError(f"{name} is counted from 0, or A, B …; got {str(value)[:40]!r}")
    return int(number)


def _said(channels: tuple[int, ...]) -> str:
    return ", ".join(map(str, channels))
