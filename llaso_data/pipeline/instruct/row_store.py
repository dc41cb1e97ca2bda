"""The rows of all sources in a temporary file, so that sources are read once and memory holds none of them."""

from __future__ import annotations

import pickle
import tempfile
from array import array
from collections.abc import Iterator
from types import TracebackType

from llaso_data.instruct.row import InstructRow


class RowStore:
    """Rows by number, in the order in which they came. The file has no name: nothing is left of it.

    Rows are pickled by this process and read by it alone.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._starts = array("Q", [0])
        self._at_end = True

    def __enter__(self) -> RowStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._starts) - 1

    def add(self, row: InstructRow) -> int:
        """Keep a row. Returns its number."""
        if not self._at_end:
            self._file.seek(self._starts[-1])
            self._at_end = True
        data = pickle.dumps(row, pickle.HIGHEST_PROTOCOL)
        self._file.write(data)
        self._starts.append(self._starts[-1] + len(data))
        return len(self) - 1

    def __getitem__(self, number: int) -> InstructRow:
        """The row of a number."""
        self._at_end = False
        self._file.seek(self._starts[number])
        row: InstructRow = pickle.loads(self._file.read(self._starts[number + 1] - self._starts[number]))
        return row

    def __iter__(self) -> Iterator[InstructRow]:
        """All rows in order."""
        return (self[number] for number in range(len(self)))
