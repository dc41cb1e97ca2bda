"""Which channels of its file a row selects: ``channel`` selects, ``channels`` selects by a list and counts by a number.

Channels are counted from 0, and letters from A, as telephone corpora name the two sides of a call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llaso_data.formats.rows.source_row import RowError, is_empty

_MOST_CHANNELS = 1024  # of a file
_NUMBERS = {"left": 0, "right": 1, **{letter: number for number, letter in enumerate("abcdefgh")}}
_COUNTS = {"mono": 1, "stereo": 2}
_ALL = frozenset(("", "nan", "null", "none", "all", "both", "mix", "mixed", *_COUNTS))


def selected_channels(values: Mapping[str, Any]) -> tuple[tuple[int, ...] | None, int | None]:
    """The channels that a row selects, and how many its file is said to have.

    Args:
        values: The row's values for ``channel`` and ``channels``: numbers, letters, words, or lists of them, also as
            JSON or with commas.

    Returns:
        The channels to average, counted from 0, None for all of them; and the stated number of channels, None where
        the row states none.

    Raises:
        RowError: A value is no channel, or ``channel`` and ``channels`` select different ones.
    """
    channel, channels = _parsed(values.get("channel")), _parsed(values.get("channels"))
    count = None
    if isinstance(channels, str) and channels in _COUNTS:
        count, channels = _COUNTS[channels], None
    elif _is_number(channels):
        count, channels = _number(channels, "channels"), None
        if not count:
            raise RowError("channels is the number of channels, or a list of those to average; 0 is neither")
    selected, listed = _selected(channel, "channel"), _selected(channels, "channels")
    if selected is not None and listed is not None and selected != listed:
        raise RowError(f"channel selects {_text(selected)}, and channels {_text(listed)}; leave one out")
    return listed if selected is None else selected, count


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


def _selected(value: Any, name: str) -> tuple[int, ...] | None:
    if value is None or (isinstance(value, str) and value in _ALL):
        return None
    items = value if isinstance(value, (list, tuple)) else [value]
    return tuple(sorted({_number(item, name) for item in items})) or None


def _number(value: Any, name: str) -> int:
    known = _NUMBERS.get(value.strip().lower()) if isinstance(value, str) else None
    if known is not None:
        return known
    number = float(value) if _is_number(value) else -1.0
    if not (number.is_integer() and 0 <= number < _MOST_CHANNELS):
        raise RowError(f"{name} is counted from 0, or A, B …; got {str(value)[:40]!r}")
    return int(number)


def _text(channels: tuple[int, ...]) -> str:
    return ", ".join(map(str, channels))
