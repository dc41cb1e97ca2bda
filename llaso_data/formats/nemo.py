"""A NeMo manifest: JSON lines with ``audio_filepath``, ``duration``, ``text``, and it may be ``offset`` and ``lang``.

Canary's manifests say ``source_lang`` and ``target_lang``: where the two differ, the text is a translation, and no
transcript.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, table_inside
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import SourceRow
from llaso_data.formats.tables.manifest_rows import manifest_rows
from llaso_data.formats.tables.nemo_columns import AUDIO, NEMO_COLUMNS, marked, nemo_values
from llaso_data.formats.tables.table_rows import JSON_EXTENSIONS, first_row, table_kind
from llaso_data.formats.writing.attributes import ATTRIBUTES, json_line
from llaso_data.formats.writing.nemo_row import nemo_row
from llaso_data.formats.writing.writer import LayoutWriter, Part, SoundedSample, no_transcript
from llaso_data.recipe import SourceSpec

MANIFEST = "manifest.jsonl"
MANIFESTS = (MANIFEST, "manifest.json")
"""What the manifest of a set is called, where its folder is named."""


def recognises(tree: FileTree) -> str | None:
    """A JSON table whose first row has ``audio_filepath``, or a folder with such a ``manifest.jsonl``."""
    tree = table_inside(tree, *MANIFESTS)
    row = first_row(tree.root) if tree.is_file and "{" not in tree.root else None
    return f"its first row has {AUDIO}" if row is not None and AUDIO in row else None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row, in the order of (audio, start, end).

    Raises:
        LLaSOError: The source is no JSON table, or there is no row.
    """
    tree = table_inside(tree, *MANIFESTS)
    if not tree.is_file or table_kind(tree.root) not in JSON_EXTENSIONS:
        raise LLaSOError(f"{spec.path}: a NeMo manifest is a file of JSON lines; name the file")
    rows = manifest_rows(spec, tree, partial(nemo_values, tree), NEMO_COLUMNS, marked)
    message = f"{spec.path}: the manifest holds no row; take it out of the sources, or write it again"
    return sorted_rows(rows, if_none=message)


def write(part: Part, samples: Iterable[SoundedSample]) -> None:
    """Write the lines of a manifest, and the sounds that are not pointed to."""
    for sounded in samples:
        part.line(MANIFEST, json_line(nemo_row(sounded, part.sound(sounded))))


LAYOUT = Layout(
    name="nemo",
    title="NeMo manifests",
    recognised_by="a JSON table whose first row has `audio_filepath`, or a folder with such a `manifest.jsonl`",
    unit="a row",
    container="the manifest",
    before=("texts", "manifest", "folder"),
    recognises=recognises,
    read=read,
    writer=LayoutWriter(write=write, holds=frozenset(("text", *ATTRIBUTES)), refuses=no_transcript, spans=True),
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
