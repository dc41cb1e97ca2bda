"""The rows of tables with sound inside as conversations: ``messages`` or ``conversations``, and their audios."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.rows.conversation import SourceConversation, bad_conversation
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, describe_error
from llaso_data.formats.tables.columns import COLUMN_NAMES, audio_location, audio_stat, cell_text, metadata_of
from llaso_data.formats.tables.sound_rows import asked_of
from llaso_data.formats.tables.sound_tables import SoundTable, open_sound_table, sound_path
from llaso_data.io.table_cells import cell_name, sound_places
from llaso_data.records import SPLITS, ContentPart, Failure, Message

FACTS, KEPT = "audio_facts", "kept"
"""Columns of our own tables: what is known of each audio, and the fields of the source that have no other place."""
Stat = Callable[[str], tuple[int, str]]
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_OF_THE_SAMPLE = ("task", "language", "split")
_TAG = re.compile(r"<audio>|<\|AUDIO\|>|<AUDIO>")
_SPOKEN = ("audio", "audio_url", "input_audio")
_FACTS = ("text", "language", "speaker", "gender", "age", "accent", "environment")


def conversations(tables: Iterable[SoundTable | SourceRow]) -> Iterator[SourceConversation | Failure]:
    """Every row of the tables, in their order. A row of a table of ours that is a transcription is a conversation."""
    for table in tables:
        if isinstance(table, SourceRow):
            yield table.failure or bad_conversation(table.root, table.where, "it cannot be read")
        else:
            yield from _of_table(table)


def _of_table(table: SoundTable) -> Iterator[SourceConversation | Failure]:
    ours = asked_of(table, {"text": ""}) or {}
    if table.talk is None and "answer" not in ours:
        detail = "it holds single sounds, and the first table conversations; name one of them as the source"
        yield bad_conversation(table.root, table.file.path, detail)
        return
    columns = [name for name in table.columns if name not in table.other_sounds]
    names_files = table.names_files()
    stat = lru_cache(maxsize=4096)(audio_stat)
    for number, row in table.rows(columns):
        where = f"{table.file.path}:{number}"
        if isinstance(row, str):
            yield bad_conversation(table.root, where, row)
            continue
        try:
            yield _conversation(table, row, number, where, stat if names_files else None)
        except Exception as error:
            yield bad_conversation(table.root, where, describe_error(error))


def _conversation(
    table: SoundTable, row: dict[str, Any], number: int, where: str, stat: Stat | None
) -> SourceConversation:
    sounds = list(_sounds(table, row))
    if table.talk is None:
        messages, heard = _asked(table, row), [0]
    else:
        messages, heard = _messages(table, row[table.talk], sounds)
    facts = _facts(row, sounds)
    audios = [_audio(table, sounds[place], facts[place], number - 1, where, stat) for place in heard]
    stated = row.get("split")
    return SourceConversation(
        root=table.root,
        where=where,
        messages=messages,
        audios=tuple(audios),
        task=cell_text(row.get("task")),
        language=cell_text(row.get("language")),
        split=stated if stated in SPLITS else table.split,
        file=table.file.path,
        row=number,
        kept=_kept(table, row),
    )


class _Sound:
    """One place for a sound in a row: its column, its number among the row's, and the file that it may name."""

    def __init__(self, column: str, place: int | None, path: str | None, known_empty: bool) -> None:
        self.column, self.place, self.path, self.known_empty = column, place, path, known_empty


def _sounds(table: SoundTable, row: Mapping[str, Any]) -> Iterator[_Sound]:
    """The places for sounds of a row, in their order: those of its lists, else its one, else those in its messages."""
    column = table.sounds or table.sound or table.talk or ""
    single = column == table.sound
    for place, value in enumerate(sound_places(table.columns[column], row.get(column))):
        path = value.get("path") if isinstance(value, dict) else None
        yield _Sound(column, None if single else place, path if isinstance(path, str) else None, value is None)


def _messages(table: SoundTable, turns: Any, sounds: list[_Sound]) -> tuple[tuple[Message, ...], list[int]]:
    """The messages, and the place of each audio that they name, in the order in which they do."""
    if not isinstance(turns, list) or not turns:
        raise RowError(f"`{table.talk}` has no message")
    said = [(_role(turn), turn.get("content", turn.get("value"))) for turn in turns if isinstance(turn, dict)]
    texts = [(role, content) for role, content in said if isinstance(content, str)]
    if len(texts) == len(said):
        return _tagged(texts, len(sounds)), list(range(len(sounds)))
    inside = table.sounds is None and table.sound is None and sound_path(table.columns[table.talk or ""]) is not None
    heard: list[int] = []
    place = 0
    messages_of: list[Message] = []
    for role, content in said:
        parts: list[ContentPart] = []
        for item in content if isinstance(content, list) else [{"type": "text", "text": content or ""}]:
            spoken = isinstance(item, dict) and item.get("type") in _SPOKEN
            if spoken:
                named = item.get("audio")
                at = place if inside else (named if isinstance(named, int) else len(heard))
                if not 0 <= at < len(sounds):
                    raise RowError(f"the messages name audio {at}, and the row has {len(sounds)}, counted from 0")
                parts.append(ContentPart.of(len(heard)))
                heard.append(at)
            elif isinstance(item, dict) and isinstance(item.get("text"), str):
                parts.append(ContentPart.of(item["text"]))
            else:
                kind = item.get("type") if isinstance(item, dict) else type(item).__name__
                raise RowError(f"a part of a message is {kind!r:.80}, and parts are text or audio")
            place += 1
        messages_of.append(Message(role=role, content=tuple(parts)))
    if not inside and len(set(heard)) < len(sounds):
        raise RowError(f"the row has {len(sounds)} audios, and its messages name {len(set(heard))} of them")
    return tuple(messages_of), heard


def _tagged(said: Sequence[tuple[str, str]], count: int) -> tuple[Message, ...]:
    """The messages of texts in which the n-th tag is the n-th audio; one audio without a tag is heard first."""
    tags = sum(len(_TAG.findall(text)) for _, text in said)
    if tags == 0 and count == 1:
        first = next((number for number, (role, _) in enumerate(said) if role == "user"), 0)
        said = [(role, f"<audio>{text}" if number == first else text) for number, (role, text) in enumerate(said)]
    elif tags != count:
        raise RowError(f"{tags} audio tags and {count} audios; give each tag its audio")
    heard = 0
    messages: list[Message] = []
    for role, text in said:
        pieces = _TAG.split(text)
        parts: list[str | int] = [pieces[0]] if pieces[0] or len(pieces) == 1 else []
        for piece in pieces[1:]:
            parts += [heard, piece] if piece else [heard]
            heard += 1
        messages.append(Message.of(role, *parts))
    return tuple(messages)


def _role(turn: Mapping[str, Any]) -> str:
    named = turn.get("role") or turn.get("from")
    role = _ROLES.get(named) if isinstance(named, str) else None
    if role is None:
        raise RowError(f"a message is by {named!r:.80}; messages are by user, assistant or system")
    return role


def _asked(table: SoundTable, row: dict[str, Any]) -> tuple[Message, ...]:
    """The messages of a transcription that a table of ours holds by its columns."""
    asked = asked_of(table, row) or {}
    if "answer" not in asked:
        raise RowError("it has no text")
    question: list[str | int] = [asked["instruction"], 0] if "instruction" in asked else [0]
    return Message.of("user", *question), Message.of("assistant", asked["answer"])


def _facts(row: Mapping[str, Any], sounds: Sequence[_Sound]) -> list[Mapping[str, Any]]:
    """What is said of each audio: by our own column, else by the columns of the row where it has one audio."""
    facts = row.get(FACTS)
    if isinstance(facts, list) and len(facts) == len(sounds):
        return [one if isinstance(one, dict) else {} for one in facts]
    if len(sounds) != 1:
        return [{} for _ in sounds]
    lower = {name.lower(): value for name, value in row.items()}
    named = {ours: next((lower[name] for name in COLUMN_NAMES[ours] if lower.get(name)), None) for ours in _FACTS}
    return [{name: value for name, value in named.items() if isinstance(value, (str, int, float))}]


def _audio(
    table: SoundTable, sound: _Sound, facts: Mapping[str, Any], number: int, where: str, stat: Stat | None
) -> SourceRow:
    """The audio in a cell; with ``stat`` the file that the cell names."""
    metadata = metadata_of(facts) if facts else SourceMetadata()
    if sound.known_empty:
        raise RowError("an audio is empty")
    path, uri, version, size_bytes = table.file.path, table.uri, table.file.version, 0
    member: str | None = cell_name(sound.column, number, sound.place)
    if stat is not None:
        if not (sound.path or "").strip():
            raise RowError("an audio names no file")
        path, uri = audio_location(str(sound.path).strip(), table.root)
        member, (size_bytes, version) = None, stat(uri)
    return SourceRow(
        path=path,
        uri=uri,
        root=table.root,
        container=table.uri,
        member=member,
        metadata=metadata,
        size_bytes=size_bytes,
        version=version,
        where=where,
    )


def _kept(table: SoundTable, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields that have no place in a sample, as far as JSON holds them."""
    known = {table.talk, table.sound, table.sounds, FACTS, KEPT, "instruction", *_OF_THE_SAMPLE}
    if len(list(_sounds(table, row))) == 1:
        known |= {name for name in row for ours in _FACTS if name.lower() in COLUMN_NAMES[ours]}
    kept = {name: value for name, value in row.items() if name not in known and value is not None}
    stored = row.get(KEPT)
    try:
        ours = json.loads(stored) if isinstance(stored, str) else {}
    except (ValueError, RecursionError):
        ours = {KEPT: stored}
    kept |= ours if isinstance(ours, dict) else {KEPT: stored}
    return {name: value for name, value in kept.items() if _is_json(value)} or None


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def holds_conversations(tree: FileTree, files: Iterable[ListedFile]) -> bool:
    """Whether the first of a source's tables that has sound holds conversations."""
    for file in files:
        try:
            table = open_sound_table(tree, file)
        except LLaSOError:
            continue
        if table is not None:
            return table.talk is not None
    return False
