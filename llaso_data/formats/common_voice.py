"""A Common Voice release: TSV tables (client_id, path, sentence, age, gender, accents, locale) beside ``clips/``.

Newer releases also have sentence_id, sentence_domain, variant and segment. The variant of a language is an accent where
the row names none; the others are not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceRow, failed_row, file_row, row_or_failure
from llaso_data.formats.tables.columns import (
    ROWS_FOR_COLUMNS,
    canonical_values,
    cell_text,
    metadata_of,
    note_unused,
    used_columns,
)
from llaso_data.formats.tables.table_rows import Row, header, table_rows
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.uris import extension

CLIPS = "clips"
COLUMNS = frozenset(("client_id", "path"))
VALIDATED = "validated.tsv"
VARIANT = "variant"


def recognises(tree: FileTree) -> str | None:
    """A release's TSV with a folder ``clips`` beside it: the source itself, or in the source or a folder of it."""
    if not tree.is_file:
        tables = _release_tables(tree)
        return f"{tables[0]} has the columns client_id and path, and {CLIPS} is beside it" if tables else None
    if "{" in tree.root or extension(tree.root) != "tsv" or not _has_columns(tree.root):
        return None
    beside = storage.join(tree.root.rpartition("/")[0], CLIPS)
    return f"it has the columns client_id and path, and {CLIPS} is beside it" if storage.exists(beside) else None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row of the tables, in the order of its clip.

    ``validated.tsv`` is read where it is there, because it contains train, dev and test; else every table.

    Raises:
        LLaSOError: There is no table of a release, or no row in any.
    """
    if tree.is_file:
        root, _, name = tree.root.rpartition("/")
        tables = [name] if _has_columns(tree.root) else []
        tree = FileTree(root, notes=tree.notes, labels=tree.labels)
    else:
        tables = _release_tables(tree)
    if not tables:
        raise LLaSOError(f"{spec.path}: no TSV with the columns client_id and path, with a folder {CLIPS} beside it")
    rows = (row for table in tables for row in _rows(tree, table))
    if_none = f"{spec.path}: {', '.join(tables)} hold no row; take it out of the sources, or fetch it again"
    return sorted_rows(rows, if_none=if_none)


def _has_columns(uri: str) -> bool:
    return set(header(uri)) >= COLUMNS


def _release_tables(tree: FileTree) -> list[str]:
    """The tables to read, relative to the root: of the release, or of each language's release one folder below it."""
    above_clips = {file.path.rpartition(f"{CLIPS}/")[0] for file in tree.files if f"/{CLIPS}/" in f"/{file.path}"}
    tables: list[str] = []
    for prefix in sorted(prefix for prefix in above_clips if prefix.count("/") < 2):
        names = [
            file.path
            for file in tree.files
            if file.path.rpartition("/")[0] == prefix.rstrip("/") and file.path.endswith(".tsv")
        ]
        names = [f"{prefix}{VALIDATED}"] if f"{prefix}{VALIDATED}" in names else names
        tables += [name for name in names if _has_columns(tree.uri(name))]
    return tables


def _rows(tree: FileTree, table: str) -> Iterator[SourceRow]:
    prefix = table[: table.rfind("/") + 1]
    container = tree.uri(prefix).rstrip("/") if prefix else tree.root
    clips = {row["path"]: (row["size"], row["version"]) for row in storage.listing(storage.join(container, CLIPS))}
    columns: dict[str, None] = {}
    used: set[str] = {label.lower() for label in tree.labels}
    try:
        for number, row in table_rows(tree.uri(table)):
            where = f"{table}:{number}"
            if number <= ROWS_FOR_COLUMNS and isinstance(row, dict):
                columns.update(dict.fromkeys(row))
                used |= used_columns(row) | {VARIANT}
            if isinstance(row, str):
                yield failed_row(tree.root, container, where, row)
            else:
                make = partial(_source_row, row, tree, prefix, container, where, clips)
                yield row_or_failure(make, tree.root, container, where)
    finally:  # a preview reads only the first rows
        note_unused(tree, table, columns, used)


def _source_row(
    row: Row, tree: FileTree, prefix: str, container: str, where: str, clips: Mapping[str, tuple[int, str]]
) -> SourceRow:
    name = cell_text(row["path"])
    if name is None:
        raise RowError("`path` is empty")
    if extension(name) not in AUDIO_EXTENSIONS:
        name += ".mp3"  # early releases leave it out
    file = ListedFile(f"{prefix}{CLIPS}/{name}", *clips.get(name, (0, "")))
    values = canonical_values(row)
    values["accent"] = values["accent"] or row.get(VARIANT)
    made = file_row(tree, file, metadata_of(values), container=container, where=where)
    return replace(made, fields=row) if tree.labels else made


LAYOUT = Layout(
    name="common_voice",
    title="Common Voice",
    recognised_by="a TSV with `client_id` and `path`, and a folder `clips` beside it",
    unit="a row",
    container="the release's folder",
    endings=frozenset(("tsv",)),
    before=("librispeech", "manifest", "webdataset", "folder"),
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
