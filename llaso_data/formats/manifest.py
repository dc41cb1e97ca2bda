"""A manifest: one row per utterance with at least ``audio``, in JSONL, CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Iterator

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, file_ending
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import SourceRow
from llaso_data.formats.tables.columns import COLUMN_NAMES
from llaso_data.formats.tables.manifest_rows import manifest_rows
from llaso_data.formats.tables.table_rows import TABLE_ENDINGS, TABLE_EXTENSIONS, header, is_table, table_kind
from llaso_data.recipe import SourceSpec
from llaso_data.uris import escaped


def recognises(tree: FileTree) -> str | None:
    """A file with a table's extension."""
    return (
        f"its name ends in .{file_ending(tree.root, TABLE_ENDINGS)}" if tree.is_file and is_table(tree.root) else None
    )


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row, in the order of (audio, start, end).

    Raises:
        LLaSOError: The source is no table, no column names the audio, or there is no row.
    """
    if not is_table(tree.root) or not tree.is_file:
        kinds = ", ".join(sorted(TABLE_EXTENSIONS))
        raise LLaSOError(f"{spec.path}: a manifest is a file that ends in one of {kinds}")
    if table_kind(tree.root) in ("csv", "tsv"):
        columns = [name.strip().lower() for name in header(tree.root)]
        if "audio" not in spec.map and not set(columns) & set(COLUMN_NAMES["audio"]):
            shown = escaped(", ".join(columns)) or "(none)"
            raise LLaSOError(f"{spec.path}: no column `audio`; its columns are {shown}")
    if_none = f"{spec.path}: the manifest holds no row; take it out of the sources, or write it again"
    return sorted_rows(manifest_rows(spec, tree), if_none=if_none)


LAYOUT = Layout(
    name="manifest",
    title="manifests",
    recognised_by="a file " + " ".join(f"`.{kind}`" for kind in sorted(TABLE_EXTENSIONS)) + ", of text also `.gz`",
    unit="a row",
    container="the manifest",
    endings=TABLE_ENDINGS,
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
