"""Messages and audios, a conversation a row: the JSON that LLaMA-Factory, ms-swift and others train on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.conversations.dataset_info import NAME, RowForm, form_of, forms_beside, without_file
from llaso_data.formats.conversations.json_files import ENDINGS, conversation_files, recognised
from llaso_data.formats.conversations.kept import kept_fields
from llaso_data.formats.conversations.message_rows import INFO, KEPT, SAYING, MessageRow, parsed_row
from llaso_data.formats.conversations.tags import neighbouring_texts, tagged_text, text_with_tag
from llaso_data.formats.files.file_tree import FileTree, compile_glob, open_tree
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.conversation import SourceConversation, bad_conversation
from llaso_data.formats.rows.source_row import RowError, SourceRow, describe_error
from llaso_data.formats.tables.columns import (
    audio_location,
    audio_stat,
    canonical_values,
    metadata_of,
    time_span,
)
from llaso_data.formats.tables.table_rows import table_rows
from llaso_data.formats.writing.writer import LayoutWriter, Part, SoundedSample
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import UNKNOWN, Failure, Sample, Utterance
from llaso_data.uris import extension

DATA = "data.jsonl"
"""The table that is written."""
_FORM = "messages and audios"
_MISSING = "missing"

Stat = Callable[[str], tuple[int, str]]


def _is_row(row: Mapping[str, Any]) -> bool:
    return "voice" not in row and form_of(row) is not None


def recognises(tree: FileTree) -> str | None:
    """JSON whose first row has messages, or a folder with such a file or whose dataset_info.json names files."""
    if tree.is_file:
        folder, _, name = tree.root.rpartition("/")
        forms = forms_beside(folder) if extension(tree.root) in ENDINGS else {}
        if name == NAME and forms:
            return "it names files beside it"
        if name in forms:
            return f"{NAME} beside it names it"
    elif any(file.path == NAME for file in tree.files) and _described(tree, "**/*"):
        return f"its {NAME} names files in it"
    path = recognised(tree, _is_row)
    return None if path is None else f"the first row of {path} has {_FORM}"


def read_conversations(spec: SourceSpec, tree: FileTree) -> Iterator[SourceConversation | Failure]:
    """Every row of every file, in the order of their paths and lines.

    Raises:
        LLaSOError: No file has such rows.
    """
    files = files_of(spec, tree)
    if not files:
        raise LLaSOError(f"{spec.path}: no JSON in it whose first row has {_FORM}; docs/data-format.md shows one")
    return _conversations(files)


def files_of(spec: SourceSpec, tree: FileTree) -> list[tuple[str, str, RowForm | None]]:
    """(Folder, file in it, form that dataset_info.json says) of each file of a source."""
    if tree.is_file:
        folder, _, name = tree.root.rpartition("/")
        forms = forms_beside(folder)
        if name != NAME or not forms:
            return [(folder, name, forms.get(name))]
        tree = replace(open_tree(folder, frozenset()), notes=tree.notes)
    if described := _described(tree, spec.pattern):
        for absent in sorted(forms_beside(tree.root).keys() - {file.path for file in tree.files}):
            tree.note_example(f"named by {NAME} and not there", absent)
        for elsewhere in without_file(tree.root):
            tree.note_example(f"not read: sets of {NAME} that have no file here", elsewhere)
        return [(tree.root, path, form) for path, form in described.items()]
    found = conversation_files(tree, spec.pattern, _is_row, _FORM)
    return [(tree.root, path, None) for path, _ in found]


def _described(tree: FileTree, pattern: str) -> dict[str, RowForm]:
    """The files of a folder that its dataset_info.json names."""
    matches = compile_glob(pattern).fullmatch
    forms = forms_beside(tree.root)
    there = {file.path for file in tree.files} & forms.keys()
    return {path: forms[path] for path in sorted(there) if extension(path) in ENDINGS and matches(path)}


def _conversations(files: list[tuple[str, str, RowForm | None]]) -> Iterator[SourceConversation | Failure]:
    stat = lru_cache(maxsize=4096)(audio_stat)  # many rows may share one file; the next read looks again
    for root, path, form in files:
        for number, row in table_rows(storage.join(root, path)):
            yield conversation_of(row, form, root, path, number, stat)


def conversation_of(
    row: dict[str, Any] | str, form: RowForm | None, root: str, path: str, number: int, stat: Stat = audio_stat
) -> SourceConversation | Failure:
    """The conversation of one row, or why there is none.

    Args:
        row: The row, or what is wrong with it.
        form: Where its fields stand; None: its own columns say it.
        root: URI of the folder that ``path`` is relative to.
        path: The file. Audios are relative to its folder.
        number: The row's line.
        stat: Size and version of an audio file, as :func:`~llaso_data.formats.tables.columns.audio_stat` gives them.
    """
    where = f"{path}:{number}"
    if isinstance(row, str):
        return bad_conversation(root, where, row)
    try:
        form = form or form_of(row)
        if form is None:
            raise RowError("neither `messages`, nor `conversations` or `query` and `response` beside `audios`")
        return _conversation(parsed_row(row, form), root, path, number, where, stat)
    except Exception as error:
        return bad_conversation(root, where, describe_error(error))


def _conversation(
    row: MessageRow, root: str, path: str, number: int, where: str, stat: Stat
) -> SourceConversation | Failure:
    folder = storage.join(root, path).rpartition("/")[0]
    audios = []
    for name, info in zip(row.audios, row.info, strict=True):
        values = canonical_values(info)
        values["language"] = values["language"] or row.language
        _, uri = audio_location(name, folder)
        size_bytes, version = stat(uri)
        if not version and not size_bytes:
            return bad_conversation(root, where, f"{name}: no such audio ({uri})", reason=_MISSING)
        start_s, end_s = time_span(values)
        audio = SourceRow(
            path=uri[len(root) + 1 :] if uri.startswith(f"{root}/") else uri,
            uri=uri,
            root=root,
            container=storage.join(root, path),
            start_s=start_s,
            end_s=end_s,
            metadata=metadata_of(values),
            size_bytes=size_bytes,
            version=version,
            where=where,
        )
        audios.append(audio)
    return SourceConversation(
        root=root,
        where=where,
        messages=row.messages,
        audios=tuple(audios),
        task=row.task,
        language=row.language,
        split=row.split,
        file=path,
        row=number,
        kept=row.kept,
    )


def refuses(sample: Sample) -> str | None:
    """Why a sample is no row of this layout."""
    if (tag := text_with_tag(sample, ("system", "user", "assistant"))) is not None:
        return f"a text holds {tag}, which programs that read this layout take for an audio"
    return "two texts of a message follow each other" if neighbouring_texts(sample) else None


def write(part: Part, samples: Iterable[SoundedSample]) -> None:
    """A line a sample. Every line has the same columns of the same types, as readers of tables want them."""
    for sounded in samples:
        sample = sounded.sample
        kept = kept_fields(sample.provenance.kept if sample.provenance else None)
        row: dict[str, Any] = {
            "messages": [{"role": message.role, "content": tagged_text(message)} for message in sample.messages],
            "audios": [part.sound(sounded, number) for number in range(len(sample.audios))],
            **{name: getattr(sample, name) or "" for name in SAYING},
            INFO: [_audio_info(audio) for audio in sample.audios],
            KEPT: json.dumps(kept, ensure_ascii=False) if kept else "",
        }
        part.line(DATA, json.dumps(row, ensure_ascii=False))


def _audio_info(audio: Utterance) -> dict[str, str]:
    speaker = audio.speaker
    attributes = {
        "speaker": speaker.id,
        "gender": speaker.gender,
        "age": speaker.age_range,
        "accent": speaker.accent,
        "environment": audio.environment,
    }
    known = {name: "" if one.value == UNKNOWN else one.value for name, one in attributes.items()}
    return {"text": audio.text or "", "language": audio.language or "", **known}


def describe(out: str, parts: int) -> None:
    """Write the dataset_info.json by which LLaMA-Factory reads the table."""
    entry = {
        "file_name": DATA,
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "audios": "audios"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }
    storage.write_json(storage.join(out, NAME), {"data": entry})


LAYOUT = Layout(
    name="messages",
    title="messages with audios",
    recognised_by="JSON whose first row has `messages`, or `conversations` or `query` beside `audios`, or a folder "
    "with such a file",
    unit="a row",
    container="each JSON file",
    endings=ENDINGS,
    before=("webdataset", "texts", "manifest", "folder"),
    recognises=recognises,
    read_conversations=read_conversations,
    writer=LayoutWriter(
        write=write,
        holds=frozenset(
            (
                *("text", "language", "speaker", "gender", "age", "accent", "environment"),
                *("task", "split", "instruction", "kept", "conversation"),
            )
        ),
        refuses=refuses,
        once=describe,
        made_once=(NAME,),
    ),
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
