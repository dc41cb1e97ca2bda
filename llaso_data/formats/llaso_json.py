"""LLaSO's conversations as they are published: JSON lists of ``voice`` and ``conversations``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.conversations.json_files import ENDINGS, conversation_files, recognised
from llaso_data.formats.conversations.kept import DERIVED, kept_fields
from llaso_data.formats.conversations.llaso_audio import FolderAudio
from llaso_data.formats.conversations.llaso_files import (
    AUDIO_TEXT,
    MODALITIES,
    PURE_AUDIO,
    TEXT_AUDIO,
    llaso_file,
)
from llaso_data.formats.conversations.llaso_reader import TAGGED, Find, FoundAudio, LlasoReader
from llaso_data.formats.conversations.tags import (
    TAG,
    neighbouring_texts,
    tagged_text,
    text_with_tag,
)
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.conversation import UNNAMED_TASK, SourceConversation
from llaso_data.formats.tables.columns import audio_location, audio_stat
from llaso_data.formats.tables.json_blocks import json_blocks
from llaso_data.formats.writing.writer import LayoutWriter, Part, SoundedSample
from llaso_data.recipe import SourceSpec
from llaso_data.records import UNKNOWN, Attribute, Failure, Sample, Utterance

if TYPE_CHECKING:
    pass

_FORM = "`voice` and `conversations`"
_WRITTEN_ROLES = {"user": "human", "assistant": "gpt", "system": "system"}


def _is_row(row: Mapping[str, Any]) -> bool:
    return "voice" in row and isinstance(row.get("conversations"), list)


_NOT_COMMERCIAL = ("LLaSO-Instruct", "LLaSO-Eval")


def recognises(tree: FileTree) -> str | None:
    """A JSON file whose first row has the two fields, or a folder with such a file."""
    path = recognised(tree, _is_row)
    return None if path is None else f"the first row of {path} has {_FORM}"


def read_conversations(spec: SourceSpec, tree: FileTree) -> Iterator[SourceConversation | Failure]:
    """Every row of every file, in the order of their paths and places.

    Raises:
        LLaSOError: No file has such rows.
    """
    return _conversations(tables(spec, tree), tree, license_of(spec, tree))


def tables(spec: SourceSpec, tree: FileTree) -> list[tuple[str, str]]:
    """The files of a source that hold such rows: (path relative to the source's folder, URI), in their order.

    Raises:
        LLaSOError: No file has such rows.
    """
    files = conversation_files(tree, spec.pattern, _is_row, _FORM)
    if not files:
        raise LLaSOError(f"{spec.path}: no JSON in it whose first row has {_FORM}")
    return files


def license_of(spec: SourceSpec, tree: FileTree) -> str | None:
    """The licence under which the hub publishes LLaSO-Instruct and LLaSO-Eval, by the name of the set."""
    if spec.license is not None:
        return spec.license
    names = (spec.corpus or "", *tree.root.split("/"))
    return "cc-by-nc-4.0" if any(name.startswith(_NOT_COMMERCIAL) for name in names) else None


def _conversations(
    files: list[tuple[str, str]], tree: FileTree, license: str | None
) -> Iterator[SourceConversation | Failure]:
    from llaso_data.formats.conversations.llaso_rows import LlasoRow, llaso_row

    if tree.is_file:
        root, find, folder = *_beside(tree.root), None
    else:
        folder = FolderAudio(tree)
        root, find = tree.root, folder.find
        yield from folder.failures
    for path, uri in files:
        reader = LlasoReader(root, uri[len(root) + 1 :], uri, llaso_file(uri if tree.is_file else path), find, license)
        for rows in json_blocks(uri, LlasoRow, llaso_row):
            for number, row in enumerate(rows.rows, rows.first):
                yield reader.conversation(row, number)
    if folder is not None:
        folder.note_unused()


def _beside(file: str) -> tuple[str, Find]:
    """The folder that the audio of one file is below, and how it is found there."""
    root = file.rpartition("/")[0]
    if root.rpartition("/")[2] in MODALITIES:
        root = root.rpartition("/")[0]
    return root, partial(_stated, root, lru_cache(maxsize=4096)(audio_stat))


def _stated(root: str, stat: Callable[[str], tuple[int, str]], path: str) -> FoundAudio | None:
    _, uri = audio_location(path, root)
    size_bytes, version = stat(uri)
    return FoundAudio(uri, size_bytes, version) if version or size_bytes else None


def refuses(sample: Sample) -> str | None:
    """Why a sample is no row of this layout."""
    if not sample.audios:
        return "it has no audio, and `voice` names one"
    answers = (message for message in sample.messages if message.role == "assistant")
    if any(part.audio is not None for message in answers for part in message.content):
        return "an answer is spoken, and answers are text in this layout"
    if text_with_tag(sample, ("system", "user"), TAGGED) is not None:
        return f"a text of the question holds {TAG}, which stands for an audio in this layout"
    return "two texts of a message follow each other" if neighbouring_texts(sample) else None


def write(part: Part, samples: Iterable[SoundedSample]) -> None:
    """One JSON list for each modality, task and split."""
    for sounded in samples:
        sample = sounded.sample
        paths = [part.sound(sounded, number) for number in range(len(sample.audios))]
        row: dict[str, Any] = {
            "voice": paths,
            "conversations": [
                {"from": _WRITTEN_ROLES[message.role], "value": tagged_text(message)} for message in sample.messages
            ],
            **_facts(sample),
        }
        if llaso_file(f"{sample.task}.json").task != sample.task and sample.task != UNNAMED_TASK:
            row["task"] = sample.task
        kept = kept_fields(sample.provenance.kept if sample.provenance else None)
        row.update((name, value) for name, value in kept.items() if name not in row)
        task = re.sub(r"[^\w-]", "_", sample.task)
        name = f"{_modality(sample)}/{task}_{sample.split}.json" if sample.split else f"{_modality(sample)}/{task}.json"
        part.line(name, json.dumps(row, ensure_ascii=False), order="json_list")


def _modality(sample: Sample) -> str:
    derived = (sample.provenance.kept or {}).get(DERIVED) if sample.provenance else None
    if isinstance(derived, dict) and derived.get("modality") in MODALITIES:
        return str(derived["modality"])
    return {"audio": PURE_AUDIO, "audio+text": AUDIO_TEXT}.get(sample.modality, TEXT_AUDIO)


def _facts(sample: Sample) -> dict[str, Any]:
    """What is known of the language and the speakers; a list where the audios differ."""
    values: dict[str, Any] = {"language": sample.language}
    fields: dict[str, Callable[[Utterance], Attribute]] = {
        "speaker_id": lambda audio: audio.speaker.id,
        "gender": lambda audio: audio.speaker.gender,
        "age": lambda audio: audio.speaker.age_range,
        "accent": lambda audio: audio.speaker.accent,
    }
    for name, get in fields.items():
        known = [None if (one := get(audio).value) == UNKNOWN else one for audio in sample.audios]
        values[name] = known[0] if len(set(known)) == 1 else known
    return {name: value for name, value in values.items() if value is not None}


LAYOUT = Layout(
    name="llaso_json",
    title="LLaSO's JSON",
    recognised_by="JSON whose first row has `voice` and `conversations`, or a folder with such a file",
    unit="a row",
    container="each JSON file",
    endings=ENDINGS,
    before=("messages", "webdataset", "texts", "manifest", "folder"),
    recognises=recognises,
    read_conversations=read_conversations,
    writer=LayoutWriter(
        write=write,
        holds=frozenset(
            ("language", "speaker", "gender", "age", "accent", "task", "split", "instruction", "kept", "conversation")
        ),
        refuses=refuses,
    ),
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
