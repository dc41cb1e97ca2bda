"""What ``save_to_disk`` of Hugging Face's datasets writes: Arrow files with sound inside, a folder for each split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from llaso_data.formats.files.file_tree import FileTree, ListedFile, compile_glob
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.conversation import SourceConversation
from llaso_data.formats.rows.source_row import RowError, SourceRow, describe_error, failed_row
from llaso_data.formats.tables.sound_rows import corpus_rows, sound_tables
from llaso_data.formats.tables.sound_tables import SoundTable, listed_file, recognised_table
from llaso_data.formats.tables.sound_talks import conversations, holds_conversations
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure
from llaso_data.uris import extension

_KIND = "arrow"
STATE = "state.json"
_BESIDE = frozenset((STATE, "dataset_info.json", "dataset_dict.json"))
_MAX_STATE_BYTES = 16 << 20


def recognises(tree: FileTree) -> str | None:
    """An Arrow file whose schema has sound, or a folder of them with the files that ``save_to_disk`` writes."""
    if not tree.is_file and not any(file.path.rpartition("/")[2] in _BESIDE for file in tree.files):
        return None
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


def holds_talks(spec: SourceSpec, tree: FileTree) -> bool:
    """Whether the first table with sound holds conversations; nothing is noted of the source."""
    return holds_conversations(tree, _files(spec.pattern, replace(tree, notes=Counter()))[0])


def _tables(spec: SourceSpec, tree: FileTree) -> Iterator[SoundTable | SourceRow]:
    if_none = f"{spec.path}: no Arrow file that matches {spec.pattern!r} has a column of sound"
    files, failures = _files(spec.pattern, tree)
    return chain(sound_tables(tree, files, if_none), failures)


def _files(pattern: str, tree: FileTree) -> tuple[list[ListedFile], list[SourceRow]]:
    """The tables that the folders' states name; of a folder without a state all. A table that is not there failed."""
    if tree.is_file:
        return ([listed_file(tree)] if extension(tree.root) == _KIND else []), []
    matches = compile_glob(pattern).fullmatch
    stated: dict[str, set[str]] = {}
    failures: list[SourceRow] = []
    for file in tree.files:
        folder, _, name = file.path.rpartition("/")
        if name != STATE:
            continue
        try:
            stated[folder] = {storage.join(folder, one).lstrip("/") for one in _named(tree, file)}
        except Exception as error:
            failures.append(failed_row(tree.root, tree.root, file.path, describe_error(error)))
    tables = [file for file in tree.files if extension(file.path) == _KIND and matches(file.path)]
    used = []
    for file in tables:
        folder = file.path.rpartition("/")[0]
        if folder in stated and file.path not in stated[folder]:
            tree.note_example("not read: a table that its state.json does not name", file.path)
        else:
            used.append(file)
    present = {file.path for file in tables}
    for path in sorted(set().union(*stated.values()) - present):
        if matches(path):
            uri = tree.uri(path)
            failures.append(failed_row(tree.root, uri, path, "state.json names it, and it is not there", "missing"))
    return used, failures


def _named(tree: FileTree, file: ListedFile) -> set[str]:
    """The names of a folder's tables by its state. Raises RowError where the state is none."""
    if file.size_bytes > _MAX_STATE_BYTES:
        raise RowError("it is longer than any state of a dataset")
    state = storage.read_json(tree.uri(file.path))
    listed = state.get("_data_files") if isinstance(state, dict) else None
    if not isinstance(listed, list):
        raise RowError("it has no list `_data_files`; save the dataset again")
    names = {one.get("filename") for one in listed if isinstance(one, dict)}
    if wrong := [name for name in names if not isinstance(name, str) or "/" in name or name in ("", ".", "..")]:
        raise RowError(f"{wrong[0]!r:.200} is no name of a file beside it")
    return {name for name in names if isinstance(name, str)}


LAYOUT = Layout(
    name="hf_disk",
    title="datasets saved to a disk",
    recognised_by="`state.json` or `dataset_dict.json`, and `.arrow` with a column `struct<bytes, path>`",
    unit="a row",
    container="each Arrow file",
    endings=frozenset((_KIND,)),
    before=("hf_parquet", "webdataset", "manifest", "folder"),
    recognises=recognises,
    read=read,
    read_conversations=read_conversations,
    holds_conversations=holds_talks,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
