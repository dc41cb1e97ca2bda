"""Rows sorted on disk where they are many: no reader holds all rows of a corpus in memory."""

from __future__ import annotations

import heapq
import json
import marshal
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from itertools import chain, islice, pairwise
from operator import attrgetter
from typing import IO, Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.rows.head import first_rows
from llaso_data.formats.rows.source_row import SourceMetadata, SourceRow
from llaso_data.io.store_errors import writing
from llaso_data.records import Failure, Word

RUN_ROWS = 50_000
"""Rows that are sorted in memory at once: some 50 MB."""
_BATCH_ROWS = 64
"""Rows of a run that are read back at once. One such batch of every run is in memory while runs are merged."""
_LENGTH_BYTES = 4

_ROW_FIELDS = tuple(one.name for one in fields(SourceRow) if one.name not in ("metadata", "failure"))
_METADATA_FIELDS = tuple(one.name for one in fields(SourceMetadata) if one.name != "words")
_FAILURE_FIELDS = tuple(one.name for one in fields(Failure))
_row_values = attrgetter(*_ROW_FIELDS)
_metadata_values = attrgetter(*_METADATA_FIELDS)
_failure_values = attrgetter(*_FAILURE_FIELDS)
_word_values = attrgetter(*(one.name for one in fields(Word)))


def sorted_rows(
    rows: Iterable[SourceRow], *, if_none: str | None = None, run_rows: int = RUN_ROWS
) -> Iterator[SourceRow]:
    """The rows in the order of :meth:`SourceRow.sort_key`, as ``sorted`` gives them.

    All rows are taken at the call. Where they are more than ``run_rows``, every so many are sorted and written to an
    anonymous temporary file, and the sorted runs are merged while the result is read. The file has no name and
    disappears with the iterator, or with the process.

    Args:
        rows: Rows in any order.
        if_none: What is wrong where there is no row, for the user; None: no row is no error.
        run_rows: The most rows that are sorted in memory at once.

    Returns:
        An iterator over the rows. Rows with the same key stay in their order.

    Raises:
        LLaSOError: There is no row, and ``if_none`` says that this is wrong; or the temporary file cannot be written.
    """
    merged = _sorted(first_rows(rows), run_rows)
    first = next(merged, None)  # by now all rows are read, sorted and written
    if first is not None:
        return chain((first,), merged)
    if if_none is not None:
        raise LLaSOError(if_none)
    return iter(())


def _sorted(rows: Iterator[SourceRow], run_rows: int) -> Iterator[SourceRow]:
    run = _next_run(rows, run_rows)
    if len(run) < run_rows:
        yield from run
        return
    with tempfile.TemporaryFile(prefix="llaso-rows-") as file:
        starts = [0]
        while len(run) == run_rows:
            _write_run(file, run)
            starts.append(file.tell())
            run.clear()  # before the next one is made
            run = _next_run(rows, run_rows)
        runs = [_read_run(file, start, end) for start, end in pairwise(starts)]
        yield from heapq.merge(*runs, run, key=SourceRow.sort_key)


def _next_run(rows: Iterator[SourceRow], run_rows: int) -> list[SourceRow]:
    return sorted(islice(rows, run_rows), key=SourceRow.sort_key)


def _write_run(file: IO[bytes], run: list[SourceRow]) -> None:
    folder = tempfile.gettempdir()
    with writing(f"the file in {folder} in which rows are sorted", folder):
        for start in range(0, len(run), _BATCH_ROWS):
            batch = _stored(run[start : start + _BATCH_ROWS])
            file.write(len(batch).to_bytes(_LENGTH_BYTES, "little"))
            file.write(batch)
        file.flush()


def _stored(rows: list[SourceRow]) -> bytes:
    try:
        return marshal.dumps([_values_of(row) for row in rows])
    except ValueError:  # columns of Parquet hold days, decimals and other values that marshal does not know
        plain = [replace(row, fields=row.fields and _plain_fields(row.fields)) for row in rows]
        return marshal.dumps([_values_of(row) for row in plain])


def _plain_fields(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as a map of templates takes them: texts and numbers, and what is written as JSON.

    An empty tuple stands for every other value: it is no text and no number either.
    """
    return {name: _plain(value) for name, value in columns.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    return json.loads(json.dumps(value, default=str)) if isinstance(value, (list, dict)) else ()


def _read_run(file: IO[bytes], start: int, end: int) -> Iterator[SourceRow]:
    """The rows that lie in the file from byte ``start`` to byte ``end``; other runs are read in between."""
    while start < end:
        file.seek(start)
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        batch = marshal.loads(file.read(length))  # what this process wrote into a file that has no name
        start += _LENGTH_BYTES + length
        yield from map(_row_of, batch)


def _values_of(row: SourceRow) -> tuple[Any, ...]:
    """A row as tuples of plain values, which are all that ``marshal`` stores."""
    failure = row.failure and _failure_values(row.failure)
    words = row.metadata.words and [_word_values(word) for word in row.metadata.words]
    return _row_values(row), _metadata_values(row.metadata), words, failure


def _row_of(stored: tuple[Any, ...]) -> SourceRow:
    values, metadata, words, failure = stored
    by_name = dict(zip(_ROW_FIELDS, values, strict=True))
    by_name["metadata"] = SourceMetadata(
        **dict(zip(_METADATA_FIELDS, metadata, strict=True)), words=words and tuple(Word(*word) for word in words)
    )
    by_name["failure"] = failure and Failure(*failure)
    return SourceRow(**by_name)
