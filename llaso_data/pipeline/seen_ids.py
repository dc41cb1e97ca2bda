"""The ids of all samples so far, so that none is written twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]


class SeenIds:
    """A set of 128-bit ids that takes 16 bytes for each.

    Args:
        known: Ids of samples that were written before, 16 bytes each, in pieces.
    """

    def __init__(self, known: Iterable[bytes] = ()) -> None:
        self._runs: list[tuple[U64, U64]] = []  # sorted by the first half; each more than twice as long as the next
        for piece in known:
            halves = np.frombuffer(piece, ">u8").astype(np.uint64).reshape(-1, 2)
            self._insert(halves[:, 0], halves[:, 1])

    def add(self, ids: Sequence[str]) -> list[bool]:
        """For each id (32 hexadecimal digits) whether it came before, in an earlier call or in this one."""
        first_place = {id: number for number, id in reversed(list(enumerate(ids)))}
        repeated = np.array([first_place[id] != number for number, id in enumerate(ids)], bool)
        halves = np.frombuffer(bytes.fromhex("".join(ids)), ">u8").astype(np.uint64).reshape(-1, 2)
        is_new = ~(self.known(halves) | repeated)
        self._insert(halves[is_new, 0], halves[is_new, 1])
        answers: list[bool] = (~is_new).tolist()
        return answers

    def known(self, halves: U64) -> npt.NDArray[np.bool_]:
        """Which ids came before.

        Args:
            halves: (N, 2) the two words of each id.

        Returns:
            (N,)
        """
        first, second = halves[:, 0], halves[:, 1]
        was_known = np.zeros(len(halves), bool)
        for run_first, run_second in self._runs:
            start = np.searchsorted(run_first, first, "left")
            end = np.searchsorted(run_first, first, "right")
            for number in np.flatnonzero(end > start):
                was_known[number] |= second[number] in run_second[start[number] : end[number]]
        return was_known

    def _insert(self, first: U64, second: U64) -> None:
        order = np.argsort(first, kind="stable")
        run = first[order], second[order]
        while self._runs and len(self._runs[-1][0]) <= 2 * len(run[0]):
            last = self._runs.pop()
            joined = np.concatenate([last[0], run[0]]), np.concatenate([last[1], run[1]])
            order = np.argsort(joined[0], kind="stable")
            run = joined[0][order], joined[1][order]
        self._runs.append(run)
