"""A manifest: one row per utterance with at least ``audio``, in JSONL, CSV, TSV or Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, file_ending, table_inside
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import SourceRow
from llaso_data.formats.tables.columns import COLUMN_NAMES
from llaso_data.formats.tables.manifest_rows import manifest_rows
from llaso_data.formats.tables.table_rows import (
    TABLE_ENDINGS,
    TABLE_EXTENSIONS,
    columns_of,
    first_row,
    header,
    is_table,
    table_kind,
)
from llaso_data.formats.writing.attributes import ATTRIBUTES, attributes_of, json_line, seconds
from llaso_data.formats.writing.writer import LayoutWriter, Part, SoundedSample, no_transcript, spoken
from llaso_data.recipe import SourceSpec
from llaso_data.uris import escaped

MANIFESTS = ("manifest.jsonl", "manifest.csv", "manifest.tsv", "manifest.parquet")
"""What the manifest of a set is called, where its folder is named."""


def recognises(tree: FileTree) -> str | None:
    """A file with a table's extension, or a folder with a ``manifest.jsonl`` (or ``.csv``, …) whose rows name audio."""
    if tree.is_file:
        return f"its name ends in .{file_ending(tree.root, TABLE_ENDINGS)}" if is_table(tree.root) else None
    inside = table_inside(tree, *MANIFESTS)
    if not inside.is_file:
        return None
    try:
        columns = columns_of(inside.root) or first_row(inside.root) or ()
    except LLaSOError:  # it is no text
        return None
    if not {str(name).strip().lower() for name in columns} & set(COLUMN_NAMES["audio"]):
        return None
    return f"it has {inside.root.rpartition('/')[2]}, whose rows name audio"


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row, in the order of (audio, start, end).

    Raises:
        LLaSOError: The source is no table, no column names the audio, or there is no row.
    """
    tree = table_inside(tree, *MANIFESTS)
    if not is_table(tree.root) or not tree.is_file:
        kinds = ", ".join(sorted(TABLE_EXTENSIONS))
        raise LLaSOError(f"{spec.path}: a manifest is a file that ends in one of {kinds}")
    if table_kind(tree.root) in ("csv", "tsv"):
        columns = [name.strip().lower() for name in header(tree.root)]
        if "audio" not in spec.map and not set(columns) & set(COLUMN_NAMES["audio"]):
            shown = escaped(", ".join(columns)) or "(none)"
            raise LLaSOError(
                f"{spec.path}: no column `audio`; its columns are {shown}; `--map 'audio={{COLUMN}}'` of "
                "`llaso-data convert` names another one"
                + (", `--map 'question={COLUMN}'` columns of texts without audio" if tree.labels else "")
            )
    if_none = f"{spec.path}: the manifest holds no row; take it out of the sources, or write it again"
    return sorted_rows(manifest_rows(spec, tree), if_none=if_none)


def _write(part: Part, samples: Iterable[SoundedSample]) -> None:
    """Write the lines of a manifest, and the sounds that are not pointed to."""
    for sounded in samples:
        utterance, text = spoken(sounded)
        (sound,) = sounded.sounds
        row: dict[str, Any] = {"audio": part.sound(sounded)}
        if sound.start_s is not None:
            row |= {"start": seconds(sound.start_s), "end": seconds(sound.start_s + sound.duration_s)}
        if sound.channel is not None:
            row["channel"] = sound.channel
        row |= {"duration": seconds(sound.duration_s), "text": text, **attributes_of(sounded.sample, utterance)}
        row |= {name: value for name in ("license", "consent") if (value := getattr(utterance.source, name))}
        part.line(MANIFESTS[0], json_line(row))


LAYOUT = Layout(
    name="manifest",
    title="manifests",
    recognised_by="a file "
    + " ".join(f"`.{kind}`" for kind in sorted(TABLE_EXTENSIONS))
    + ", of text also `.gz`; a folder with a `manifest.jsonl`, `.csv`, `.tsv` or `.parquet`",
    unit="a row",
    container="the manifest",
    endings=TABLE_ENDINGS,
    recognises=recognises,
    read=read,
    writer=LayoutWriter(
        write=_write,
        holds=frozenset(("text", *ATTRIBUTES, "license")),
        refuses=no_transcript,
        spans=True,
        channels=True,
    ),
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
