"""Rows of a Parquet file; what is damaged fails by rows or by row groups, and the rest is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import IO, Any

from llaso_data.errors import LLaSOError
from llaso_data.io.table_cells import WatchedFile, rows_at_once

_BATCH_BYTES = 64 << 20  # about
MAX_LOST_ROWS = 50_000_000  # that a row group may state and not have


def parquet_rows(
    file: IO[bytes], name: str, columns: Collection[str] | None, at_once: int, sounds: bool = True
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows of a Parquet file. A row group that cannot be read is as many failures as it says it has rows.

    Args:
        file: The file, open for reading; it can seek.
        name: What messages call it.
        columns: Names in lower case of the columns to read; None: all.
        at_once: The most rows in memory; fewer where rows are large.
        sounds: Whether ``bytes`` are read that have a ``path`` beside them.

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
        leaves = names if sounds else _without_bytes(table.schema, names)
        groups = [table.metadata.row_group(group) for group in range(table.num_row_groups)]
    except damaged as error:
        watched.check()
        raise LLaSOError(f"{name}: not a readable Parquet file ({message_of(error)})") from error
    number = end = 0
    for index, group in enumerate(groups):
        end, wrong = end + group.num_rows, "it states more rows than came"
        try:
            for batch in table.iter_batches(
                rows_at_once(group, at_once, _BATCH_BYTES), row_groups=[index], columns=leaves
            ):
                for row in rows_of(batch):
                    number += 1
                    yield number, row
        except damaged as error:
            watched.check()
            wrong = message_of(error)
        if not 0 <= end - number <= MAX_LOST_ROWS:
            raise LLaSOError(f"{name}: row group {index + 1} states {group.num_rows:,} rows ({wrong}); write it again")
        while number < end:
            number += 1
            yield number, f"its row group, number {index + 1}, is damaged ({wrong}); write the table again"


def _without_bytes(schema: Any, names: Sequence[str]) -> list[str]:
    """The paths of the columns' leaves, without those called ``bytes`` that have a ``path`` beside them."""
    paths = [schema.column(number).path for number in range(len(schema))]
    wanted = [path for path in paths if any(path == name or path.startswith(f"{name}.") for name in names)]
    beside = {path.removesuffix(".path") for path in wanted if path.endswith(".path")}
    return [path for path in wanted if not (path.endswith(".bytes") and path.removesuffix(".bytes") in beside)]


def rows_of(batch: Any) -> Iterator[dict[str, Any] | str]:
    """A record batch's rows as Python's own values; where one is not to be had, its row says so."""
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
            return f"{name} cannot be read ({message_of(error)})"
    return row


def _value(column: Any) -> Any:
    """The one value of a column; text that is not UTF-8 with lone surrogates."""
    import pyarrow as pa

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        data = column.cast(pa.large_binary())[0].as_py()
        return None if data is None else data.decode("utf-8", "surrogateescape")
    return column[0].as_py()


def message_of(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
