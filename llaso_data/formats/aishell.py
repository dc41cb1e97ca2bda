"""AISHELL-1: ``transcript/aishell_transcript_v0.8.txt`` with lines "ID 词 词", and ``wav/SPLIT/S0002/ID.wav``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.audio_files import AudioFiles
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.list_rows import file_name, list_rows, note_not_read, text_lines, with_unlisted
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, failed_row, file_row
from llaso_data.recipe import SourceSpec

_LIST = re.compile(r"(?:(.*)/)?transcript/aishell_transcript_v[\d.]+\.txt")
WAVS = "wav"
SPEAKERS = "speaker.info"
_SPEAKER = re.compile(r"(S\d{4})W\d+")
_PACKED = ".tar.gz"

Speakers = Mapping[str, str]
"""Speaker → M or F."""


def recognises(tree: FileTree) -> str | None:
    """A folder with a ``transcript/aishell_transcript_v0.8.txt`` and a folder ``wav`` beside ``transcript``."""
    path = next(iter(_lists(tree)), None)
    return None if path is None else f"it has {path}, and {WAVS} beside its folder"


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every line of the transcript, and audio without a line.

    The spaces between the words of a text are the corpus's own and are left out. ``speaker.info`` of
    ``resource_aishell``, where it is in the source, gives the gender. A line whose audio is nowhere fails as
    ``missing``. A note names the archives of speakers that are not unpacked.

    Raises:
        LLaSOError: There is no transcript, or neither a line nor audio.
    """
    lists = _lists(tree)
    if not lists:
        raise LLaSOError(f"{spec.path}: no transcript/aishell_transcript_v0.8.txt; is this the folder of AISHELL-1?")
    speakers = _speakers(tree)
    rows = (row for path in lists for row in _rows(spec, tree, path, speakers))
    note_not_read(tree, {*lists, *(path for path, _, _ in tree.not_audio if _is_read(path))})
    if_none = f"{spec.path}: {', '.join(lists)} hold no line, and there is no audio; fetch it again"
    return sorted_rows(rows, if_none=if_none)


def _lists(tree: FileTree) -> list[str]:
    return [file.path for file in tree.not_audio if _LIST.fullmatch(file.path) and any(tree.below(_wavs(file.path)))]


def _wavs(path: str) -> str:
    return f"{path[: path.rindex('transcript/')]}{WAVS}"


def _is_read(path: str) -> bool:
    return path.endswith(_PACKED) or path.rpartition("/")[2] == SPEAKERS


def _rows(spec: SourceSpec, tree: FileTree, path: str, speakers: Speakers) -> Iterator[SourceRow]:
    folder = _wavs(path)
    inside = FileTree(tree.root, files=tuple(tree.below(folder)))
    audio = AudioFiles(inside, spec.pattern)
    names = {_stem(file): file.path for file in inside.audio_files("**")}
    lines = list_rows(tree, path, partial(_line_row, tree, audio, names, speakers))
    yield from with_unlisted(tree, audio, lines, partial(_metadata, speakers))
    unpacked = {name.rpartition("/")[0].rpartition("/")[2] for name in names.values()}
    for file in inside.files:
        if file.path.endswith(_PACKED) and file.path.rpartition("/")[2].removesuffix(_PACKED) not in unpacked:
            tree.note_example("not unpacked, so that its lines are missing", file.path)


def _stem(file: ListedFile) -> str:
    return file.path.rpartition("/")[2].rpartition(".")[0]


def _line_row(
    tree: FileTree, audio: AudioFiles, names: Mapping[str, str], speakers: Speakers, line: str, where: str
) -> SourceRow:
    id, *words = line.split()
    if not words:
        raise RowError(f"a line is `ID TEXT`, got {id[:80]!r} alone")
    path = names.get(file_name(id))
    if path is None:
        return failed_row(tree.root, tree.root, where, f"no {id}.wav below {WAVS}; unpack it", reason="missing")
    file = audio.take(path) or ListedFile(path, 0, "")
    return file_row(tree, file, replace(_metadata(speakers, file), text="".join(words)), where=where)


def _metadata(speakers: Speakers, file: ListedFile) -> SourceMetadata:
    """``BAC009S0002W0122`` is of the speaker S0002."""
    match = _SPEAKER.search(_stem(file))
    speaker = match[1] if match else None
    return SourceMetadata(language="zh", speaker=speaker, gender=speakers.get(speaker or ""))


def _speakers(tree: FileTree) -> dict[str, str]:
    """Speaker → M or F: lines "0002 F" or "S0002 F"."""
    found: dict[str, str] = {}
    for file in tree.not_audio:
        if file.path.rpartition("/")[2] == SPEAKERS:
            rows = (line.split() for _, line in text_lines(tree.uri(file.path)) if isinstance(line, str))
            found.update({f"S{row[0].removeprefix('S')}": row[1] for row in rows if len(row) > 1})
    return found


LAYOUT = Layout(
    name="aishell",
    title="AISHELL-1",
    recognised_by="`transcript/aishell_transcript_v0.8.txt`, and a folder `wav` beside `transcript`",
    unit="a line or an audio file",
    container="the folder",
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
