"""AISHELL-3: ``SPLIT/content.txt`` with lines "ID.wav<tab>字 pin1 字 pin2", and ``SPLIT/wav/SSB0005/ID.wav``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.audio_files import AudioFiles
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.list_rows import cells, file_name, list_rows, note_not_read, text_lines, with_unlisted
from llaso_data.formats.rows.mapping import keeps_columns
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, file_row
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec

LIST = "content.txt"
WAVS = "wav"
SPEAKERS = "spk-info.txt"
COLUMNS = ("id", "text", "pinyin")
_SPEAKER_CHARACTERS = 7  # SSB0005 of SSB00050001
_LINE = re.compile(r"\ufeff?[\w-]+\.wav\t[^\t]+")
_PINYIN = re.compile(r"[a-zü:]+\d")
_AGES = {"A": "0-13", "B": "14-25", "C": "26-40", "D": "41-"}

Speakers = Mapping[str, SourceMetadata]


def recognises(tree: FileTree) -> str | None:
    """A ``content.txt`` whose first line is "ID.wav<tab>TEXT", with a folder ``wav`` beside it."""
    lists = _lists(tree)
    return f"{lists[0]} has lines `ID.wav<tab>TEXT`, and {WAVS} is beside it" if lists else None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every line of the splits' lists, whether or not its audio is there, and audio without a line.

    The text is the characters; a map may take ``{pinyin}``. ``spk-info.txt``, in the source or above it, gives gender,
    age group and accent.

    Raises:
        LLaSOError: There is no list, or neither a line nor audio.
    """
    lists = _lists(tree)
    if not lists:
        raise LLaSOError(f"{spec.path}: no {LIST} with a folder {WAVS} beside it; is this the folder of AISHELL-3?")
    audio = AudioFiles(tree, spec.pattern)
    speakers = _speakers(tree)
    make = partial(_line_row, tree, audio, speakers, keeps_columns(spec.map, tree.labels))
    rows = (row for path in lists for row in list_rows(tree, path, partial(make, path[: -len(LIST)])))
    note_not_read(tree, {*lists, *(path for path, _, _ in tree.not_audio if path.rpartition("/")[2] == SPEAKERS)})
    if_none = f"{spec.path}: {', '.join(lists)} hold no line, and there is no audio; fetch it again"
    return sorted_rows(with_unlisted(tree, audio, rows, partial(_metadata, speakers)), if_none=if_none)


def _lists(tree: FileTree) -> list[str]:
    paths = [file.path for file in tree.not_audio if file.path.rpartition("/")[2] == LIST]
    return [path for path in paths if any(tree.below(f"{path[: -len(LIST)]}{WAVS}")) and _is_list(tree, path)]


def _is_list(tree: FileTree, path: str) -> bool:
    _, first = next(text_lines(tree.uri(path)), (1, ""))
    return isinstance(first, str) and _LINE.fullmatch(first) is not None


def _line_row(
    tree: FileTree, audio: AudioFiles, speakers: Speakers, with_fields: bool, split: str, line: str, where: str
) -> SourceRow:
    name, said = cells(line, "\t", ("ID.wav", "TEXT"))
    id = file_name(file_name(name).removesuffix(".wav"))
    path = f"{split}{WAVS}/{file_name(id[:_SPEAKER_CHARACTERS])}/{id}.wav"
    file = audio.take(path) or ListedFile(path, 0, "")
    characters, pinyin = _parted(said.split())
    row = file_row(tree, file, replace(_metadata(speakers, file), text=characters), where=where)
    return replace(row, fields=dict(zip(COLUMNS, (id, characters, pinyin), strict=True))) if with_fields else row


def _parted(tokens: list[str]) -> tuple[str, str]:
    """The characters, without spaces, and the pinyin, which follows each of them.

    Where a token is missing, pinyin is what looks like it.
    """
    if len(tokens) % 2 == 0:
        characters, pinyin = tokens[::2], tokens[1::2]
    else:
        characters = [token for token in tokens if not _PINYIN.fullmatch(token)]
        pinyin = [token for token in tokens if _PINYIN.fullmatch(token)]
    if not characters:
        raise RowError("no character in it; characters and pinyin alternate")
    return "".join(characters), " ".join(pinyin)


def _metadata(speakers: Speakers, file: ListedFile) -> SourceMetadata:
    name = file.path.rpartition("/")[2][:_SPEAKER_CHARACTERS]
    return speakers.get(name) or SourceMetadata(language="zh", speaker=name)


def _speakers(tree: FileTree) -> dict[str, SourceMetadata]:
    """Speaker → what ``spk-info.txt`` says: "SSB0005<tab>B<tab>female<tab>north", with comments after ``#``."""
    inside = (file.path for file in tree.not_audio if file.path.rpartition("/")[2] == SPEAKERS)
    above = storage.join(tree.root.rpartition("/")[0], SPEAKERS)
    uris = [tree.uri(path) for path in inside] or [above]
    found: dict[str, SourceMetadata] = {}
    for uri in uris:
        if not storage.exists(uri):
            continue
        rows = (line.partition("#")[0].split() for _, line in text_lines(uri) if isinstance(line, str))
        for name, age, gender, accent in (row for row in rows if len(row) == 4):
            about = SourceMetadata(language="zh", speaker=name, age=_AGES.get(age, age), gender=gender)
            found[name] = about if accent == "others" else replace(about, accent=accent)
    return found


LAYOUT = Layout(
    name="aishell3",
    title="AISHELL-3",
    recognised_by="`content.txt` with lines `ID.wav<tab>TEXT`, and a folder `wav` beside it",
    unit="a line or an audio file",
    container="the folder",
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
