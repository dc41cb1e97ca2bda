"""Halves of surrogate pairs: JSON and the names of files may bring one, and no file in UTF-8 can hold it."""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def has_lone_surrogate(text: str) -> bool:
    """Whether a text has half of a surrogate pair, which no file in UTF-8 can hold."""
    return not text.isascii() and _LONE_SURROGATE.search(text) is not None


def replace_lone_surrogates(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair."""
    return text if text.isascii() else _LONE_SURROGATE.sub(REPLACEMENT, text)
