"""Rows of tables (JSON lines and lists, CSV, TSV, Parquet), each with its line; a broken row says what is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.files import gzipped
from llaso_data.formats.files.text import TOO_LONG, numbered_lines, open_text
from llaso_data.formats.tables.delimited import delimited_rows
from llaso_data.formats.tables.json_list import json_list_items
from llaso_data.formats.tables.parquet import parquet_rows
from llaso_data.io import storage
from llaso_data.uris import extension

TABLE_EXTENSIONS = frozenset(("jsonl", "ndjson", "json", "csv", "tsv", "parquet"))
JSON_EXTENSIONS = frozenset(("jsonl", "ndjson", "json"))
COMPRESSED = ".gz"
"""What the name of a table of text ends in besides, where it is compressed by gzip."""
TABLE_ENDINGS = TABLE_EXTENSIONS | {f"{kind}{COMPRESSED}" for kind in TABLE_EXTENSIONS - {"parquet"}}
"""What the names of tables end in, after a dot."""

Row = dict[str, Any]
"""Column name → value."""
NumberedRow = tuple[int, Row | str]
"""Line number from 1 (of Parquet and of a JSON list: row number), and the row, or what is wrong with it."""


def table_kind(path: str) -> str:
    """The extension of a table's name, in small letters; of a compressed one that before ``.gz``: ``jsonl``."""
    kind = extension(path)
    return extension(path[: -len(COMPRESSED)]) if f".{kind}" == COMPRESSED else kind


def is_table(path: str) -> bool:
    """Whether a file's name is that of a table: it ends in one of :data:`TABLE_ENDINGS`."""
    compressed = path.lower().endswith(COMPRESSED)
    return table_kind(path) in TABLE_EXTENSIONS and not (compressed and table_kind(path) == "parquet")


def table_rows(uri: str, columns: frozenset[str] | None = None, at_once: int = 4096) -> Iterator[NumberedRow]:
    """The rows of a table, which its extension names (:data:`TABLE_ENDINGS`).

    Text is read by its byte-order mark, else as UTF-8; stray bytes come as lone surrogates in the value that they are
    in. A TSV has no quotes (Common Voice's sentences contain them), a CSV has. Where a compressed table breaks off,
    that is a broken row after the last whole one.

    Args:
        uri: The table.
        columns: Of a Parquet file, the names in lower case of the columns to read; None: all.
        at_once: Of a Parquet file, the most rows in memory.

    Raises:
        LLaSOError: The table cannot be opened, or is not what its extension says.
    """
    kind = table_kind(uri)
    number = 0
    try:
        with storage.open_read(uri) as file, _decoding(uri):
            if kind == "parquet":
                yield from parquet_rows(file, uri, columns, at_once)
                return
            text = _text(unpacked(file, uri), uri)
            rows = _by_column(delimited_rows(text, kind)) if kind in ("csv", "tsv") else _json_rows(text)
            for number, row in rows:
                yield number, row
    except gzipped.GzipError as error:
        yield number + 1, str(error)
    except OSError as error:
        raise LLaSOError(f"{uri}: cannot be read ({error.strerror or error})") from error


def unpacked(file: IO[bytes], uri: str) -> IO[bytes]:
    """The content of a file that gzip compressed, by its name; any other file as it is.

    Reading one that is damaged, or that unpacks to more than a table would, raises GzipError.
    """
    return gzipped.unpacked(file) if uri.lower().endswith(COMPRESSED) else file


def first_row(uri: str) -> Row | None:
    """The first row of a JSON table, by which layouts are told; None where the file is none, or begins broken."""
    if table_kind(uri) not in JSON_EXTENSIONS:
        return None
    try:
        _, row = next(table_rows(uri), (0, ""))
    except (LLaSOError, OSError):
        return None
    return row if isinstance(row, dict) else None


def _text(file: IO[bytes], uri: str) -> io.TextIOWrapper:
    try:
        return open_text(file)
    except gzipped.GzipError:
        raise
    except LLaSOError as error:
        raise LLaSOError(f"{uri}: {error}") from error


@contextmanager
def _decoding(uri: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        message = f"not {error.encoding.upper()}, as its byte-order mark says; save it as UTF-8"
        raise LLaSOError(f"{uri}: {message}") from error


def columns_of(uri: str) -> list[str]:
    """The columns that a CSV, TSV or Parquet file states; empty for JSON, and for what cannot be read."""
    kind = table_kind(uri)
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
    """The column names of a CSV or TSV, without white space around them; empty where its first row is broken.

    Raises:
        LLaSOError: The file is not text.
    """
    with storage.open_read(uri) as file, _decoding(uri):
        try:
            rows = delimited_rows(_text(unpacked(file, uri), uri), "tsv" if table_kind(uri) == "tsv" else "csv")
            _, names = next(rows, (1, []))
        except gzipped.GzipError:
            return []  # reading says what is wrong
    return [] if isinstance(names, str) else _stripped(names)


def _stripped(names: list[str]) -> list[str]:
    return [name.strip() for name in names]


def _by_column(rows: Iterator[tuple[int, list[str] | str]]) -> Iterator[NumberedRow]:
    number, first = next(rows, (1, []))
    if isinstance(first, str):
        yield number, first
        return
    names = _stripped(first)
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        yield number, f"more than one column is named {twice[0]!r:.80}; rename them, and read the table again"
        return
    for number, row in rows:
        yield number, row if isinstance(row, str) else dict(zip(names, row, strict=True))


def _json_rows(text: io.TextIOWrapper) -> Iterator[NumberedRow]:
    start = text.read(1 << 16).lstrip()
    while not start and (chunk := text.read(1 << 16)):
        start = chunk.lstrip()
    text.seek(0)
    if start.startswith("["):
        yield from json_list_items(text)
        return
    for number, line in numbered_lines(text):
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
