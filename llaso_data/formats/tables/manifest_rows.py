"""The rows of a manifest, a table with a row for each utterance, as rows of a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.rows.mapping import RowMap, compile_map
from llaso_data.formats.rows.source_row import SourceRow, failed_row, row_or_failure
from llaso_data.formats.tables.columns import (
    KNOWN_COLUMNS,
    ROWS_FOR_COLUMNS,
    audio_location,
    audio_name,
    audio_stat,
    canonical_values,
    cell_text,
    metadata_of,
    note_unused,
    stated_duration,
    time_span,
    used_columns,
)
from llaso_data.formats.tables.table_rows import columns_of, table_rows
from llaso_data.recipe import SourceSpec

Values = dict[str, Any]
"""A row's values under our names, as :func:`~llaso_data.formats.tables.columns.canonical_values` gives them."""


class UnusedColumns:
    """Which columns of a table a reader does not use, for a note of its tree."""

    def __init__(self, columns: list[str], also_used: frozenset[str] = frozenset()) -> None:
        """Begin with the columns that the table states, and those that its layout uses besides ours."""
        self._columns = dict.fromkeys(columns)
        self._used = set(also_used)

    def add(self, row: Mapping[str, Any]) -> None:
        """Look at the columns of one row."""
        self._columns.update(dict.fromkeys(row))
        self._used |= used_columns(row)

    def note(self, tree: FileTree, name: str) -> None:
        """Note the columns of the table ``name`` that are not used."""
        note_unused(tree, name, self._columns, self._used)


def manifest_rows(
    spec: SourceSpec,
    tree: FileTree,
    values_of: Callable[[Mapping[str, Any]], Values] = canonical_values,
    also_used: frozenset[str] = frozenset(),
    passes_over: Callable[[Mapping[str, Any]], str | None] = lambda row: None,
) -> Iterator[SourceRow]:
    """Every row of the table that a tree is, in the order of its lines.

    Args:
        spec: The source; its map may say where the audio is.
        tree: One table.
        values_of: A row's values under our names. It may raise RowError.
        also_used: Columns, in small letters, that ``values_of`` uses besides those of
            :data:`~llaso_data.formats.tables.columns.COLUMN_NAMES`.
        passes_over: Why a row gives nothing, for a note of the tree; None: it gives an utterance.
    """
    manifest = tree.root
    row_map = compile_map(spec.map, tree.labels)
    root, _, name = manifest.rpartition("/")
    stat_once = lru_cache(maxsize=4096)(audio_stat)  # many rows may share one file; the next read looks again
    taken = row_map.fields | row_map.named if row_map else frozenset()
    mapped = frozenset(name.strip().lower() for name in taken)
    unused = UnusedColumns(columns_of(manifest), also_used | mapped)
    try:
        for number, row in table_rows(manifest, KNOWN_COLUMNS | mapped):
            if number <= ROWS_FOR_COLUMNS and isinstance(row, dict):
                unused.add(row)
            where = f"{name}:{number}"
            if isinstance(row, str):
                yield failed_row(root, manifest, where, row)
                continue
            if (why := passes_over(row)) is not None:
                tree.note(why, 1)
                continue
            make = partial(_source_row, row, row_map, values_of, root, manifest, where, stat_once)
            yield row_or_failure(make, root, manifest, where)
    finally:  # a preview reads only the first rows
        unused.note(tree, name)


def _source_row(
    row: Mapping[str, Any],
    row_map: RowMap | None,
    values_of: Callable[[Mapping[str, Any]], Values],
    root: str,
    container: str,
    where: str,
    stat: Callable[[str], tuple[int, str]],
) -> SourceRow:
    """Raises RowError that says what is wrong with the row."""
    values = values_of(row if row_map is None else row_map.located(row))
    path, uri = audio_location(audio_name(values["audio"]), root)
    start_s, end_s = time_span(values)
    size_bytes, version = stat(uri)
    fields, labels = (None, None) if row_map is None else row_map.kept(row)
    return SourceRow(
        path=path,
        uri=uri,
        root=root,
        container=container,
        member=cell_text(values["member"]),
        start_s=start_s,
        end_s=end_s,
        metadata=metadata_of(values),
        stated_s=stated_duration(values),
        size_bytes=size_bytes,
        version=version,
        where=where,
        fields=fields,
        labels=labels,
    )
