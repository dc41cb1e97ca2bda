"""Tables of rows (JSONL, CSV, TSV, Parquet): each row as name → value with its line, broken ones as what is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.text import TOO_LONG, lines, open_text
from llaso_data.formats.rows.source_row import extension
from llaso_data.formats.tables.delimited import cells
from llaso_data.formats.tables.json_list import items
from llaso_data.formats.tables.parquet import parquet_rows
from llaso_data.io import storage

TABLE_EXTENSIONS = frozenset(("jsonl", "ndjson", "json", "csv", "tsv", "parquet"))

Row = dict[str, Any]
Line = tuple[int, Row | str]
"""Line number from 1 (of Parquet and of a JSON list: row number) and the row, or what is wrong with it."""


def rows(uri: str, columns: frozenset[str] | None = None, at_once: int = 4096) -> Iterator[Line]:
    """The rows of a table by its extension; of a Parquet file only ``columns``, where given, ``at_once`` in memory.

    Text is UTF-8; stray bytes come as lone surrogates, to be found in the value that they are in. A TSV has no
    quotes (Common Voice's sentences contain them), a CSV has. Raises LLaSOError where the table cannot be opened.
    """
    kind = extension(uri)
    try:
        with storage.open_read(uri) as file, _decoding(uri):
            if kind == "parquet":
                yield from parquet_rows(file, uri, columns, at_once)
            elif kind in ("csv", "tsv"):
                yield from _named(cells(_text(file, uri), kind))
            else:
                yield from _json(_text(file, uri))
    except OSError as error:
        raise LLaSOError(f"{uri}: cannot be read ({error.strerror or error})") from error


def _text(file: IO[bytes], uri: str) -> io.TextIOWrapper:
    try:
        return open_text(file)
    except LLaSOError as error:
        raise LLaSOError(f"{uri}: {error}") from error


@contextmanager
def _decoding(uri: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        said = f"not {error.encoding.upper()}, as its byte-order mark says; save it as UTF-8"
        raise LLaSOError(f"{uri}: {said}") from error


def columns_of(uri: str) -> list[str]:
    """The columns of a table that says them itself: CSV, TSV, Parquet; empty for JSON and for what cannot be read."""
    kind = extension(uri)
    if kind in ("csv", "tsv"):
        return header(uri)
    if kind != "parquet":
        return []
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open_read(uri) as file:
            return list(pq.ParquetFile(file).schema_arrow.names)
    except (pa.ArrowException, OSError, ValueError):  # reading says what is wrong
        return []


def header(uri: str) -> list[str]:
    """The column names of a CSV or TSV; empty for what has none."""
    with storage.open_read(uri) as file, _decoding(uri):
        _, names = next(cells(_text(file, uri), "tsv" if extension(uri) == "tsv" else "csv"), (1, []))
    return [] if isinstance(names, str) else _stripped(names)


def _stripped(names: list[str]) -> list[str]:
    return [name.strip() for name in names]


def _named(found: Iterator[tuple[int, list[str] | str]]) -> Iterator[Line]:
    number, first = next(found, (1, []))
    if isinstance(first, str):
        yield number, first
        return
    names = _stripped(first)
    for number, row in found:
        yield number, row if isinstance(row, str) else dict(zip(names, row, strict=True))


def _json(text: io.TextIOWrapper) -> Iterator[Line]:
    start = text.read(1 << 16).lstrip()
    while not start and (read := text.read(1 << 16)):
        start = read.lstrip()
    text.seek(0)
    if start.startswith("["):
        yield from items(text)
        return
    for number, line in lines(text):
        if line is None:
            yield number, f"a line {TOO_LONG}"
        elif line.strip("\ufeff \t\r\n"):
            yield number, _json_row(line)


def _json_row(line: str) -> Row | str:
    try:
        item = json.loads(line)
    except json.JSONDecodeError as error:
        return f"not JSON ({error.msg} at column {error.colno})"
    except RecursionError:
        return "not JSON of a sensible depth"
    except ValueError:  # Python reads no integers of more than 4300 digits
        return "not JSON that can be read (a number of thousands of digits)"
    return item if isinstance(item, dict) else "not a JSON object"
