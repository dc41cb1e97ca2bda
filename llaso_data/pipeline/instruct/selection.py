"""Which candidates become samples: of each split and task those with the smallest draws, as many as the mix says."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llaso_data.pipeline.instruct.candidates import Candidates
from llaso_data.pipeline.instruct.mix import Counts, Groups, allot
from llaso_data.records import SPLITS

Numbers = npt.NDArray[np.int64]


class Selection:
    """Candidates by round. A round replaces those of the last one of which no sample could be made.

    Args:
        candidates: All of them.
        splits: (rows,) int8, the split of each row, -1 where there are none.
        usable: (candidates,) bool, those that may be chosen.
        groups: What the mix says; None: natural.
        total: How many samples are wanted; None: as many as the mix allows.
        seed: Decides the draws.
    """

    def __init__(
        self,
        candidates: Candidates,
        splits: npt.NDArray[np.int8],
        usable: npt.NDArray[np.bool_],
        groups: Groups | None,
        total: int | None,
        seed: int,
    ) -> None:
        self._groups, self._total = groups, total
        split = splits[candidates.row].astype(np.int64) + 1
        self._tasks = len(candidates.names)
        self.cell: Numbers = split * self._tasks + candidates.task
        cells = (len(SPLITS) + 1) * self._tasks
        order = np.lexsort((np.arange(len(split)), candidates.draws(seed), self.cell))
        self._order = order[usable[order]]
        self.available: Counts = np.bincount(self.cell[self._order], minlength=cells).astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.available)[:-1]])
        self._taken = np.zeros(cells, np.int64)
        self.failed = np.zeros(cells, np.int64)
        self.wanted = self._allotted(self.available)

    def _allotted(self, available: Counts) -> Counts:
        """(cells,) how many samples each split and task is to have."""
        table = available.reshape(-1, self._tasks)
        sums = table.sum(1)
        totals: list[int | None] = [None] * len(sums)
        if self._total is not None:
            shares = allot(sums, None, self._total)
            totals = [int(count) for count in shares]
        return np.concatenate(
            [allot(row, self._groups, total) if row.any() else row for row, total in zip(table, totals, strict=True)]
        )

    def next(self) -> Numbers:
        """The candidates of the next round, in the order of rows and tasks; empty: nothing is left to choose."""
        left = self.available - self._taken
        due = np.minimum(np.maximum(self.wanted - (self._taken - self.failed), 0), left)
        if not due.any() and self.failed.any() and self._total is not None:
            # What a cell cannot give goes to the others, as the mix says.
            self.wanted = self._allotted(self.available - self.failed)
            due = np.minimum(np.maximum(self.wanted - (self._taken - self.failed), 0), left)
        chosen = [
            self._order[start + taken : start + taken + count]
            for start, taken, count in zip(self._starts, self._taken, due, strict=True)
            if count
        ]
        self._taken += due
        return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)

    def fail(self, candidates: Numbers) -> None:
        """Note that these gave no sample."""
        self.failed += np.bincount(self.cell[candidates], minlength=len(self.failed))
