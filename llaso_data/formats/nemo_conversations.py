"""NeMo's multimodal conversations: JSON lines with ``id`` and ``conversations``, a list of turns of text or audio.

A turn is ``{"from": "User", "type": "audio", "value": PATH, "duration": 2.5}`` or ``{…, "type": "text", …}``.
Turns of one speaker that follow each other are one message. ``set.tar/member.wav`` is a member of a tar. Audios of
``manifest_N.jsonl`` are members of the ``audio_N.tar`` beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, table_inside
from llaso_data.formats.files.shards import named_files
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.conversation import SourceConversation, bad_conversation
from llaso_data.formats.rows.source_row import RowError, SourceRow, describe_error
from llaso_data.formats.tables.columns import audio_location, audio_name, audio_stat, stated_duration, time_span
from llaso_data.formats.tables.nemo_columns import PIPE, marked
from llaso_data.formats.tables.nemo_sets import numbered_tar, tarred_sets
from llaso_data.formats.tables.table_rows import JSON_EXTENSIONS, first_row, table_kind, table_rows
from llaso_data.formats.writing.attributes import json_line, seconds
from llaso_data.formats.writing.writer import LayoutWriter, Part, SoundedSample
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Message, Sample

TURNS = "conversations"
MANIFEST = "manifest.jsonl"
_SPOKEN_BY = {"user": "User", "assistant": "Assistant", "system": "System"}
_MEMBER = re.compile(r"(.+?\.tar)/(.+)")
_EVIDENCE = "the first of its conversations has turns with a type"
_USED = frozenset((TURNS, "id", "custom"))


def recognises(tree: FileTree) -> str | None:
    """A JSON table whose first row has ``conversations`` with turns that say their ``type``; or its folder."""
    inner = table_inside(tree, MANIFEST)
    if inner.is_file and "{" not in inner.root:
        return _EVIDENCE if _has_turns(inner.root) else None
    shards = next(iter(_shards(tree, None)), None)
    return _EVIDENCE if shards is not None and _has_turns(shards.uri) else None


def _has_turns(uri: str) -> bool:
    turns = (first_row(uri) or {}).get(TURNS)
    first = turns[0] if isinstance(turns, list) and turns else None
    return isinstance(first, dict) and {"from", "type", "value"} <= first.keys()


class _Table(NamedTuple):
    """A file of conversations: its folder, its path in that, and the path of the tar that has its audios.

    ``lacks_tar``: There should be a tar, and is none.
    """

    root: str
    path: str
    tar: str | None = None
    lacks_tar: bool = False

    @property
    def uri(self) -> str:
        return storage.join(self.root, self.path)


def read_conversations(spec: SourceSpec, tree: FileTree) -> Iterator[SourceConversation | Failure]:
    """Every row, in the order of the files and their lines.

    Raises:
        LLaSOError: The source is neither a JSON table nor tars with theirs.
    """
    inner = table_inside(tree, MANIFEST)
    if inner.is_file and "{" not in inner.root and table_kind(inner.root) in JSON_EXTENSIONS:
        root, _, name = inner.root.rpartition("/")
        tar = numbered_tar(name)
        in_tar = tar is not None and storage.exists(storage.join(root, tar))
        return _conversations(tree, [_Table(root, name, tar if in_tar else None)])
    if not (tables := list(_shards(tree, spec.pattern))):
        raise LLaSOError(
            f"{spec.path}: NeMo's conversations are JSON lines, or audio_N.tar with manifest_N.jsonl; name the file or "
            "folder"
        )
    return _conversations(tree, tables)


def _shards(tree: FileTree, pattern: str | None) -> Iterator[_Table]:
    """The manifests of tars, in the order of their folders and numbers."""
    try:
        files = named_files(tree)
    except LLaSOError:
        if pattern is not None:
            raise
        return
    for one in tarred_sets(tree, files, pattern):
        for number, path in sorted(one.sharded.items()):
            yield _Table(files.root, path, one.tars.get(number), number not in one.tars)


def _conversations(tree: FileTree, tables: list[_Table]) -> Iterator[SourceConversation | Failure]:
    for table in tables:
        for number, row in table_rows(table.uri):
            where = f"{table.path}:{number}"
            if isinstance(row, str):
                yield bad_conversation(table.root, where, row)
            elif (why := marked(row)) is not None:
                tree.note(why, 1)
            elif table.lacks_tar:
                yield bad_conversation(table.root, where, "its tar is not there; fetch it", reason="missing")
            else:
                try:
                    yield _conversation(table, number, row)
                except Exception as error:
                    yield bad_conversation(table.root, where, describe_error(error))


def _conversation(table: _Table, number: int, row: Mapping[str, Any]) -> SourceConversation:
    """Raises RowError that says what is wrong with the row."""
    turns = row.get(TURNS)
    if not isinstance(turns, list) or not turns:
        raise RowError(f"`{TURNS}` is a list of turns; got {str(turns)[:40]!r}")
    where = f"{table.path}:{number}"
    audios: list[SourceRow] = []
    said: list[tuple[str, list[str | int]]] = []
    for place, turn in enumerate(turns, 1):
        role, content = _turn(turn, place)
        part: str | int = content if isinstance(content, str) else len(audios)
        if not isinstance(content, str):
            audios.append(_audio(content, table, where))
        if said and said[-1][0] == role:
            said[-1][1].append(part)
        else:
            said.append((role, [part]))
    stated = {name: row[name] for name in ("task", "lang", "split") if isinstance(row.get(name), str)}
    kept = {key: value for key, value in row.items() if key not in _USED and key not in stated}
    custom = row.get("custom")
    kept |= custom if isinstance(custom, dict) else {"id": row["id"]} if "id" in row else {}
    return SourceConversation(
        root=table.root,
        where=where,
        messages=tuple(Message.of(role, *parts) for role, parts in said),
        audios=tuple(audios),
        task=stated.get("task"),
        language=stated.get("lang"),
        split=stated.get("split"),
        file=table.path,
        row=number,
        kept=kept or None,
    )


def _turn(turn: Any, place: int) -> tuple[str, str | Mapping[str, Any]]:
    """The role of a turn, and its text, or the turn itself where it is audio."""
    if not isinstance(turn, dict):
        raise RowError(f"turn {place} is no JSON object")
    role = str(turn.get("from", "")).lower()
    if role not in _SPOKEN_BY:
        raise RowError(f"turn {place} is from {str(turn.get('from'))[:40]!r}; User, Assistant and System are known")
    if turn.get("type") == "audio":
        return role, turn
    if turn.get("type") != "text" or not isinstance(turn.get("value"), str):
        raise RowError(f"turn {place} is neither a text nor an audio: its type is {str(turn.get('type'))[:40]!r}")
    return role, turn["value"]


def _audio(turn: Mapping[str, Any], table: _Table, where: str) -> SourceRow:
    named = audio_name(turn.get("value"))
    if named.startswith(PIPE):
        raise RowError("`pipe:` names a command, and no command of a corpus is run; fetch the audio, and name the file")
    in_tar = _MEMBER.fullmatch(named)
    container, member = (named, None) if in_tar is None else in_tar.groups()
    if in_tar is None and table.tar is not None:
        container, member = storage.join(table.root, table.tar), named
    path, uri = audio_location(container, table.uri.rpartition("/")[0])
    if uri.startswith(f"{table.root}/"):
        path = uri[len(table.root) + 1 :]
    size_bytes, version = audio_stat(uri)
    times = {"start": turn.get("offset"), "end": None, "duration": turn.get("duration")}
    start_s, end_s = time_span(times)
    return SourceRow(
        path=path,
        uri=uri,
        root=table.root,
        container=table.uri,
        member=member,
        start_s=start_s,
        end_s=end_s,
        size_bytes=0 if member is not None else size_bytes,
        version=version,
        where=where,
        stated_s=stated_duration(times),
    )


def write(part: Part, samples: Iterable[SoundedSample]) -> None:
    """Write the lines of a manifest, and the sounds that are not pointed to."""
    for sounded in samples:
        sample = sounded.sample
        turns: list[dict[str, Any]] = []
        for message in sample.messages:
            for content in message.content:
                turns.append({"from": _SPOKEN_BY[message.role], "type": content.type, "value": content.text})
                if content.audio is not None:
                    turns[-1] |= _written_audio(part, sounded, content.audio)
        row: dict[str, Any] = {"id": sounded.key, TURNS: turns, "task": sample.task}
        row |= {name: value for name, value in (("lang", sample.language), ("split", sample.split)) if value}
        if sample.provenance is not None and sample.provenance.kept:
            row["custom"] = sample.provenance.kept
        part.line(MANIFEST, json_line(row))


def _written_audio(part: Part, sounded: SoundedSample, number: int) -> dict[str, Any]:
    sound = sounded.sounds[number]
    path = part.sound(sounded, number)
    turn: dict[str, Any] = {"value": path if sound.member is None else f"{path}/{sound.member}"}
    if sound.start_s is not None:
        turn["offset"] = seconds(sound.start_s)
    return {**turn, "duration": seconds(sound.duration_s)}


def refuses(sample: Sample) -> str | None:
    """Messages of one speaker that follow each other would be read as one."""
    roles = [message.role for message in sample.messages]
    follows = any(role == after for role, after in pairwise(roles))
    return "two messages of one speaker follow each other, which NeMo reads as one" if follows else None


LAYOUT = Layout(
    name="nemo_conversations",
    title="NeMo's multimodal conversations",
    recognised_by="a JSON table whose first row has `conversations` with turns that say `type`, also as "
    "`manifest_N.jsonl` with `audio_N.tar`",
    unit="a conversation",
    container="the file",
    before=("nemo", "webdataset", "texts", "manifest", "folder"),
    recognises=recognises,
    read_conversations=read_conversations,
    writer=LayoutWriter(
        write=write,
        holds=frozenset(("conversation", "instruction", "task", "language", "split", "kept")),
        refuses=refuses,
        spans=True,
        members=True,
        tars_only=True,
    ),
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
