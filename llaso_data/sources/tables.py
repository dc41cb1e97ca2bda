"""Tables of rows (JSONL, CSV, TSV, Parquet): each row as name → value with its line, broken ones as what is wrong."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from typing import IO, Any

from llaso_data import storage
from llaso_data.errors import LLaSOError
from llaso_data.sources.entry import extension

TABLE_EXTENSIONS = frozenset(("jsonl", "ndjson", "json", "csv", "tsv", "parquet"))

Row = dict[str, Any]
Line = tuple[int, Row | str]
"""Line number from 1 (of Parquet: row number) and the row, or what is wrong with it."""


def rows(uri: str, columns: frozenset[str] | None = None, at_once: int = 4096) -> Iterator[Line]:
    """The rows of a table by its extension; of a Parquet file only ``columns``, where given, ``at_once`` in memory.

    Text is UTF-8; stray bytes come as lone surrogates, to be found in the value that they are in. A TSV has no
    quotes (Common Voice's sentences contain them), a CSV has. Raises LLaSOError where the table cannot be opened.
    """
    kind = extension(uri)
    try:
        with storage.open_read(uri) as file:
            if kind == "parquet":
                yield from _parquet(file, columns, at_once)
            elif kind in ("csv", "tsv"):
                yield from _delimited(_text(file), "\t" if kind == "tsv" else ",")
            else:
                yield from _json(_text(file))
    except OSError as error:
        raise LLaSOError(f"{uri}: cannot be read ({error.strerror or error})") from error


def header(uri: str) -> list[str]:
    """The column names of a CSV or TSV; empty for what has none."""
    with storage.open_read(uri) as file:
        return _header(_reader(_text(file), "\t" if extension(uri) == "tsv" else ","))


def _header(reader: Any) -> list[str]:
    try:
        return [name.strip() for name in next(reader, [])]
    except csv.Error:
        return []


def _text(file: IO[bytes]) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _reader(file: io.TextIOWrapper, delimiter: str) -> Any:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    if delimiter == "\t":
        return csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    return csv.reader(file, delimiter=delimiter)


def _delimited(file: io.TextIOWrapper, delimiter: str) -> Iterator[Line]:
    reader = _reader(file, delimiter)
    names = _header(reader)
    while True:
        first = reader.line_num + 1  # a quoted cell may span lines: name the first
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield first, f"not a row ({error})"
            continue
        if not cells:
            continue
        if len(cells) != len(names):
            yield first, f"{len(cells)} cells where the header has {len(names)}"
        else:
            yield first, dict(zip(names, cells, strict=True))


def _json(file: io.TextIOWrapper) -> Iterator[Line]:
    start = file.read(1)
    while start.isspace():
        start = file.read(1)
    file.seek(0)
    if start == "[":
        yield from _json_list(file)
        return
    for number, line in enumerate(file, 1):
        if line.strip("\ufeff \t\r\n"):
            yield number, _json_row(line)


def _json_list(file: io.TextIOWrapper) -> Iterator[Line]:
    items, wrong, line = _parsed(file.read())
    if wrong is not None:
        yield line, wrong
        return
    for number, item in enumerate(items, 1):
        yield number, item if isinstance(item, dict) else "not a JSON object"


def _json_row(line: str) -> Row | str:
    item, wrong, _ = _parsed(line)
    return wrong or (item if isinstance(item, dict) else "not a JSON object")


def _parsed(text: str) -> tuple[Any, str | None, int]:
    """(value, what is wrong, on which line)."""
    try:
        return json.loads(text), None, 1
    except json.JSONDecodeError as error:
        return None, f"not JSON ({error.msg} at column {error.colno})", error.lineno
    except RecursionError:
        return None, "not JSON of a sensible depth", 1
    except ValueError:  # Python reads no integers of more than 4300 digits
        return None, "not JSON that can be read (a number of thousands of digits)", 1


def _parquet(file: IO[bytes], columns: frozenset[str] | None, at_once: int) -> Iterator[Line]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file)
        names = table.schema_arrow.names
        wanted = [name for name in names if columns is None or name.lower() in columns]
        number = 0
        for batch in table.iter_batches(columns=wanted, batch_size=at_once):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, ValueError) as error:
        raise LLaSOError(f"{getattr(file, 'name', 'Parquet file')}: not a readable Parquet file ({error})") from error
