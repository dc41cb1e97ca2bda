"""LJ Speech, and corpora like it: ``metadata.csv`` with lines "ID|TEXT|NORMALIZED TEXT", and ``wavs/ID.wav``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.audio_files import AudioFiles
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.list_rows import file_name, list_rows, note_not_read, text_lines, with_unlisted
from llaso_data.formats.rows.mapping import keeps_columns
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, file_row
from llaso_data.formats.tables.columns import KNOWN_COLUMNS, cell_text
from llaso_data.recipe import SourceSpec

TABLE = "metadata.csv"
WAVS = "wavs"
COLUMNS = ("id", "text", "normalized_text")
_LINDA = re.compile(r"LJ\d{3}-\d{4}")
_OF_LINDA = SourceMetadata(language="en", speaker="LJ", gender="female")
"""What the original corpus says of all its recordings: one woman reads English."""


def recognises(tree: FileTree) -> str | None:
    """A ``metadata.csv`` whose first line has cells parted by ``|`` and is no header, with a folder ``wavs`` beside."""
    tables = _tables(tree)
    return f"{tables[0]} has lines `ID|TEXT`, and {WAVS} is beside it" if tables else None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every line of the tables, whether or not its audio is there, and audio without a line.

    The text is the one with figures and abbreviations; a map may take ``{normalized_text}`` instead.

    Raises:
        LLaSOError: There is no table, or neither a line nor audio.
    """
    tables = _tables(tree)
    if not tables:
        raise LLaSOError(f"{spec.path}: no {TABLE} with lines `ID|TEXT` and a folder {WAVS} beside it")
    audio = AudioFiles(tree, spec.pattern)
    make = partial(_line_row, tree, audio, keeps_columns(spec.map, tree.labels))
    rows = (row for table in tables for row in list_rows(tree, table, partial(make, table)))
    note_not_read(tree, set(tables))
    if_none = f"{spec.path}: {', '.join(tables)} hold no line, and there is no audio; fetch it again"
    return sorted_rows(with_unlisted(tree, audio, rows, _file_metadata), if_none=if_none)


def _tables(tree: FileTree) -> list[str]:
    paths = [file.path for file in tree.not_audio if file.path.rpartition("/")[2] == TABLE]
    return [path for path in paths if next(tree.below(_wavs(path)), None) is not None and _is_table(tree, path)]


def _wavs(table: str) -> str:
    return f"{table[: -len(TABLE)]}{WAVS}"


def _is_table(tree: FileTree, path: str) -> bool:
    lines = (line for _, line in text_lines(tree.uri(path)))
    first = next((line for line in lines if not isinstance(line, str) or line.strip()), "")
    cells = first.split("|") if isinstance(first, str) else []
    return 2 <= len(cells) <= len(COLUMNS) and cells[0].strip().lower() not in KNOWN_COLUMNS


def _line_row(tree: FileTree, audio: AudioFiles, with_fields: bool, table: str, line: str, where: str) -> SourceRow:
    found = [cell.strip() for cell in line.split("|")]
    if not 2 <= len(found) <= len(COLUMNS):
        raise RowError(f"{len(found)} cells; a line is `ID|TEXT` or `ID|TEXT|NORMALIZED TEXT`")
    stem = f"{_wavs(table)}/{file_name(found[0].removesuffix('.wav'))}"
    file = audio.take_stem(stem) or ListedFile(f"{stem}.wav", 0, "")
    text = next((said for cell in found[1:] if (said := cell_text(cell))), None)
    row = file_row(tree, file, replace(_file_metadata(file), text=text), where=where)
    return replace(row, fields=dict(zip(COLUMNS, found, strict=False))) if with_fields else row


def _file_metadata(file: ListedFile) -> SourceMetadata:
    stem = file.path.rpartition("/")[2].rpartition(".")[0]
    return _OF_LINDA if _LINDA.fullmatch(stem) else SourceMetadata()


LAYOUT = Layout(
    name="ljspeech",
    title="LJ Speech",
    recognised_by="`metadata.csv` without a header, its cells parted by bars, and a folder `wavs` beside it",
    unit="a line or an audio file",
    container="the folder",
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
