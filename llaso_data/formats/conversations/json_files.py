"""The JSON files of a source that hold conversations, told by their first rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, compile_glob
from llaso_data.formats.tables.table_rows import table_rows
from llaso_data.uris import extension

ENDINGS = frozenset(("json", "jsonl", "ndjson"))
_BROKEN_ROWS = 8  # looked past for the first whole one
_LOOKED_INTO = 8  # files of a folder that are opened to recognise it

IsRow = Callable[[dict[str, Any]], bool]


def first_row(uri: str) -> dict[str, Any] | None:
    """The first whole row of a file; None: it has none, or is no JSON."""
    try:
        for _, row in islice(table_rows(uri), _BROKEN_ROWS):
            if isinstance(row, dict):
                return row
    except LLaSOError:
        return None
    return None


def recognised(tree: FileTree, is_row: IsRow) -> str | None:
    """The file of a source by which it is recognised, relative to a folder; None: there is none."""
    if tree.is_file:
        is_ours = extension(tree.root) in ENDINGS and _is(tree.root, is_row)
        return tree.root.rpartition("/")[2] if is_ours else None
    paths = islice(_paths(tree, "**/*"), _LOOKED_INTO)
    return next((path for path in paths if _is(tree.uri(path), is_row)), None)


def conversation_files(tree: FileTree, pattern: str, is_row: IsRow, form: str) -> list[tuple[str, str]]:
    """The files of a source that hold such rows: (path relative to the source's folder, URI).

    Args:
        tree: The source.
        pattern: Glob on the paths of a folder.
        is_row: Whether a row is of the layout.
        form: What such rows have, for the note of files that are not read.
    """
    if tree.is_file:
        return [(tree.root.rpartition("/")[2], tree.root)]
    files = []
    for path in _paths(tree, pattern):
        if _is(tree.uri(path), is_row):
            files.append((path, tree.uri(path)))
        else:
            tree.note_example(f"not read: JSON without {form}", path)
    return files


def _paths(tree: FileTree, pattern: str) -> Iterator[str]:
    """JSON files that match, but those that stand beside audio of the same name."""
    matches = compile_glob(pattern).fullmatch
    stems = {file.path.rpartition(".")[0]: file.path for file in tree.files if extension(file.path) in ENDINGS}
    for file in tree.files:
        if extension(file.path) in AUDIO_EXTENSIONS:
            stems.pop(file.path.rpartition(".")[0], None)
    kept = set(stems)
    for file in tree.files:
        if extension(file.path) in ENDINGS and file.path.rpartition(".")[0] in kept and matches(file.path):
            yield file.path


def _is(uri: str, is_row: IsRow) -> bool:
    row = first_row(uri)
    return row is not None and is_row(row)
