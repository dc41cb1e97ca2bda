"""What the columns of NeMo's manifests mean, plain and tarred."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llaso_data import languages
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.rows.source_row import RowError, is_empty
from llaso_data.formats.tables.columns import canonical_values

AUDIO = "audio_filepath"
SHARD = "shard_id"
SKIPPED = "_skipme"
NEMO_COLUMNS = frozenset(("source_lang", "target_lang", SKIPPED, "sampling_rate"))
"""Columns, in small letters, that :func:`nemo_values` uses besides those of every manifest; files state their rate."""

PIPE = "pipe:"
"""What an address begins with that names a command, as NeMo and webdataset take it."""


def marked(row: Mapping[str, Any]) -> str | None:
    """Why a row gives nothing: NeMo's tools mark rows that are to be passed over. None where it is not marked."""
    return f"rows that are marked `{SKIPPED}`" if row.get(SKIPPED) else None


def nemo_values(tree: FileTree, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's values under our names.

    Args:
        tree: Takes a note of texts that are translations, and no transcripts.
        row: Column name → value.

    Raises:
        RowError: The row names a command.
    """
    values = canonical_values(row)
    named = values["audio"]
    if isinstance(named, str) and named.strip().startswith(PIPE):
        raise RowError("`pipe:` names a command, and no command of a corpus is run; fetch the audio, and name the file")
    source, target = row.get("source_lang"), row.get("target_lang")
    if is_empty(values["language"]):
        values["language"] = source
    if not (is_empty(source) or is_empty(target)) and _code(source) != _code(target):
        tree.note("texts that are translations (`target_lang`), and no transcripts", 0 if values["text"] is None else 1)
        values["text"] = None
    return values


def _code(language: Any) -> str:
    return languages.language(str(language)) or str(language)
