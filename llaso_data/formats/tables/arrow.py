"""Rows of an Arrow file, as ``save_to_disk`` of Hugging Face's datasets writes it; nothing that it says is believed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import IO, Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.tables.parquet import message_of, rows_of
from llaso_data.io.table_cells import WatchedFile, arrow_batches, is_sound


def arrow_rows(
    file: IO[bytes], uri: str, columns: Collection[str], at_once: int, sounds: bool = False
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows of an Arrow stream or file. What is damaged fails by batches; where a stream breaks off, reading ends.

    Args:
        file: The file, open for reading.
        uri: The same; messages name it.
        columns: The columns to read.
        at_once: The most rows in memory.
        sounds: Whether the bytes of columns of sounds are read; else only what stands beside them.

    Yields:
        The number of a row, from 1, and the row, or what is wrong with it.

    Raises:
        LLaSOError: The file is no Arrow file.
    """
    import pyarrow as pa

    damaged = (pa.ArrowException, ValueError, OSError, OverflowError)
    watched = WatchedFile(file)
    number = 0
    try:
        schema, batches = arrow_batches(uri, watched)
    except damaged as error:
        watched.check()
        raise LLaSOError(f"{uri}: not a readable Arrow file ({message_of(error)})") from error
    names = [name for name in schema.names if name in columns]
    try:
        for batch in batches:
            end = number + batch.num_rows
            try:
                taken = pa.record_batch([_checked(batch.column(name), sounds) for name in names], names)
                for start in range(0, batch.num_rows, at_once):
                    for row in rows_of(taken.slice(start, at_once)):
                        number += 1
                        yield number, row
            except damaged as error:
                wrong = message_of(error)
                while number < end:
                    number += 1
                    yield number, f"its batch of rows is damaged ({wrong}); write the table again"
    except damaged as error:
        watched.check()
        yield number + 1, f"the table breaks off here ({message_of(error)}); fetch it again"


def _checked(array: Any, sounds: bool) -> Any:
    """A column whose offsets lie inside it. Of sounds that are not to be read, what stands beside their bytes."""
    import pyarrow as pa

    if not sounds and is_sound(array.type):
        paths = pa.nulls(len(array), pa.string())
        if pa.types.is_struct(array.type) and (index := array.type.get_field_index("path")) >= 0:
            paths = _checked(array.field(index), True)
        return pa.StructArray.from_arrays([paths], ["path"])
    array.validate()
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        large = pa.types.is_large_string(array.type)
        array.view(pa.large_binary() if large else pa.binary()).validate(full=True)  # its text may be no UTF-8
    else:
        array.validate(full=True)
    return array
