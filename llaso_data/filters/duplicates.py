"""Exact duplicates: utterances whose decoded audio is the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
"""128-bit ids, shape (rows, 2): the high half, the low half."""


def repeated(ids: Hashes, eligible: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mask of the eligible rows whose id an earlier eligible row has."""
    rows = np.flatnonzero(eligible)
    # lexsort is stable: among equal ids the earliest row comes first.
    order = rows[np.lexsort((ids[rows, 1], ids[rows, 0]))]
    mask = np.zeros(len(ids), bool)
    mask[order[1:][_equals_previous(ids[order])]] = True
    return mask


def exact(
    audio_ids: Hashes, ids: Hashes, corpus_rank: npt.NDArray[np.int32], eligible: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Finds the original of every exact duplicate.

    Among the eligible rows with one audio id the one with the smallest (corpus, id) stays, whatever the order of the
    rows.

    Args:
        audio_ids: (rows, 2) uint64, digests of the decoded audio.
        ids: (rows, 2) uint64.
        corpus_rank: (rows,) place of each row's corpus in alphabetical order.
        eligible: (rows,) bool. Other rows are never a duplicate nor an original.

    Returns:
        (rows,) the row that each duplicates, or -1.
    """
    rows = np.flatnonzero(eligible)
    shared = np.lexsort((audio_ids[rows, 1], audio_ids[rows, 0]))
    same = _equals_previous(audio_ids[rows[shared]])
    # Only groups of two and more are sorted by (corpus, id): few rows, and the sort is the costly part.
    grouped = np.append(same, False) | np.append(False, same) if len(rows) else np.zeros(0, bool)
    rows = rows[shared[grouped]]
    rows = rows[np.lexsort((ids[rows, 1], ids[rows, 0], corpus_rank[rows], audio_ids[rows, 1], audio_ids[rows, 0]))]
    original = np.full(len(ids), -1, np.int64)
    if len(rows):
        first = np.append(True, ~_equals_previous(audio_ids[rows]))
        winners = rows[first]
        original[rows[~first]] = winners[np.cumsum(first) - 1][~first]
    return original


def _equals_previous(hashes: Hashes) -> npt.NDArray[np.bool_]:
    """Of sorted hashes, shape (n, 2): whether row i + 1 equals row i, shape (n - 1,)."""
    equal: npt.NDArray[np.bool_] = (hashes[1:] == hashes[:-1]).all(axis=1)
    return equal
