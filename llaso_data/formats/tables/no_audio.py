"""Whether a table's rows name audio, by its first row."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.tables.columns import COLUMN_NAMES
from llaso_data.formats.tables.table_rows import columns_of, is_table, table_kind, table_rows
from llaso_data.uris import extension

_ALWAYS_AUDIO = frozenset(("audio", "audios", "audio_filepath", "audio_path", "audio_file", "wav", "voice"))
_MAY_NAME_AUDIO = frozenset(COLUMN_NAMES["audio"])
_BROKEN_ROWS = 8  # looked past for the first whole one


def first_whole_row(uri: str) -> dict[str, Any] | None:
    """The first row of a table that is not broken; of Parquet, and where there is none, the columns that it states.

    Returns:
        None where it states none, or is no table.
    """
    try:
        if table_kind(uri) != "parquet":
            for _, row in islice(table_rows(uri), _BROKEN_ROWS):
                if isinstance(row, dict):
                    return row
        return dict.fromkeys(columns_of(uri)) or None
    except LLaSOError:
        return None


def has_audio(row: Mapping[str, Any]) -> bool:
    """Whether a row names audio: by a column that is called so, or by a file with an extension of audio."""
    for column, value in row.items():
        name = str(column).strip().lower()
        if name in _ALWAYS_AUDIO:
            return True
        if name in _MAY_NAME_AUDIO and (isinstance(value, Mapping) or extension(str(value)) in AUDIO_EXTENSIONS):
            return True
    return False


def names_no_audio(tree: FileTree) -> bool:
    """Whether a source is one table, whose first row names no audio."""
    row = first_whole_row(tree.root) if tree.is_file and is_table(tree.root) else None
    return row is not None and not has_audio(row)
