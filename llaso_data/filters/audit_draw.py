"""Tier 3: which accepted utterances a person will hear.

The draw looks at ids, languages and corpora, never at scores or at the order of the rows, so a person's verdict on
the sample says something of the whole, and the same dataset and seed always give the same sample.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llaso_data.filters.duplicates import Hashes
from llaso_data.io.prng import splitmix64

_MASK = (1 << 64) - 1


def quotas(sizes: Sequence[int], items: int) -> list[int]:
    """How many items each stratum gives: proportional to its size, by largest remainder.

    Args:
        sizes: Members of each stratum.
        items: How many are wanted.

    Returns:
        A number for each stratum. Together they are ``min(items, sum(sizes))``, and none is larger than its stratum.
        Equal remainders go to the earlier stratum.
    """
    total = sum(sizes)
    if items >= total:
        return list(sizes)
    shares = [items * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(items * sizes[i] % total), i))
    for i in by_remainder[: items - sum(shares)]:
        shares[i] += 1
    return shares


def distributed(sizes: Sequence[int], items: int, start: int) -> list[int]:
    """How many items each stratum gives, so that every member of every stratum has the same chance: systematic
    sampling.

    The strata lie side by side, and every ``sum(sizes) / items``-th place of the row is taken, from one on that
    ``start`` decides. So a stratum gets its exact share rounded up or down, up as often as the share says; by largest
    remainder small strata would never be heard, whatever is wrong with them.

    Args:
        sizes: Members of each stratum. Their order matters in so far as neighbours share what is left over.
        items: How many are wanted.
        start: Any integer.

    Returns:
        A number for each stratum.
    """
    total = sum(sizes)
    if items >= total:
        return list(sizes)
    ends = itertools.accumulate((items * size for size in sizes), initial=0)
    # Places are start, start + total, start + 2 total ... on a line of items * total units; this many lie before `end`.
    before = [-((start % total - end) // total) for end in ends]
    return [after - until for until, after in itertools.pairwise(before)]


def draw(
    ids: Hashes, strata: npt.NDArray[np.int64], count: int, eligible: npt.NDArray[np.bool_], items: int, seed: int
) -> npt.NDArray[np.bool_]:
    """Draws the utterances that a person will hear.

    Within a stratum the rows of smallest :func:`ticket` are drawn, so removing one utterance changes the sample by few.

    Args:
        ids: (rows, 2) uint64, the ids.
        strata: (rows,) number of each row's stratum, 0 to ``count`` - 1; neighbours should be alike.
        count: Strata.
        eligible: (rows,) which rows may be drawn.
        items: How many are wanted.
        seed: Names the draw.

    Returns:
        (rows,) bool, which rows were drawn.
    """
    rows = np.flatnonzero(eligible)
    start = int(ticket(np.zeros((1, 2), np.uint64), seed)[0])
    quota = np.array(distributed(np.bincount(strata[rows], minlength=count).tolist(), items, start), np.int64)
    tickets = ticket(ids[rows], seed)
    order = np.lexsort((ids[rows, 1], ids[rows, 0], tickets, strata[rows]))
    sorted_strata = strata[rows][order]
    starts = np.searchsorted(sorted_strata, np.arange(count))
    rank = np.arange(len(rows)) - starts[sorted_strata]
    mask = np.zeros(len(ids), bool)
    mask[rows[order[rank < quota[sorted_strata]]]] = True
    return mask


def ticket(ids: Hashes, seed: int) -> npt.NDArray[np.uint64]:
    """A pseudo-random 64-bit number of (seed, id) for every row."""
    start = np.uint64(int(splitmix64(np.array([seed & _MASK], np.uint64))[0]))
    return splitmix64(splitmix64(ids[:, 0] ^ start) ^ ids[:, 1])
