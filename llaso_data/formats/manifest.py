"""A manifest: one row per utterance with at least ``audio``, in JSONL, CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.mapping import RowMap, compile_map
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import SourceRow, failed_row, row_or_failure
from llaso_data.formats.tables.columns import (
    COLUMN_NAMES,
    KNOWN_COLUMNS,
    audio_location,
    audio_name,
    audio_stat,
    canonical_values,
    cell_text,
    metadata_of,
    time_span,
    used_columns,
)
from llaso_data.formats.tables.table_rows import TABLE_EXTENSIONS, columns_of, header, table_rows
from llaso_data.recipe import SourceSpec
from llaso_data.uris import escaped, extension

_ROWS_FOR_COLUMNS = 1000  # rows whose columns are looked at for the note of unused ones
_MOST_NAMED = 12  # columns that the note names


def recognises(tree: FileTree) -> str | None:
    """A file with a table's extension."""
    kind = extension(tree.root)
    return f"its name ends in .{kind}" if tree.is_file and kind in TABLE_EXTENSIONS else None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row, in the order of (audio, start, end).

    Raises:
        LLaSOError: The source is no table, no column names the audio, or there is no row.
    """
    kind = extension(tree.root)
    if kind not in TABLE_EXTENSIONS or not tree.is_file:
        kinds = ", ".join(sorted(TABLE_EXTENSIONS))
        raise LLaSOError(f"{spec.path}: a manifest is a file that ends in one of {kinds}")
    if kind in ("csv", "tsv"):
        columns = [name.strip().lower() for name in header(tree.root)]
        if "audio" not in spec.map and not set(columns) & set(COLUMN_NAMES["audio"]):
            shown = escaped(", ".join(columns)) or "(none)"
            raise LLaSOError(f"{spec.path}: no column `audio`; its columns are {shown}")
    if_none = f"{spec.path}: the manifest holds no row; take it out of the sources, or write it again"
    return sorted_rows(_rows(spec, tree), if_none=if_none)


def _rows(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    manifest = tree.root
    row_map = compile_map(spec.map)
    root, _, name = manifest.rpartition("/")
    stat_once = lru_cache(maxsize=4096)(audio_stat)  # many rows may share one file; the next read looks again
    used: set[str] = set()
    columns = dict.fromkeys(columns_of(manifest))
    mapped = {name.strip().lower() for name in row_map.fields} if row_map else set()
    try:
        for number, row in table_rows(manifest, KNOWN_COLUMNS | mapped):
            if number <= _ROWS_FOR_COLUMNS and isinstance(row, dict):
                columns.update(dict.fromkeys(row))
                used |= used_columns(row) | mapped
            where = f"{name}:{number}"
            if isinstance(row, str):
                yield failed_row(root, manifest, where, row)
                continue
            make = partial(_source_row, row, row_map, root, manifest, where, stat_once)
            yield row_or_failure(make, root, manifest, where)
    finally:  # a preview reads only the first rows
        _note_unused(tree, name, [column for column in columns if str(column).strip().lower() not in used])


def _note_unused(tree: FileTree, name: str, unused: Sequence[str]) -> None:
    if unused:
        shown = escaped(", ".join(map(str, unused[:_MOST_NAMED]))) + (", …" if len(unused) > _MOST_NAMED else "")
        tree.note(f"columns not used of {name}: {shown}", len(unused))


def _source_row(
    row: Mapping[str, Any],
    row_map: RowMap | None,
    root: str,
    container: str,
    where: str,
    stat: Callable[[str], tuple[int, str]],
) -> SourceRow:
    """Raises RowError that says what is wrong with the row."""
    values = canonical_values(row if row_map is None else row_map.located(row))
    path, uri = audio_location(audio_name(values["audio"]), root)
    start_s, end_s = time_span(values)
    size_bytes, version = stat(uri)
    return SourceRow(
        path=path,
        uri=uri,
        root=root,
        container=container,
        member=cell_text(values["member"]),
        start_s=start_s,
        end_s=end_s,
        metadata=metadata_of(values),
        size_bytes=size_bytes,
        version=version,
        where=where,
        fields=None if row_map is None else row_map.taken(row),
    )


LAYOUT = Layout(
    name="manifest",
    title="manifests",
    recognised_by="a file " + " ".join(f"`.{kind}`" for kind in sorted(TABLE_EXTENSIONS)),
    unit="a row",
    container="the manifest",
    endings=TABLE_EXTENSIONS,
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
