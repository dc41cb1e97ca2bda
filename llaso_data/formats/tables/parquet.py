"""Rows of a Parquet file; what is damaged fails by rows or by row groups, and the rest is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

from llaso_data.errors import LLaSOError
from llaso_data.io.table_cells import WatchedFile, rows_at_once

_BATCH_BYTES = 64 << 20  # about
MAX_LOST_ROWS = 50_000_000  # that a row group may state and not have


def parquet_rows(
    file: IO[bytes], name: str, columns: frozenset[str] | None, at_once: int
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows of a Parquet file. A row group that cannot be read is as many failures as it says it has rows.

    Args:
        file: The file, open for reading; it can seek.
        name: What messages call it.
        columns: Names in lower case of the columns to read; None: all.
        at_once: The most rows in memory; fewer where rows are large.

    Yields:
        The number of a row, from 1, and the row, or what is wrong with it.

    Raises:
        LLaSOError: The file is no Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    watched = WatchedFile(file)
    damaged = (pa.ArrowException, ValueError, OSError, OverflowError)
    try:
        table = pq.ParquetFile(watched, page_checksum_verification=True)
        names = [one for one in table.schema_arrow.names if columns is None or one.lower() in columns]
        groups = [table.metadata.row_group(group) for group in range(table.num_row_groups)]
    except damaged as error:
        watched.check()
        raise LLaSOError(f"{name}: not a readable Parquet file ({_message(error)})") from error
    number = end = 0
    for index, group in enumerate(groups):
        end, wrong = end + group.num_rows, "it states more rows than came"
        try:
            for batch in table.iter_batches(
                rows_at_once(group, at_once, _BATCH_BYTES), row_groups=[index], columns=names
            ):
                for row in _rows(batch):
                    number += 1
                    yield number, row
        except damaged as error:
            watched.check()
            wrong = _message(error)
        if not 0 <= end - number <= MAX_LOST_ROWS:
            raise LLaSOError(f"{name}: row group {index + 1} states {group.num_rows:,} rows ({wrong}); write it again")
        while number < end:
            number += 1
            yield number, f"its row group, number {index + 1}, is damaged ({wrong}); write the table again"


def _rows(batch: Any) -> Iterator[dict[str, Any] | str]:
    """A batch's rows as Python's own values; where one is not to be had, its row says so."""
    try:
        yield from batch.to_pylist()
        return
    except (ValueError, OverflowError, TypeError, ArithmeticError):
        pass
    for number in range(batch.num_rows):
        yield _row(batch.slice(number, 1))


def _row(batch: Any) -> dict[str, Any] | str:
    row: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = _value(column)
        except (ValueError, OverflowError, TypeError, ArithmeticError) as error:
            return f"{name} cannot be read ({_message(error)})"
    return row


def _value(column: Any) -> Any:
    """The one value of a column; text that is not UTF-8 with lone surrogates."""
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        data = column.cast(pa.large_binary())[0].as_py()
        return None if data is None else data.decode("utf-8", "surrogateescape")
    return column[0].as_py()


def _message(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
