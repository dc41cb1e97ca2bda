"""What waits on the disk while a set is built: rows, and what has to be spoken for each block.

Temporary files without names hold them: nothing is left, whatever happens. What this process pickles it alone reads.
"""

from __future__ import annotations

import pickle
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import TracebackType

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.row import InstructRow
from llaso_data.pipeline.instruct.spoken import SpeechRequest


class RowStore:
    """Rows by number, in the order in which they came, so that sources are read once."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._starts = array("Q", [0])
        self._at_end = True
        self._without: npt.NDArray[np.bool_] | None = None

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
        if self._without is not None and self._without[:, number].any():
            second, target = self._without[:, number]
            return replace(row, second=None if second else row.second, target=None if target else row.target)
        return row

    def leave_out(self, without: npt.NDArray[np.bool_]) -> None:
        """Give rows without some of the recordings beside theirs from now on.

        Args:
            without: (2, rows) whether a row's second recording, and its target, is left out.
        """
        self._without = without if without.any() else None

    def __iter__(self) -> Iterator[InstructRow]:
        """All rows in order."""
        return (self[number] for number in range(len(self)))


class RequestsOfBlocks:
    """What has to be spoken for each block, by the block's number."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._places: dict[int, tuple[int, int]] = {}

    def clear(self) -> None:
        """Forget all."""
        self._file.seek(0)
        self._file.truncate()
        self._places.clear()

    def put(self, number: int, requests: Iterable[tuple[SpeechRequest, ...] | str]) -> None:
        """Keep those of a block; of items that cannot be asked there are none."""
        data = pickle.dumps([one for each in requests if not isinstance(each, str) for one in each], 5)
        self._places[number] = self._file.seek(0, 2), len(data)
        self._file.write(data)

    def of(self, number: int) -> list[SpeechRequest]:
        """Those of a block."""
        start, size = self._places[number]
        self._file.seek(start)
        requests: list[SpeechRequest] = pickle.loads(self._file.read(size))
        return requests

    def __iter__(self) -> Iterator[int]:
        """The numbers of the blocks, in order."""
        return iter(sorted(self._places))
