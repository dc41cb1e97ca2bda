"""What the columns of tables mean: our names for them, and a row's values as metadata, a span and an audio file."""

from __future__ import annotations

import functools
import math
import posixpath
import re
import reprlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from llaso_data import uris
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.files.text import MAX_TEXT_BYTES, TOO_LONG
from llaso_data.formats.rows.channels import selected_channels
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, is_empty
from llaso_data.io import storage
from llaso_data.records import TIME_DECIMALS

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "audio": ("audio", "audio_filepath", "audio_path", "audio_file", "path", "file", "file_name", "filename", "wav"),
    "member": ("member",),
    "text": (
        *("text", "sentence", "transcript", "transcription", "raw_transcription", "raw_text", "normalized_text"),
        *("text_normalized", "normalized_transcription", "transcript_text", "txt", "wrd", "target"),
    ),
    "language": ("language", "lang", "locale"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk"),
    "gender": ("gender", "sex"),
    "age": ("age", "age_range"),
    "accent": ("accent", "accents", "dialect"),
    "environment": ("environment", "recording_environment"),
    "license": ("license", "licence"),
    "consent": ("consent",),
    "start": ("start", "start_s", "start_time", "offset", "begin"),
    "end": ("end", "end_s", "end_time"),
    "duration": ("duration", "duration_s"),
    "channel": ("channel",),
    "channels": ("channels", "num_channels"),
}
"""Our name of a column → the names that tables have for it (NeMo, Hugging Face), ours first. Of several columns the
first that has a value counts."""

KNOWN_COLUMNS = frozenset(name for names in COLUMN_NAMES.values() for name in names)
ROWS_FOR_COLUMNS = 1000
"""Rows of a table whose columns are looked at for the note of unused ones."""
_MOST_NAMED = 12  # columns that the note names
_NO_TIME = frozenset(("", "nan", "null", "none"))
_LONGEST_S = 1e9  # thirty years; beyond, samples and bytes are no numbers that anything can hold


def canonical_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's values under our names for its columns (:data:`COLUMN_NAMES`); None for columns that say nothing.

    Args:
        row: Column name, in any case, → value.
    """
    values: dict[str, Any] = dict.fromkeys(COLUMN_NAMES)
    for name, columns in _known_columns(tuple(row)):
        for column in columns:
            if not is_empty(value := row[column]):
                values[name] = value
                break
    return values


@functools.lru_cache(256)
def _known_columns(columns: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Our names and the columns that each may have its value from, in their order; without names that have none."""
    by_lower_name = {str(column).strip().lower(): column for column in columns}
    known = (
        (name, tuple(by_lower_name[column] for column in names if column in by_lower_name))
        for name, names in COLUMN_NAMES.items()
    )
    return tuple((name, found) for name, found in known if found)


def used_columns(row: Mapping[str, Any]) -> set[str]:
    """The columns, in lower case, that :func:`canonical_values` takes a row's values from."""
    used: set[str] = set()
    for _, columns in _known_columns(tuple(row)):
        for column in columns:
            if not is_empty(row[column]):
                used.add(str(column).strip().lower())
                break
    return used


def note_unused(tree: FileTree, table: str, columns: Iterable[object], used: Collection[str]) -> None:
    """Note the columns of a table that are not used.

    Args:
        tree: Takes the note.
        table: The table's name, for the note.
        columns: The table's columns.
        used: Those that are used, in lower case.
    """
    unused = [column for column in columns if str(column).strip().lower() not in used]
    if unused:
        shown = uris.escaped(", ".join(map(str, unused[:_MOST_NAMED]))) + (", …" if len(unused) > _MOST_NAMED else "")
        tree.note(f"columns not used of {table}: {shown}", len(unused))


def metadata_of(values: Mapping[str, Any]) -> SourceMetadata:
    """The text and attributes among a row's values.

    Args:
        values: The values under our names, as :func:`canonical_values` gives them.

    Raises:
        RowError: A value is no text and no number, or no channel.
    """
    names = ("text", "language", "speaker", "gender", "age", "accent", "environment", "license", "consent")
    channels, channel_count = selected_channels(values)
    said: dict[str, Any] = {}
    for name in names:
        if (value := values.get(name)) is None:
            continue
        try:
            said[name] = cell_text(value)
        except RowError as error:
            raise RowError(f"{name}: {error}") from None
    return SourceMetadata(**said, channels=channels, channel_count=channel_count)


def cell_text(value: Any) -> str | None:
    """A cell as text with white space made single spaces; None where the cell says nothing.

    Raises:
        RowError: The cell is a list or an object, or longer than a transcript may be.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        if len(value) > MAX_TEXT_BYTES:
            raise RowError(f"a value {TOO_LONG}")
        return " ".join(value.split()) or None
    if is_empty(value):
        return None
    if not isinstance(value, (int, float)):
        raise RowError(f"text or a number expected, got {'a list' if isinstance(value, list) else 'an object'}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # tables with gaps turn whole numbers into floats
    return str(value)


def audio_name(value: Any) -> str:
    """The path or URI in an ``audio`` cell: a text, or Hugging Face's ``{"path", "bytes"}``.

    Raises:
        RowError: The cell names no file, or holds the audio itself.
    """
    if isinstance(value, Mapping):
        if value.get("bytes"):
            raise RowError("the audio is inside the table; give `type: hf_parquet`")
        value = value.get("path")
    if not isinstance(value, str) or not value.strip():
        raise RowError("`audio` is missing")
    if "\x00" in value:
        raise RowError("`audio` is not a path")
    return value.strip()


def with_slashes(name: str) -> str:
    """A path that may have been written under Windows, with ``/`` between its folders.

    Raises:
        RowError: It begins with a drive.
    """
    if "\\" not in name or uris.scheme(name):
        return name
    if _DRIVE.match(name):
        raise RowError(
            f"{name:.500}: a drive of Windows; write the path relative to the table, or absolute on this machine"
        )
    return name.replace("\\", "/")


def audio_location(name: str, root: str) -> tuple[str, str]:
    """Where the audio is that a row names.

    Args:
        name: A path relative to ``root``, an absolute path, or a URI (``docs/storage.md`` says which). Backslashes are
            taken for slashes.
        root: URI of the folder that holds the table.

    Returns:
        The path for the id, relative to ``root`` where it lies below it, and the URI.

    Raises:
        RowError: Data may not name such an address, or it leads out of the store's bucket.
    """
    name = with_slashes(name)
    scheme = ""
    if ":" in name:  # else it is a path
        scheme = uris.scheme(name)
        if (why := uris.refused(name, storage.scheme(root))) is not None:
            raise RowError(f"{uris.shown(name)}: {why}")
    if scheme not in ("", "file"):
        return (name[len(root) + 1 :] if name.startswith(f"{root}/") else name), name
    if scheme and not storage.is_local(root):
        raise RowError(f"{name}: a manifest on a store names no files of this machine")
    name = name.removeprefix("file://")
    if name.startswith("/") and storage.is_local(root):
        uri = posixpath.normpath(name)
        return (uri[len(root) + 1 :] if uri.startswith(f"{root}/") else uri), uri
    path = posixpath.normpath(name)
    if storage.is_local(root):
        whole = f"{root}/{path}"
        return path, whole if path[0] != "." and "//" not in root else posixpath.normpath(whole)
    store, _, rest = root.partition("://")
    whole = posixpath.normpath(f"{rest}/{path}")
    if whole.partition("/")[0] != rest.partition("/")[0]:
        raise RowError(f"{name}: leads out of {store}://{rest.partition('/')[0]}; write the whole address")
    return path, f"{store}://{whole}"


def audio_stat(uri: str) -> tuple[int, str]:
    """Size in bytes and version of an audio file; (0, "") where it is not there, for decoding will say so.

    Raises:
        RowError: The URI is no address of anything, or needs a package that is not installed.
        StoreError: The store failed, which ends the run.
    """
    try:
        stat = storage.stat(uri)
    except (OSError, ValueError):
        return 0, ""
    except storage.AddressError as error:
        raise RowError(str(error)) from error
    return stat["size"], stat["version"]


def time_span(values: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Start and end of the utterance in its audio, seconds; None for the audio's own.

    Args:
        values: The values under our names, with ``start``, ``end`` and ``duration``. A duration counts only beside a
            start; alone it describes the file.

    Raises:
        RowError: A value is no time, or the end is not after the start.
    """
    start_s, end_s, duration_s = (_seconds(values[name], name) for name in ("start", "end", "duration"))
    if end_s is None and start_s is not None and duration_s is not None:
        end_s = round(start_s + duration_s, TIME_DECIMALS)
    if end_s is not None and end_s <= (start_s or 0.0):
        raise RowError(f"it ends at {end_s:g} s, before or where it starts ({start_s or 0.0:g} s)")
    return start_s, end_s


def stated_duration(values: Mapping[str, Any]) -> float | None:
    """How long an utterance is, as its row says; None where that says nothing, or no time.

    Args:
        values: The values under our names, with ``duration``.
    """
    try:
        return _seconds(values["duration"], "duration") or None
    except RowError:
        return None


def _seconds(value: Any, name: str) -> float | None:
    if value is None or (value != value if type(value) is float else str(value).strip().lower() in _NO_TIME):
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise RowError(f"{name} is not a number of seconds: {_quoted(value)}") from None
    if not 0 <= seconds < _LONGEST_S:
        raise RowError(f"{name} is not a time: {_quoted(value)}")
    return round(seconds, TIME_DECIMALS)


def _quoted(value: Any) -> str:
    """A cell for a message, cut where it is long; masked first, for half a password is not recognised."""
    return reprlib.repr(uris.masked(value) if isinstance(value, str) else value)
