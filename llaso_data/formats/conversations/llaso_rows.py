"""The typed row of LLaSO's JSON. This module imports msgspec; it is imported when such a file is read.

The types are checked where msgspec is installed; where it is not, its class is unknown, which the comments allow.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llaso_data.formats.conversations.kept import storable
from llaso_data.formats.rows.source_row import RowError

Name = str | int | None


class Turn(msgspec.Struct, gc=False):  # type: ignore[call-arg, misc, unused-ignore]
    """What one side says."""

    speaker: str = msgspec.field(name="from")
    value: str


class LlasoRow(msgspec.Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):  # type: ignore[call-arg, misc, unused-ignore]
    """One row. What is not in the published files but for the first two is written by ``llaso-data`` itself.

    Attributes:
        voice: The path of the audio, in a list or alone.
        conversations: The turns.
        other: Fields of a row that has more than these, by name.
    """

    voice: list[str] | str
    conversations: list[Turn]
    id: Name = None
    index: Name = None
    speaker_id: Name | list[str | None] = None
    book_id: Name = None
    clip_id: Name = None
    metadata: Any = None
    meta_data: Any = msgspec.field(name="meta-data", default=None)
    answer: str | None = None
    result: str | None = None
    prediction: str | None = None
    task: str | None = None
    language: str | None = None
    gender: str | list[str | None] | None = None
    age: Name | list[str | None] = None
    accent: str | list[str | None] | None = None
    other: dict[str, Any] | None = msgspec.field(name="llaso_data.other", default=None)


_FIELDS = {field.encode_name: field.name for field in msgspec.structs.fields(LlasoRow)}
_OWN = frozenset(("voice", "conversations", "task", "language", "speaker_id", "gender", "age", "accent"))
KEPT = tuple((name, attribute) for name, attribute in _FIELDS.items() if name not in _OWN and attribute != "other")
"""(Name in JSON, attribute) of the fields that a sample keeps as they are."""


def llaso_row(row: dict[str, Any]) -> LlasoRow:
    """The typed row of an object with any fields.

    Raises:
        RowError: ``voice`` or ``conversations`` is missing or has another type.
    """
    for name in ("voice", "conversations"):
        if name not in row:
            raise RowError(f"no `{name}`")
    known = {name: value for name, value in row.items() if name in ("voice", "conversations")}
    other = {name: storable(value) for name, value in row.items() if name not in known}
    try:
        typed: LlasoRow = msgspec.convert(known, LlasoRow)
    except msgspec.ValidationError as error:
        raise RowError(f"a row's fields have other types ({error})") from None
    for name, value in other.items():
        attribute = _FIELDS.get(name)
        try:
            if attribute is None or attribute == "other":
                raise msgspec.ValidationError
            one = msgspec.convert({**known, name: value}, LlasoRow)
            setattr(typed, attribute, getattr(one, attribute))
        except msgspec.ValidationError:
            typed.other = {**(typed.other or {}), name: value}
    return typed
