"""What a ``dataset_info.json`` says of the files beside it: names of columns and tags, as LLaMA-Factory reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llaso_data.io import storage

NAME = "dataset_info.json"
_MOST_BYTES = 16 << 20
ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model"), "assistant"),
    "system": "system",
}
"""Whom a turn may be by → the role of its message."""


@dataclass(frozen=True, slots=True)
class RowForm:
    """Where the fields of a conversation stand in a row.

    Attributes:
        turns: Column with the list of turns; None: a question and an answer have a column each.
        role: Name in a turn of whom it is by.
        content: Name in a turn of what is said.
        roles: Whom a turn may be by → the role of its message.
        question: Columns whose texts together, on a line each, are the question.
        answer: Column of the answer.
        history: Column with pairs of earlier questions and answers.
        system: Column of what the system says first.
        audios: Column with the paths of audios.
    """

    turns: str | None = None
    role: str = "role"
    content: str = "content"
    roles: Mapping[str, str] = field(default_factory=lambda: ROLES)
    question: tuple[str, ...] = ("query",)
    answer: str = "response"
    history: str = "history"
    system: str = "system"
    audios: str = "audios"

    def columns(self) -> frozenset[str]:
        """The columns that hold the conversation."""
        apart = (*self.question, self.answer, self.history) if self.turns is None else (self.turns,)
        return frozenset((*apart, self.system, self.audios))


MESSAGES = RowForm(turns="messages")
QUERY = RowForm()
ALPACA = RowForm(question=("instruction", "input"), answer="output")


def form_of(row: Mapping[str, Any]) -> RowForm | None:
    """The form that a row has by the names of its columns; None: it is no conversation of these kinds."""
    if _turns(row.get("messages"), "role", "content"):
        return MESSAGES
    if not ({"audios", "audio"} & row.keys()):
        return None
    audios = "audios" if "audios" in row else "audio"
    if _turns(row.get("conversations"), "from", "value"):
        return RowForm(turns="conversations", role="from", content="value", audios=audios)
    for form in (QUERY, ALPACA):
        if form.answer in row and form.question[0] in row:
            return RowForm(question=form.question, answer=form.answer, audios=audios)
    return None


def _turns(value: Any, role: str, content: str) -> bool:
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, Mapping) and role in first and content in first and "type" not in first


def forms_beside(folder: str) -> dict[str, RowForm]:
    """File → its form, of the files that a folder's ``dataset_info.json`` names; empty where there is none."""
    return {
        entry["file_name"]: _form(entry)
        for entry in _entries(folder).values()
        if isinstance(entry, dict) and isinstance(entry.get("file_name"), str)
    }


def without_file(folder: str) -> list[str]:
    """The sets that a folder's ``dataset_info.json`` describes without a file: they lie on a hub."""
    return [
        name
        for name, entry in _entries(folder).items()
        if not (isinstance(entry, dict) and isinstance(entry.get("file_name"), str))
    ]


def _entries(folder: str) -> dict[str, Any]:
    uri = storage.join(folder, NAME)
    try:
        if not storage.exists(uri) or storage.stat(uri)["size"] > _MOST_BYTES:
            return {}
        described = storage.read_json(uri)
    except (OSError, ValueError):
        return {}
    return described if isinstance(described, dict) else {}


def _form(entry: Mapping[str, Any]) -> RowForm:
    columns, tags = _texts(entry.get("columns")), _texts(entry.get("tags"))
    system, audios = columns.get("system", "system"), columns.get("audios", "audios")
    kind = entry.get("formatting", "alpaca")
    if kind == "alpaca":
        return RowForm(
            question=(columns.get("prompt", "instruction"), columns.get("query", "input")),
            answer=columns.get("response", "output"),
            history=columns.get("history", "history"),
            system=system,
            audios=audios,
        )
    shared_gpt = kind == "sharegpt"
    named = {tags.get(f"{name}_tag", name): role for name, role in ROLES.items() if name == role}
    return RowForm(
        turns=columns.get("messages", "conversations" if shared_gpt else "messages"),
        role=tags.get("role_tag", "from" if shared_gpt else "role"),
        content=tags.get("content_tag", "value" if shared_gpt else "content"),
        roles={**ROLES, **named},
        system=system,
        audios=audios,
    )


def _texts(value: Any) -> dict[str, str]:
    return {name: text for name, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}
