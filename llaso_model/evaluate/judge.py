"""Judges of free answers."""

from __future__ import annotations

import re

_SCORE = re.compile(r"score\**\s*:?\s*\**\s*([1-5](?:\.\d+)?)\b", re.IGNORECASE)


def score_of(said: str) -> float | None:
    """The score of 1 to 5 that a judge's words give ("Score: 4"); None where they give none."""
    found = _SCORE.search(said)
    return float(found[1]) if found and float(found[1]) <= 5 else None
