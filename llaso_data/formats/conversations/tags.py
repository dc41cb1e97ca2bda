"""Turns whose texts have tags for audios, as messages and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from llaso_data.formats.rows.source_row import RowError
from llaso_data.records import ContentPart, Message, Sample

TAG = "<audio>"
TAGS = (TAG, "<|AUDIO|>", "<AUDIO>")
ANY_TAG = re.compile("|".join(map(re.escape, TAGS)))


class Slot(NamedTuple):
    """The place of an audio in a message: what names the audio there; None: the next of those listed beside."""

    named: Any = None


class Turn(NamedTuple):
    """What one side says.

    Attributes:
        role: ``system``, ``user`` or ``assistant``.
        pieces: Texts and places of audios.
        text: The text that the places were found in by its tags; None: they were stated as such.
    """

    role: str
    pieces: tuple[str | Slot, ...]
    text: str | None = None

    @property
    def open_slots(self) -> int:
        """How many of the listed audios it takes."""
        return sum(isinstance(piece, Slot) and piece.named is None for piece in self.pieces)


def tagged(role: str, text: str, tags: re.Pattern[str] = ANY_TAG) -> Turn:
    """The turn of a text with tags. Texts stay as they are; empty ones beside a tag are left out."""
    first, *others = tags.split(text)
    pieces: list[str | Slot] = [first] if first or not others else []
    for piece in others:
        pieces += [Slot(), piece] if piece else [Slot()]
    return Turn(role, tuple(pieces), text)


def assembled(turns: Sequence[Turn], listed: Sequence[Any]) -> tuple[tuple[Message, ...], list[Any]]:
    """The messages of turns, and what names their audios, in the order of the messages.

    Where only the tags outside of answers are as many as the listed audios, a tag in an answer is text. Where one
    audio is listed and there is no tag, it comes first in the first message by the user.

    Args:
        turns: At least one.
        listed: What is listed beside the turns; the n-th open place takes the n-th.

    Raises:
        RowError: The places are not as many as the listed audios, or there is no message.
    """
    if not turns:
        raise RowError("there is no message")
    slots = sum(turn.open_slots for turn in turns)
    asked = sum(turn.open_slots for turn in turns if turn.role != "assistant")
    if slots != len(listed):
        if asked == len(listed):
            turns = [_as_text(turn) if turn.role == "assistant" else turn for turn in turns]
        elif len(listed) == 1 and not asked and any(turn.role == "user" for turn in turns):
            turns = _audio_first([_as_text(turn) for turn in turns])
        else:
            counts = f"{_counted(slots, 'audio tag')} and {_counted(len(listed), 'audio')}"
            raise RowError(f"{counts}; write one tag ({TAG}) for each audio, in their order")
    rest, messages = iter(listed), list[Message]()
    audios: list[Any] = []
    for turn in turns:
        parts: list[ContentPart] = []
        for piece in turn.pieces:
            if isinstance(piece, Slot):
                parts.append(ContentPart.of(len(audios)))
                audios.append(next(rest) if piece.named is None else piece.named)
            else:
                parts.append(ContentPart.of(piece))
        messages.append(Message(role=turn.role, content=tuple(parts)))
    return tuple(messages), audios


def _as_text(turn: Turn) -> Turn:
    return turn if turn.text is None else Turn(turn.role, (turn.text,))


def _audio_first(turns: list[Turn]) -> list[Turn]:
    first = next(number for number, turn in enumerate(turns) if turn.role == "user")
    turn = turns[first]
    turns[first] = Turn(turn.role, (Slot(), *(piece for piece in turn.pieces if piece != "")))
    return turns


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def tagged_text(message: Message) -> str:
    """The message as one text, with :data:`TAG` for each audio."""
    return "".join(TAG if part.text is None else part.text for part in message.content)


def text_with_tag(sample: Sample, roles: Sequence[str], tags: re.Pattern[str] = ANY_TAG) -> str | None:
    """The first tag that a text of these roles holds as it is, not as an audio; None: none does."""
    for message in sample.messages:
        for part in message.content:
            if part.text and message.role in roles and (found := tags.search(part.text)):
                return found[0]
    return None


def neighbouring_texts(sample: Sample) -> bool:
    """Whether two texts of a message follow each other, or one beside an audio is empty: one text cannot hold that."""
    for message in sample.messages:
        kinds = [part.type for part in message.content]
        if any(one == other == "text" for one, other in pairwise(kinds)):
            return True
        if len(kinds) > 1 and any(part.text == "" for part in message.content):
            return True
    return False
