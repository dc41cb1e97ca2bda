"""A manifest: one row per utterance with at least ``audio``, in JSONL, CSV, TSV or Parquet."""

from __future__ import annotations

import math
import posixpath
import reprlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from llaso_data import uris
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.text import MAX_TEXT_BYTES, TOO_LONG
from llaso_data.formats.rows.channels import selection
from llaso_data.formats.rows.source_row import (
    Entry,
    RowError,
    Said,
    Tree,
    bad_row,
    escaped,
    extension,
    guarded,
    is_empty,
)
from llaso_data.formats.tables.table_rows import TABLE_EXTENSIONS, columns_of, header, rows
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import TIME_DECIMALS

# Our name first, then what other tools call it (NeMo, Hugging Face tables); the first that has a value counts.
NAMES: dict[str, tuple[str, ...]] = {
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
    "start": ("start", "start_s", "start_time", "offset", "begin"),
    "end": ("end", "end_s", "end_time"),
    "duration": ("duration", "duration_s"),
    "channel": ("channel",),
    "channels": ("channels", "num_channels"),
}
COLUMNS = frozenset(name for names in NAMES.values() for name in names)
NOT_SAID = frozenset(("", "nan", "null", "none"))
_LOOKED_AT = 1000  # rows whose columns are told
_NAMED = 12  # columns
LONGEST_S = 1e9  # thirty years; beyond, samples and bytes are no numbers that anything can hold


def entries(spec: SourceSpec, tree: Tree) -> Iterator[Entry]:
    """Every row, in the order of (audio, start, end). Raises LLaSOError where no column names the audio."""
    kind = extension(tree.root)
    if kind not in TABLE_EXTENSIONS or not tree.is_file:
        kinds = ", ".join(sorted(TABLE_EXTENSIONS))
        raise LLaSOError(f"{spec.path}: a manifest is a file that ends in one of {kinds}")
    if kind in ("csv", "tsv"):
        names = [name.strip().lower() for name in header(tree.root)]
        if not set(names) & set(NAMES["audio"]):
            raise LLaSOError(f"{spec.path}: no column `audio`; its columns are {escaped(', '.join(names)) or '(none)'}")
    found = sorted(_entries(tree), key=Entry.order)
    if not found:
        raise LLaSOError(f"{spec.path}: the manifest holds no row; take it out of the sources, or write it again")
    return iter(found)


def _entries(tree: Tree) -> Iterator[Entry]:
    manifest = tree.root
    root, _, name = manifest.rpartition("/")
    stat_once = lru_cache(maxsize=4096)(stat)  # many rows may share one file; the next read looks again
    used: set[str] = set()
    seen = dict.fromkeys(columns_of(manifest))
    for number, row in rows(manifest, COLUMNS):
        if number <= _LOOKED_AT and isinstance(row, dict):
            seen.update(dict.fromkeys(row))
            used.update(_chosen(row))
        where = f"{name}:{number}"
        if isinstance(row, str):
            yield bad_row(root, manifest, where, row)
            continue
        yield guarded(partial(entry, row, root, manifest, where, stat_once), root, manifest, where)

    unused = [name for name in seen if str(name).strip().lower() not in used]
    if unused:
        shown = escaped(", ".join(map(str, unused[:_NAMED]))) + (", …" if len(unused) > _NAMED else "")
        tree.note(f"columns not used of {name}: {shown}", len(unused))


def _chosen(row: Mapping[str, Any]) -> Iterator[str]:
    """The columns that a row's values are taken from."""
    lower = {str(name).strip().lower(): value for name, value in row.items()}
    for names in NAMES.values():
        yield from islice((name for name in names if not is_empty(lower.get(name))), 1)


def entry(
    row: Mapping[str, Any], root: str, container: str, where: str, stat: Callable[[str], tuple[int, str]]
) -> Entry:
    """The entry of a row; paths are relative to ``root``. Raises RowError that says what is wrong with the row."""
    values = by_our_names(row)
    path, uri = audio_path(_audio(values["audio"]), root)
    start_s, end_s = span(values)
    size_bytes, version = stat(uri)
    return Entry(
        path=path,
        uri=uri,
        root=root,
        container=container,
        member=text_of(values["member"]),
        start_s=start_s,
        end_s=end_s,
        said=described(values),
        size_bytes=size_bytes,
        version=version,
        where=where,
    )


def described(values: Mapping[str, Any]) -> Said:
    """The text and attributes among a row's values. Raises RowError."""
    names = ("text", "language", "speaker", "gender", "age", "accent", "environment")
    channels, count = selection(values)
    return Said(
        **{name: text_of(values.get(name)) for name in names},
        channels=channels,
        channel_count=count,
    )


def by_our_names(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row under our names for its columns."""
    lower = {str(name).strip().lower(): value for name, value in row.items()}
    return {name: _first(lower, names) for name, names in NAMES.items()}


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if not is_empty(row.get(name))), None)


def text_of(value: Any) -> str | None:
    """A cell as text on one line; None where nothing is said. Raises RowError for lists and objects."""
    if is_empty(value):
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if not isinstance(value, (str, int, float)):
        raise RowError(f"text or a number expected, got {type(value).__name__}")
    if isinstance(value, str) and len(value) > MAX_TEXT_BYTES:
        raise RowError(f"a value {TOO_LONG}")
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # tables with gaps turn whole numbers into floats
    return " ".join(str(value).split()) or None


def _audio(value: Any) -> str:
    if isinstance(value, Mapping):  # Hugging Face: {"path", "bytes"}
        if value.get("bytes"):
            raise RowError("the audio is inside the table; export it to files or a WebDataset tar")
        value = value.get("path")
    if not isinstance(value, str) or not value.strip():
        raise RowError("`audio` is missing")
    if "\x00" in value:
        raise RowError("`audio` is not a path")
    return value.strip()


def audio_path(said: str, root: str) -> tuple[str, str]:
    """(path for the id, URI) of what a row says: relative to ``root``, absolute, or a URI. Raises RowError."""
    kind = uris.scheme(said)
    if (why := uris.refused(said, storage.scheme(root))) is not None:
        raise RowError(f"{uris.shown(said)}: {why}")
    if kind not in ("", "file"):
        return (said[len(root) + 1 :] if said.startswith(f"{root}/") else said), said
    if kind and not storage.is_local(root):
        raise RowError(f"{said}: a manifest on a store names no files of this machine")
    said = said.removeprefix("file://")
    if said.startswith("/") and storage.is_local(root):
        uri = posixpath.normpath(said)
        return (uri[len(root) + 1 :] if uri.startswith(f"{root}/") else uri), uri
    path = posixpath.normpath(said)
    if storage.is_local(root):
        return path, posixpath.normpath(f"{root}/{path}")
    scheme, _, rest = root.partition("://")
    whole = posixpath.normpath(f"{rest}/{path}")
    if whole.partition("/")[0] != rest.partition("/")[0]:
        raise RowError(f"{said}: leads out of {scheme}://{rest.partition('/')[0]}; write the whole address")
    return path, f"{scheme}://{whole}"


def span(values: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """(start, end) in seconds; ``duration`` counts only beside a start, alone it describes the file."""
    start_s, end_s, duration_s = (_seconds(values[name], name) for name in ("start", "end", "duration"))
    if end_s is None and start_s is not None and duration_s is not None:
        end_s = round(start_s + duration_s, TIME_DECIMALS)
    if end_s is not None and end_s <= (start_s or 0.0):
        raise RowError(f"it ends at {end_s:g} s, before or where it starts ({start_s or 0.0:g} s)")
    return start_s, end_s


def _seconds(value: Any, name: str) -> float | None:
    if value is None or str(value).strip().lower() in NOT_SAID:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise RowError(f"{name} is not a number of seconds: {_quoted(value)}") from None
    if not 0 <= seconds < LONGEST_S:
        raise RowError(f"{name} is not a time: {_quoted(value)}")
    return round(seconds, TIME_DECIMALS)


def _quoted(value: Any) -> str:
    """A cell for a message, cut where it is long; masked first, for what is cut is known no more."""
    return reprlib.repr(uris.masked(value) if isinstance(value, str) else value)


def stat(uri: str) -> tuple[int, str]:
    """(size in bytes, version) of a file; (0, "") where it is not there: decoding will say so.

    Raises RowError where it is no address of anything, or needs a package; a store that fails ends the run.
    """
    try:
        found = storage.stat(uri)
    except (OSError, ValueError):
        return 0, ""
    except storage.AddressError as error:
        raise RowError(str(error)) from error
    return found["size"], found["version"]
