"""The first question of a talk and its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llaso_data.formats.rows.labels import label_value
from llaso_data.formats.rows.source_row import RowError

SEVERAL = "conversations of several turns, of which the first question and its answer are taken"
BEGINS_WITH_ANSWER = "conversations that begin with an answer, which is passed over"
SYSTEM = "system messages, which are not used"
_USERS = frozenset(("user", "human", "prompter", "question"))
_ASSISTANTS = frozenset(("assistant", "gpt", "chatgpt", "bot", "model", "answer", "bing", "bard"))
_MARKS = ("?", "？", "؟", ";", "⸮")


def asked(question: str, answer: str) -> dict[str, str]:
    """A question and its answer as fields of tasks: what ends with a question mark is a question, else an instruction.

    Args:
        question: What somebody asks for.
        answer: What is right.
    """
    if question.rstrip("\"'”’」』)） ").endswith(_MARKS[:3]):
        return {"question": question, "answer": answer}
    return {"instruction": question, "output": answer}


def first_exchange(turns: Any) -> tuple[str, str, tuple[str, ...]]:
    """The first question of a talk, its answer, and what is to be noted of the rest.

    Args:
        turns: A list of ``{role, content}`` or ``{from, value}``, also as its JSON.

    Raises:
        RowError: There is no question that is followed by an answer, or something in it is no text.
    """
    if isinstance(turns, str):
        try:
            turns = json.loads(turns)
        except (ValueError, RecursionError):
            turns = None
    if not isinstance(turns, (list, tuple)) or not turns:
        raise RowError("a conversation is a list of turns, and here is none")
    notes: dict[str, None] = {}
    question: str | None = None
    for place, turn in enumerate(turns):
        role = _role(turn)
        if role is None:
            notes[SYSTEM] = None
        elif role == "user":
            question = _said(turn)
        elif question is None:
            notes[BEGINS_WITH_ANSWER] = None
        else:
            answer = _said(turn)
            if place + 1 < len(turns):
                notes[SEVERAL] = None
            return question, answer, tuple(notes)
    raise RowError("no question in it is followed by an answer")


def _role(turn: Any) -> str | None:
    """``user`` or ``assistant``; None of what the system says."""
    said = turn.get("role", turn.get("from")) if isinstance(turn, Mapping) else None
    role = said.strip().lower() if isinstance(said, str) else None
    if role in _USERS:
        return "user"
    if role in _ASSISTANTS:
        return "assistant"
    if role == "system":
        return None
    raise RowError(f"a turn is by {str(said)[:80]!r}; turns are by user (human), assistant (gpt) or system")


def _said(turn: Mapping[str, Any]) -> str:
    content = turn.get("content", turn.get("value"))
    if isinstance(content, (list, tuple)):
        content = "\n".join(_part(part) for part in content)
    if not isinstance(content, str):
        raise RowError(f"a turn says a text; got {type(content).__name__}")
    text = label_value(content)
    if text is None:
        raise RowError("a turn is empty")
    return str(text)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise RowError(f"a part of a turn is {str(kind)[:80]!r}, and there is no audio beside it; parts are texts")
