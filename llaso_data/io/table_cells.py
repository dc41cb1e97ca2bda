"""Sound inside Parquet and Arrow tables, as Hugging Face's datasets have it: one cell as a file.

A cell is named ``COLUMN/ROW``, the row counted from 0 over the whole file. Where a column holds lists (of sounds, or of
messages with sounds in them) it is ``COLUMN/ROW/PLACE``: the place is counted from 0 over all places for a sound in the
row, whether they are filled or not.

Rows are read in batches of some MiB, and each thread keeps the batch that it read last: neighbouring rows in order cost
one pass through the file, and no column is ever whole in memory.
"""

from __future__ import annotations

import io
import os
import re
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from typing import IO, Any, BinaryIO

from llaso_data.io import storage
from llaso_data.io.archive import ArchiveError
from llaso_data.io.store_errors import reading

_BATCH_BYTES = 8 << 20  # about
_READ_BYTES = 1 << 20
_OPEN_TABLES = 2  # of a thread
_ROW_DIGITS = 8
_NAME = re.compile(r"(.+?)/(\d{1,18})(?:/(\d{1,9}))?", re.DOTALL)
_STREAM = b"\xff\xff\xff\xff"
_FILE = b"ARROW1"


def cell_name(column: str, row: int, place: int | None = None) -> str:
    """The member's name of a cell. The row has eight digits, so that names sort as rows do.

    Args:
        column: Name of the column.
        row: Counted from 0 over the file.
        place: In a column of lists, the place of the sound in the row, counted from 0.
    """
    name = f"{column}/{row:0{_ROW_DIGITS}d}"
    return name if place is None else f"{name}/{place}"


def is_sound(kind: Any) -> bool:
    """Whether a type of Arrow's is that of sounds: ``struct<bytes, path>``, or bytes alone."""
    import pyarrow.types as types

    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind)


def sound_places(kind: Any, value: Any) -> Iterator[Any]:
    """The places for a sound in a cell, in their order.

    Args:
        kind: The type of the column in Arrow's words.
        value: The cell in Python's; parts of it may have been left out when it was read.

    Yields:
        What stands in each place: ``{"bytes", "path"}``, bytes, or None.
    """
    import pyarrow.types as types

    if is_sound(kind):
        yield value
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        for item in value or ():
            yield from sound_places(kind.value_type, item)
    elif types.is_struct(kind):
        for field in kind:
            yield from sound_places(field.type, None if value is None else value.get(field.name))


@contextmanager
def open_cell(uri: str, member: str) -> Iterator[BinaryIO]:
    """Open the sound in a cell of a Parquet or Arrow file; an Arrow file may be a stream or a file with a footer.

    Raises:
        FileNotFoundError: There is no such file, column, row or place, or no sound in it.
        ArchiveError: The file is no table, or is damaged there.
    """
    named = _NAME.fullmatch(member)
    if named is None:
        raise FileNotFoundError(f"{uri}!{member}: no cell of a table; it is named COLUMN/ROW")
    column, row, place = named[1], int(named[2]), int(named[3] or 0)
    with reading(uri, storage.is_local(uri), asking=False):
        kind, cell = _cell(uri, column, row)
    found = next((one for number, one in enumerate(sound_places(kind, cell)) if number == place), None)
    data = found.get("bytes") if isinstance(found, dict) else found
    if not isinstance(data, bytes):
        path = found.get("path") if isinstance(found, dict) else None
        names = f", and names {path!r:.200}" if path else ""
        raise FileNotFoundError(f"{uri}!{member}: the table holds no sound there{names}")
    yield io.BytesIO(data)


def _cell(uri: str, column: str, row: int) -> tuple[Any, Any]:
    """The type of a column and the value of its cell."""
    import pyarrow as pa

    cursor = _cursor(uri, column)
    try:
        return cursor.kind, cursor.cell(row)
    except IndexError:
        raise FileNotFoundError(f"{uri}!{column}/{row}: the table has no such row") from None
    except MemoryError:
        raise
    except (pa.ArrowException, ValueError, OSError, OverflowError) as error:
        _cursors().pop((uri, column), None)
        cursor.check()
        message = " ".join(str(error).split())[:200]
        raise ArchiveError(f"{uri}: the table is damaged near row {row} ({message}); fetch it again") from error


_per_thread = threading.local()


def _cursors() -> OrderedDict[tuple[str, str], _Cursor]:
    """This thread's open tables. A fork shares its parent's place in each file, and so opens its own."""
    if getattr(_per_thread, "process", None) != os.getpid():
        _per_thread.process, _per_thread.cursors = os.getpid(), OrderedDict()
    cursors: OrderedDict[tuple[str, str], _Cursor] = _per_thread.cursors
    return cursors


def _cursor(uri: str, column: str) -> _Cursor:
    version = storage.stat(uri)["version"] if storage.is_local(uri) else ""
    cursors = _cursors()
    cursor = cursors.get((uri, column))
    if cursor is None or cursor.version != version:
        cursor = cursors[uri, column] = _Cursor(uri, column, version)
    cursors.move_to_end((uri, column))
    while len(cursors) > _OPEN_TABLES:
        cursors.popitem(last=False)
    return cursor


class WatchedFile:
    """A file that keeps its own error: a disk's and a store's say nothing of the table that is read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, count: int = -1) -> bytes:
        """Read as a file does."""
        try:
            return self._file.read(count)
        except Exception as error:
            self._error = error
            raise

    def check(self) -> None:
        """Raise the error that reading ended in, if any."""
        if self._error is not None:
            raise self._error


class _Cursor:
    """A place in one column of an open table. Going on from it is cheap; going back begins again at a row group.

    Attributes:
        version: Of the file that is open.
        kind: The column's type, as the whole table has it.
    """

    def __init__(self, uri: str, column: str, version: str) -> None:
        import pyarrow as pa

        self.version = version
        self._files = ExitStack()
        self._watched = WatchedFile(self._files.enter_context(storage.open_read(uri)))
        try:
            self._table = (
                _ParquetColumn(self._watched, column) if _is_parquet(uri) else _ArrowColumn(uri, self._watched, column)
            )
        except (pa.ArrowException, ValueError, OSError, OverflowError) as error:
            self.check()
            message = " ".join(str(error).split())[:200]
            raise ArchiveError(f"{uri}: not a readable table ({message}); fetch it again") from error
        except KeyError:
            raise FileNotFoundError(f"{uri}: the table has no sound in a column {column!r:.100}") from None
        self.kind = self._table.kind
        self._group = -1
        self._first = 0
        self._batch: Any = ()
        self._batches: Iterator[Any] = iter(())

    def check(self) -> None:
        """Raise the file's own error, if reading it failed."""
        self._watched.check()

    def cell(self, row: int) -> Any:
        """The value of a cell. Raises IndexError where the table has no such row."""
        group = bisect_right(self._table.starts, row) - 1
        if group != self._group or row < self._first:
            self._group, self._first, self._batch = group, self._table.starts[group], ()
            self._batches = self._table.batches(group)
        while row >= self._first + len(self._batch):
            self._first += len(self._batch)
            self._batch = ()
            try:
                self._batch = next(self._batches)
            except StopIteration:
                self._group = -1
                raise IndexError(row) from None
        return self._batch[row - self._first].as_py()


class _ParquetColumn:
    """A column of a Parquet file: its sounds without what stands beside them.

    Attributes:
        kind: Its type.
        starts: The first row of each row group.
    """

    def __init__(self, file: Any, column: str) -> None:
        import pyarrow.parquet as pq

        self._table = pq.ParquetFile(file, buffer_size=_READ_BYTES, page_checksum_verification=True)
        self.kind = self._table.schema_arrow.field(column).type
        paths = [self._table.schema.column(number).path for number in range(len(self._table.schema))]
        self._leaves = [
            path
            for path in paths
            if path == column or (path.startswith(f"{column}.") and path.endswith((".bytes", ".path")))
        ]
        if not any(path == column or path.endswith(".bytes") for path in self._leaves):
            raise KeyError(column)
        self._groups = [self._table.metadata.row_group(group) for group in range(self._table.num_row_groups)]
        self.starts = [0, *accumulate(max(0, group.num_rows) for group in self._groups)]

    def batches(self, group: int) -> Iterator[Any]:
        """The column's arrays from a row group on, to the group's end."""
        if group >= len(self._groups):
            return
        for batch in self._table.iter_batches(
            rows_at_once(self._groups[group], 4096, _BATCH_BYTES),
            row_groups=[group],
            columns=self._leaves,
            use_threads=False,
        ):
            yield batch.column(0)


class _ArrowColumn:
    """A column of an Arrow file, which is read from its beginning: a stream has no directory.

    Attributes:
        kind: Its type.
        starts: 0 alone.
    """

    def __init__(self, uri: str, file: Any, column: str) -> None:
        self._uri, self._file = uri, file
        schema, _ = arrow_batches(uri, file)
        self._number = schema.get_field_index(column)
        if self._number < 0:
            raise KeyError(column)
        self.kind = schema.field(self._number).type
        self.starts = [0]

    def batches(self, group: int) -> Iterator[Any]:
        """The column's arrays, from the first row on."""
        _, batches = arrow_batches(self._uri, self._file)
        for batch in batches:
            array = batch.column(self._number)
            array.validate(full=True)  # what a file says of offsets is else believed
            yield array


def arrow_batches(uri: str, file: Any) -> tuple[Any, Iterator[Any]]:
    """The schema and the record batches of an Arrow file, be it a stream or a file with a footer.

    What it gives is not validated. A local file is mapped into memory, so that only what is used of it is read.

    Args:
        uri: The file.
        file: The same, open for reading.
    """
    import pyarrow as pa

    file.seek(0)
    head = file.read(len(_FILE))
    file.seek(0)
    source = pa.memory_map(storage.filesystem(uri)[1]) if storage.is_local(uri) else pa.PythonFile(file, "r")
    if head.startswith(_FILE):
        footed = pa.ipc.open_file(source)
        return footed.schema, (footed.get_batch(number) for number in range(footed.num_record_batches))
    if not head.startswith(_STREAM):
        raise ValueError("it does not begin as an Arrow file does")
    stream = pa.ipc.open_stream(source)
    return stream.schema, iter(stream)


def rows_at_once(group: Any, most: int, batch_bytes: int) -> int:
    """How many rows of a Parquet file's row group are read at once.

    It goes by the size of whole rows: asking a damaged footer for one column's size ends the process.
    """
    rows, size = int(group.num_rows), int(group.total_byte_size)
    return max(1, min(most, batch_bytes * max(1, rows) // max(1, size)))


def _is_parquet(uri: str) -> bool:
    return uri.lower().endswith(".parquet")


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))
