"""Parquet with sound inside, as datasets on the Hugging Face hub have it: a corpus, or conversations."""

from __future__ import annotations

from collections.abc import Iterator

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile, compile_glob
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.conversation import SourceConversation
from llaso_data.formats.rows.source_row import SourceRow
from llaso_data.formats.tables.sound_rows import corpus_rows, note_without_sound, sound_tables
from llaso_data.formats.tables.sound_tables import SoundTable, listed_file, open_sound_table, recognised_table
from llaso_data.formats.tables.sound_talks import conversations, holds_conversations
from llaso_data.formats.writing.sound_parquet import WRITER
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure
from llaso_data.uris import extension

_KIND = "parquet"


def recognises(tree: FileTree) -> str | None:
    """A Parquet file whose schema has sound, or a folder whose first Parquet file is one."""
    return recognised_table(tree, _KIND)


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row of every table, in the order of their paths; the sound is the cell that holds it.

    Raises:
        LLaSOError: No table has sound, or there is no row.
    """
    return corpus_rows(spec, tree, _tables(spec, tree))


def read_conversations(spec: SourceSpec, tree: FileTree) -> Iterator[SourceConversation | Failure]:
    """Every row of every table, in the order of their paths.

    Raises:
        LLaSOError: No table has sound.
    """
    return conversations(_tables(spec, tree))


def separate_tables(spec: SourceSpec, tree: FileTree) -> list[str]:
    """The tables with sound that may be read one by one, in the order of their paths.

    Returns:
        Paths, without those of tables that have no sound, of which the tree takes a note, or no row. Nothing where the
        source is one file, and where tables differ in what they hold: then the first says what the source is.
    """
    paths: list[str] = []
    kinds: set[bool] = set()
    for file in () if tree.is_file else _files(spec.pattern, tree):
        try:
            table = open_sound_table(tree, file)
        except LLaSOError:  # reading it says so
            paths.append(file.path)
            continue
        if table is None:
            note_without_sound(tree, file)
        elif table.count():
            kinds.add(table.talk is not None)
            paths.append(file.path)
    return paths if len(kinds) == 1 else []


def _tables(spec: SourceSpec, tree: FileTree) -> Iterator[SoundTable | SourceRow]:
    if_none = f"{spec.path}: no Parquet file that matches {spec.pattern!r} has a column of sound"
    return sound_tables(tree, _files(spec.pattern, tree), if_none)


def _files(pattern: str, tree: FileTree) -> list[ListedFile]:
    if tree.is_file:
        return [listed_file(tree)] if extension(tree.root) == _KIND else []
    matches = compile_glob(pattern).fullmatch
    return [file for file in tree.files if extension(file.path) == _KIND and matches(file.path)]


LAYOUT = Layout(
    name="hf_parquet",
    title="Parquet files with sound inside",
    recognised_by="`.parquet` with a column `struct<bytes, path>`",
    unit="a row",
    container="each Parquet file",
    endings=frozenset((_KIND,)),
    before=("samples", "webdataset", "texts", "manifest", "folder"),
    recognises=recognises,
    read=read,
    read_conversations=read_conversations,
    holds_conversations=lambda spec, tree: holds_conversations(tree, _files(spec.pattern, tree)),
    writer=WRITER,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
