"""A row of messages and audios, in whichever columns: its turns, what names its audios, and what else it says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.formats.conversations.dataset_info import RowForm
from llaso_data.formats.conversations.kept import storable
from llaso_data.formats.conversations.tags import Slot, Turn, assembled, tagged
from llaso_data.formats.rows.source_row import RowError, is_empty
from llaso_data.records import SPLITS, Message
from llaso_data.uris import extension, scheme

INFO = "audio_info"
"""Column with what is known of each audio, in their order: an object each."""
SAYING = ("task", "language", "split")
KEPT = "kept"
"""Column with further fields, as the text of a JSON object."""
_TOOLS = frozenset(("tool", "tools", "observation", "function", "function_call", "tool_call", "tool_response"))
_LONGEST_PATH = 4096
_NAMING = ("audio", "audio_url", "input_audio", "path", "url")
_OTHER_MEDIA = frozenset(("image", "image_url", "video", "video_url", "input_image", "file"))


@dataclass(frozen=True, slots=True)
class MessageRow:
    """One row.

    Attributes:
        messages: What is said by whom.
        audios: A path or URI of each audio.
        info: What the row says of each audio, by name.
        task: Name of the task; None: the row says none. ``language`` and ``split`` likewise.
        kept: Columns that have no place in a sample.
    """

    messages: tuple[Message, ...]
    audios: tuple[str, ...]
    info: tuple[Mapping[str, Any], ...]
    task: str | None
    language: str | None
    split: str | None
    kept: dict[str, Any]


def parsed_row(row: Mapping[str, Any], form: RowForm) -> MessageRow:
    """Read a row.

    Raises:
        RowError: What is wrong with it: tags and audios of different number, a role that has no place, sound inside.
    """
    messages, named = assembled(_turns(row, form), _listed(row.get(form.audios)))
    audios = tuple(map(_path, named))
    task, language, split = (_said(row, name) for name in SAYING)
    if split is not None and split not in SPLITS:
        raise RowError(f"the split {split[:80]!r} is none of {', '.join(SPLITS)}")
    used = form.columns() | {INFO, KEPT, *SAYING}
    kept = storable({name: value for name, value in row.items() if name not in used and value not in (None, "", [])})
    return MessageRow(
        messages, audios, _info(row.get(INFO), len(audios)), task, language, split, {**_kept(row.get(KEPT)), **kept}
    )


def _turns(row: Mapping[str, Any], form: RowForm) -> list[Turn]:
    turns = []
    if isinstance(system := row.get(form.system), str) and system:
        turns.append(tagged("system", system))
    if form.turns is not None:
        said = row.get(form.turns)
        if not isinstance(said, list):
            raise RowError(f"`{form.turns}` is no list of messages")
        return turns + [_turn(turn, form) for turn in said]
    for pair in row.get(form.history) or []:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise RowError(f"`{form.history}` is a list of [question, answer], and holds {str(pair)[:80]}")
        turns += [tagged("user", pair[0]), tagged("assistant", pair[1])]
    asked = [row[name] for name in form.question if not is_empty(row.get(name))]
    answer = row.get(form.answer)
    if not all(isinstance(text, str) for text in (*asked, answer)):
        raise RowError(f"`{form.question[0]}` and `{form.answer}` are texts")
    return [*turns, tagged("user", "\n".join(asked)), tagged("assistant", str(answer))]


def _turn(turn: Any, form: RowForm) -> Turn:
    if not isinstance(turn, Mapping) or form.role not in turn or form.content not in turn:
        raise RowError(f"a message is an object with `{form.role}` and `{form.content}`")
    said = turn[form.role]
    role = form.roles.get(said) if isinstance(said, str) else None
    if role is None and (said in _TOOLS if isinstance(said, str) else False):
        raise RowError(f"a message is by {said!r}; calls of tools have no place in a sample: take the row out")
    if role is None:
        raise RowError(f"a message is by {str(said)[:80]!r}; roles are system, user, assistant")
    content = turn[form.content]
    if isinstance(content, str):
        return tagged(role, content)
    if not isinstance(content, list) or not content:
        raise RowError("what a message says is a text or a list of parts")
    return Turn(role, tuple(map(_piece, content)))


def _piece(part: Any) -> str | Slot:
    """A part of a list of contents: ``{"type": "text"}``, or an audio in one of the spellings in use."""
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind in ("audio", "audio_url", "input_audio"):
        return Slot(next((part[name] for name in _NAMING if name in part), None))
    if kind in _OTHER_MEDIA:
        raise RowError(f"a part of a message is of the type {kind!r}; samples hold text and audio: take the row out")
    raise RowError(f"a part of a message is neither text nor audio: {str(part)[:80]}")


def _listed(value: Any) -> Sequence[Any]:
    if value is None or value == "":
        return ()
    return value if isinstance(value, list) else (value,)


def _path(named: Any) -> str:
    """The path or URI by which a row names an audio."""
    inside = "the sound itself stands in the row; write it to a file, and name the file"
    if isinstance(named, Mapping):
        if named.get("bytes"):
            raise RowError(inside)
        data = named.get("data")
        named = next((named[name] for name in ("path", "url", "audio") if named.get(name)), data)
        if named is data and isinstance(data, str) and not (extension(data) in AUDIO_EXTENSIONS or scheme(data)):
            raise RowError(inside)
    if not isinstance(named, str) or not named.strip() or "\0" in named:
        raise RowError("an audio is named by its path")
    if named.startswith("data:") or (len(named) > _LONGEST_PATH and not scheme(named)):
        raise RowError(inside)
    return named.strip()


def _said(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    if is_empty(value):
        return None
    if not isinstance(value, str):
        raise RowError(f"`{name}` is a text, and holds {str(value)[:80]}")
    return value


def _info(value: Any, count: int) -> tuple[Mapping[str, Any], ...]:
    if is_empty(value) or value == []:
        return ({},) * count
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value) or len(value) != count:
        raise RowError(f"`{INFO}` is a list of an object for each of the {count} audios")
    return tuple(value)


def _kept(value: Any) -> dict[str, Any]:
    if is_empty(value):
        return {}
    try:
        kept = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        kept = value
    return storable(kept) if isinstance(kept, dict) else {KEPT: storable(kept)}
