"""Emilia: ``EN/EN_B00000.jsonl`` whose rows name files below it, ``EN_B00000/EN_B00000_S00000/mp3/ID.mp3``.

Its other form, tars with ``ID.mp3`` and ``ID.json``, is read as WebDataset.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.audio_files import AudioFiles
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.list_rows import note_not_read, with_unlisted
from llaso_data.formats.rows.mapping import keeps_columns
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, failed_row, file_row, row_or_failure
from llaso_data.formats.tables.columns import audio_name, cell_text
from llaso_data.formats.tables.table_rows import Row, table_rows
from llaso_data.recipe import SourceSpec
from llaso_data.uris import scheme

_TABLE = re.compile(r"(?:.*/)?[A-Z]{2}[-_]B\d+\.jsonl")
USED = frozenset(("wav", "text", "speaker", "language", "id"))


def recognises(tree: FileTree) -> str | None:
    """A table ``EN_B00000.jsonl`` with a folder of its name, or of one of its speakers, beside it."""
    tables = _tables(tree)
    return f"it has {tables[0]} and a folder of that name" if tables else None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row of the tables, whether or not its audio is there, and audio without a row.

    Raises:
        LLaSOError: There is no table, or neither a row nor audio.
    """
    tables = _tables(tree)
    if not tables:
        raise LLaSOError(f"{spec.path}: no table such as EN_B00000.jsonl with a folder of that name beside it")
    audio = AudioFiles(tree, spec.pattern)
    rows = (row for table in tables for row in _rows(tree, audio, table, keeps_columns(spec.map, tree.labels)))
    note_not_read(tree, set(tables))
    if_none = f"{spec.path}: its tables hold no row, and there is no audio; fetch it again"
    return sorted_rows(with_unlisted(tree, audio, rows, lambda file: SourceMetadata()), if_none=if_none)


def _tables(tree: FileTree) -> list[str]:
    return [
        path for path, _, _ in tree.not_audio if _TABLE.fullmatch(path) and any(tree.below(path.removesuffix(".jsonl")))
    ]


def _rows(tree: FileTree, audio: AudioFiles, table: str, with_fields: bool) -> Iterator[SourceRow]:
    unused: set[str] = set()
    for number, row in table_rows(tree.uri(table)):
        where = f"{table}:{number}"
        if isinstance(row, str):
            yield failed_row(tree.root, tree.root, where, row)
            continue
        unused.update(map(str, row.keys() - USED))
        make = partial(_source_row, tree, audio, table, row, where, with_fields)
        yield row_or_failure(make, tree.root, tree.root, where)
    for name in sorted(unused)[:12]:
        tree.note_example(f"column not used: {name}", table)


def _source_row(tree: FileTree, audio: AudioFiles, table: str, row: Row, where: str, with_fields: bool) -> SourceRow:
    name = audio_name(row.get("wav"))
    folder = table.rpartition("/")[0]
    # Rows name the file from the table's folder, and in some copies from the folder of the table's name.
    below = (folder, table.removesuffix(".jsonl"))
    paths = [_below(tree, parent, name) for parent in below]
    file = next((found for path in paths if (found := audio.take(path))), ListedFile(paths[0], 0, ""))
    text, speaker, language = (cell_text(row.get(key)) for key in ("text", "speaker", "language"))
    metadata = SourceMetadata(text=text, speaker=speaker, language=language)
    return replace(file_row(tree, file, metadata, where=where), fields=row if with_fields else None)


def _below(tree: FileTree, folder: str, name: str) -> str:
    path = posixpath.normpath(f"{folder}/{name}" if folder else name)
    if scheme(name) or name.startswith("/") or path.split("/")[0] == "..":
        raise RowError(f"{name[:80]!r} is no path below the table's folder")
    return path


LAYOUT = Layout(
    name="emilia",
    title="Emilia",
    recognised_by="`EN_B00000.jsonl`, and a folder of that name beside it",
    unit="a row or an audio file",
    container="the folder",
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
