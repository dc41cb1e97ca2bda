"""A table of SpeechBrain: CSV ``ID,duration,wav,…``, or JSON ``{ID: {"wav", "length", …}}``, with placeholders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.files.text import open_text
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceRow, failed_row, is_empty, row_or_failure
from llaso_data.formats.tables.columns import (
    ROWS_FOR_COLUMNS,
    audio_location,
    audio_name,
    audio_stat,
    canonical_values,
    metadata_of,
    note_unused,
    time_span,
    used_columns,
)
from llaso_data.formats.tables.json_members import json_members
from llaso_data.formats.tables.table_rows import header, table_rows
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.uris import extension

_HEAD_CHARACTERS = 1 << 14
_JSON_HEAD = re.compile(r'\ufeff?\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{[^{}]*"(?:wav|sig|file_path)"\s*:')
_PLACEHOLDER = re.compile(r"(?:\{(\w+)\}|\$\{(\w+)\}|\$(\w+))(?=/|$)/*")
_OUR_NAMES = {
    "spk_id": "speaker",
    "words": "text",
    "length": "duration",
    "stop": "end",
    "sig": "wav",
    "file_path": "wav",
}
"""Columns of SpeechBrain's recipes that manifests call otherwise."""
_RATES_HZ = frozenset((8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000))
_RATE_HZ = 16_000

Row = Mapping[str, Any]


def recognises(tree: FileTree) -> str | None:
    """A CSV with the columns ID, duration and wav, or a JSON object of objects with ``wav``."""
    kind = extension(tree.root) if tree.is_file and "{" not in tree.root else ""
    if kind == "csv":
        columns = set(header(tree.root))
        return "it has the columns ID, duration and wav" if {"ID", "duration", "wav"} <= columns else None
    if kind == "json" and _JSON_HEAD.match(_head(tree.root)):
        return "it is a JSON object of objects with wav"
    return None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row. A path relative to nothing, or to a placeholder, is relative to ``spec.root``, else to the table.

    Raises:
        LLaSOError: The source is no such table, or there is no row.
    """
    kind = extension(tree.root)
    if not tree.is_file or kind not in ("csv", "json"):
        raise LLaSOError(f"{spec.path}: SpeechBrain's tables are files that end in .csv or .json; name one")
    if kind == "csv" and "ID" not in header(tree.root):
        raise LLaSOError(f"{spec.path}: no column ID; is this a table of SpeechBrain?")
    return sorted_rows(_rows(spec, tree), if_none=f"{spec.path}: the table holds no row; write it again")


def _head(uri: str) -> str:
    try:
        with storage.open_read(uri) as file:
            return open_text(file).read(_HEAD_CHARACTERS)
    except (OSError, UnicodeDecodeError, LLaSOError) as error:
        if isinstance(error, storage.StoreError):
            raise
        return ""  # reading says what is wrong


def _rows(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    folder, _, name = tree.root.rpartition("/")
    root = storage.absolute(spec.root) if spec.root else None
    stat_once = lru_cache(maxsize=4096)(audio_stat)  # many rows may share one file
    columns: dict[str, None] = {}
    used = {"id", *(label.lower() for label in tree.labels)}
    ids: set[str] = set()
    try:
        for number, (line, id, row) in enumerate(_numbered(tree.root), 1):
            where = f"{name}:{line}"
            if isinstance(row, str):
                yield failed_row(folder, tree.root, where, row)
                continue
            values = _renamed(row)
            if number <= ROWS_FOR_COLUMNS:
                columns.update(dict.fromkeys(row))
                known = used_columns(values)
                used |= {column.lower() for column in row if _OUR_NAMES.get(column.lower(), column.lower()) in known}
            make = partial(_source_row, values, id, ids, folder, root, tree.root, where, stat_once)
            made = row_or_failure(make, folder, tree.root, where)
            yield replace(made, fields=row) if tree.labels and made.failure is None else made
    finally:  # a preview reads only the first rows
        note_unused(tree, name, columns, used)


def _numbered(uri: str) -> Iterator[tuple[int, str, dict[str, Any] | str]]:
    """The line, the id and the rest of every row, or what is wrong with it."""
    if extension(uri) == "csv":
        for number, row in table_rows(uri):
            if isinstance(row, str):
                yield number, "", row
            else:
                yield number, str(row.get("ID") or "").strip(), {k: _trimmed(v) for k, v in row.items() if k != "ID"}
        return
    try:
        with storage.open_read(uri) as file:
            yield from json_members(open_text(file))
    except UnicodeDecodeError as error:
        raise LLaSOError(f"{uri}: not {error.encoding.upper()}, as its byte-order mark says") from error
    except OSError as error:
        raise LLaSOError(f"{uri}: cannot be read ({error.strerror or error})") from error


def _trimmed(cell: Any) -> Any:
    """A cell of SpeechBrain's CSV: white space after a comma belongs to no cell."""
    return cell.strip() if isinstance(cell, str) else cell


def _renamed(row: Row) -> dict[str, Any]:
    """The row with the names that manifests have; ``{"file", "start", "stop"}`` as columns of their own."""
    values: dict[str, Any] = {}
    for column, value in row.items():
        name = column.strip().lower()
        if isinstance(value, dict) and "file" in value:
            values |= {"wav": value["file"], "start": value.get("start"), "end": value.get("stop")}
        else:
            values.setdefault(_OUR_NAMES.get(name, name), value)
    if isinstance(values.get("text"), list):  # of words
        values["text"] = " ".join(map(str, values["text"]))
    return values


def _source_row(
    row: Row,
    id: str,
    ids: set[str],
    folder: str,
    root: str | None,
    container: str,
    where: str,
    stat: Callable[[str], tuple[int, str]],
) -> SourceRow:
    """Raises RowError that says what is wrong with the row."""
    if not id:
        raise RowError("the row has no ID")
    if id in ids:
        raise RowError(f"another row has the ID {id[:80]!r}; take one out")
    ids.add(id)
    values = canonical_values(row)
    name, placeholder = _without_placeholder(audio_name(values["audio"]))
    path, uri = audio_location(name, root or folder)
    size_bytes, version = stat(uri)
    if placeholder and root is None and not version:
        raise RowError(
            f"{placeholder} stands for a folder that nobody names; give it as --root, or `root` in the recipe"
        )
    start_s, end_s = time_span(_in_seconds(values))
    return SourceRow(
        path=path,
        uri=uri,
        root=folder,
        container=container,
        start_s=start_s,
        end_s=end_s,
        metadata=metadata_of(values),
        size_bytes=size_bytes,
        version=version,
        where=where,
    )


def _without_placeholder(name: str) -> tuple[str, str | None]:
    """A path without the placeholder that it begins with, and the placeholder.

    Raises:
        RowError: There is nothing behind the placeholder.
    """
    match = _PLACEHOLDER.match(name)
    rest = name[match.end() :] if match else name
    if match and not rest:
        raise RowError(f"`wav` names a folder ({name[:80]!r}), and no file in it")
    return rest, match[0].rstrip("/") if match else None


def _in_seconds(values: Row) -> dict[str, Any]:
    """The row's times in seconds. SpeechBrain counts samples: start and stop without a point are such counts."""
    start, end, duration = (values[name] for name in ("start", "end", "duration"))
    counts = [_count(value) for value in (start, end)]
    rate_hz = _RATE_HZ
    length_s = _number(duration)
    if counts[0] is not None and counts[1] is not None and length_s:
        stated_hz = round((counts[1] - counts[0]) / length_s, -1)
        rate_hz = int(stated_hz) if stated_hz in _RATES_HZ else _RATE_HZ
    if counts[0] is not None and counts[0] == counts[1]:  # SpeechBrain reads to the end
        return {"start": counts[0] / rate_hz, "end": None, "duration": None}
    start, end = (
        value if count is None else count / rate_hz for value, count in zip((start, end), counts, strict=True)
    )
    return {"start": start, "end": end, "duration": None}


def _count(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 1 << 53 else None
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if re.fullmatch(r"\d{1,15}", text) else None


def _number(value: Any) -> float | None:
    try:
        return None if is_empty(value) or isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


LAYOUT = Layout(
    name="speechbrain",
    title="tables of SpeechBrain",
    recognised_by="a `.csv` with `ID`, `duration` and `wav`, or a `.json` that is an object of objects with `wav`",
    unit="a row",
    container="the table",
    endings=frozenset(("csv", "json")),
    before=("texts", "manifest", "folder"),
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
