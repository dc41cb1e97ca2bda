"""What a row has that tasks may need: the fields of an utterance, and labels that a source has beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llaso_data.instruct.tasks import Tasks
from llaso_data.instruct.tasks.build import AUDIO, SECOND_AUDIO
from llaso_data.records import ESTIMATED, UNKNOWN, Attribute, Utterance

FIELDS: dict[str, str] = {
    AUDIO: "the recording",
    "text": "what is said in it",
    "language": "the language that is spoken",
    "speaker": "the speaker's id",
    "gender": "the speaker's gender",
    "age": "the speaker's age, as a decade",
    "accent": "the speaker's accent",
    "environment": "where the recording was made",
}
"""The fields that an utterance itself has. Every other field is a label or a text of the row."""

CONTEXT = "context"
"""The text that an ``instruction`` is about, where a row has both."""

_DECADES = {
    "10-19": "teens", "20-29": "twenties", "30-39": "thirties", "40-49": "forties", "50-59": "fifties",
    "60-69": "sixties", "70-79": "seventies", "80-89": "eighties", "90-99": "nineties",
}  # fmt: skip


def fields_of(utterance: Utterance, labels: Mapping[str, Any] | None = None, estimated: bool = True) -> dict[str, Any]:
    """The fields of an utterance that are known, with the labels of its row.

    Args:
        utterance: With what its source says of it.
        labels: Further fields by name; they win over the utterance's. None is a field that is not known.
        estimated: Whether what a model estimated counts as known.

    Returns:
        Values by field; ``audio`` is the source of the sound. A field that is not known is left out.
    """
    speaker = utterance.speaker

    def known(attribute: Attribute) -> str:
        return UNKNOWN if attribute.origin == ESTIMATED and not estimated else attribute.value

    fields: dict[str, Any] = {
        AUDIO: utterance.source if utterance.failure is None else None,
        "text": utterance.text,
        "language": utterance.language,
        "speaker": known(speaker.id),
        "gender": known(speaker.gender),
        "age": _DECADES.get(known(speaker.age_range)),
        "accent": known(speaker.accent),
        "environment": known(utterance.environment),
        **(labels or {}),
    }
    return {name: value for name, value in fields.items() if value is not None and value != UNKNOWN}


def label_fields(tasks: Tasks) -> frozenset[str]:
    """Names of all fields that tasks read of a row and that no utterance has: what goes in, what comes out, labels."""
    names = {CONTEXT}
    for build in tasks.build.values():
        names |= {build.input, build.answer.field, *build.needs, *build.shows}
        if build.clips == 2:
            names.add(SECOND_AUDIO)
    return frozenset(names - FIELDS.keys())
