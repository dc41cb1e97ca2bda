"""What writers say of an utterance besides its text, and the lines of JSON that they say it in."""

from __future__ import annotations

import json
from typing import Any

from llaso_data.records import UNKNOWN, Sample, Utterance

ATTRIBUTES = ("language", "speaker", "gender", "age", "accent", "environment")
"""The names of :func:`attributes_of`, which are those of :data:`~llaso_data.formats.writing.writer.FIELDS`."""


def attributes_of(sample: Sample, utterance: Utterance) -> dict[str, str]:
    """What is known of an utterance's language, speaker and surroundings, by the names of :data:`ATTRIBUTES`.

    Args:
        sample: Its language stands in where the utterance has none.
        utterance: One of the sample's audios.
    """
    speaker = utterance.speaker
    named = {
        "language": utterance.language or sample.language or UNKNOWN,
        "speaker": speaker.id.value,
        "gender": speaker.gender.value,
        "age": speaker.age_range.value,
        "accent": speaker.accent.value,
        "environment": utterance.environment.value,
    }
    return {name: value for name, value in named.items() if value != UNKNOWN}


def json_line(row: dict[str, Any]) -> str:
    """A row as one line of JSON, its keys in the order that they have."""
    return json.dumps(row, ensure_ascii=False)


def seconds(value: float) -> float:
    """A time as it is written: to the microsecond, never a negative zero."""
    return round(float(value), 6) + 0.0
