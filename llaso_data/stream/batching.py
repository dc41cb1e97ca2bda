"""Which samples form which micro-batch: pure NumPy functions of integers.

Every rank and every worker computes the plan for itself, on whatever processor it has, and all must agree. So costs
are integers (thousandths of a second, of a frame or of a token), nothing is summed in floating point, and random
numbers are hashes of counters (:mod:`llaso_data.io.prng`).
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data import records
from llaso_data.io.prng import noise, shuffled

Ints = npt.NDArray[np.int64]

PLAN_VERSION = 1
"""Raised when the same settings give another plan: a state of the old one cannot go on."""
SPREAD_PERCENT = 2
"""Samples whose costs differ by less are equal to the planner, and shuffled."""


@dataclass(frozen=True, slots=True)
class MicroBatches:
    """How the samples of one planning block are assigned to micro-batches.

    Attributes:
        order: (N,) the samples in the order of their costs.
        boundaries: (B + 1,) micro-batch ``b`` holds ``order[boundaries[b]:boundaries[b + 1]]``.
        schedule: (steps, G) which micro-batch comes when.
        repeated: So many samples at the end of ``order`` stand in it twice, to fill the last step.
    """

    order: Ints
    boundaries: Ints
    schedule: Ints
    repeated: int = 0

    def samples(self, batch: int) -> Ints:
        """The numbers of the samples of a micro-batch, shape (members,)."""
        return self.order[self.boundaries[batch] : self.boundaries[batch + 1]]


def key_of(*parts: Any) -> int:
    """A key for :func:`~llaso_data.io.prng.noise` from anything that names what is drawn."""
    return int(records.digest(*parts, length=16), 16)


def buckets(costs: Ints) -> Ints:
    """For each cost the number of its bucket; a bucket's costs differ by less than :data:`SPREAD_PERCENT`."""
    boundaries = [0, 1]
    most = int(costs.max(initial=0))
    while boundaries[-1] <= most:
        boundaries.append(max(boundaries[-1] + 1, boundaries[-1] * (100 + SPREAD_PERCENT) // 100))
    return np.searchsorted(np.asarray(boundaries), costs, side="right").astype(np.int64)


def padded(costs: Ints, budget: int, key: int, groups: int) -> MicroBatches:
    """Forms micro-batches of like cost: members times the largest cost stays within the budget.

    Samples of one bucket are shuffled and the rest sorted, so that little is padded; the micro-batches then come in any
    order. There are as many as fill the last step: the largest ones are halved for it, and where every micro-batch has
    one sample, up to G - 1 samples come twice.

    Args:
        costs: (N,) cost of each sample in thousandths, each at most ``budget``.
        budget: What a micro-batch may cost, in thousandths.
        key: Names the draw, see :func:`key_of`.
        groups: G, the micro-batches of a step.

    Returns:
        The assignment of all N samples.

    Raises:
        ValueError: There are fewer samples than G.
    """
    order = _by_cost(costs, key)
    largest = np.maximum.accumulate(costs[order]).tolist()
    boundaries, first = [0], 0
    while first < len(largest):
        count = budget // max(largest[first], 1)
        while True:  # the batch's largest is its last: fewer fit than of the first
            count = min(count, len(largest) - first)
            fit = max(1, budget // max(largest[first + count - 1], 1))
            if fit >= count:
                break
            count = fit
        first += count
        boundaries.append(first)
    return _scheduled(order, np.asarray(boundaries, np.int64), key, groups)


def packed(costs: Ints, budget: int, key: int, groups: int) -> MicroBatches:
    """Forms micro-batches to be laid end to end: the sum of their costs stays within the budget.

    Bins are filled by best fit decreasing (Johnson, 1973).

    Args:
        costs: (N,) cost of each sample in thousandths, each at most ``budget``.
        budget: What a micro-batch may cost, in thousandths.
        key: Names the draw, see :func:`key_of`.
        groups: G, the micro-batches of a step.

    Returns:
        The assignment of all N samples; the last step is filled as by :func:`padded`.

    Raises:
        ValueError: There are fewer samples than G.
    """
    free: list[tuple[int, int]] = []  # (room, batch), ascending
    members: list[list[int]] = []
    for sample in _by_cost(costs, key)[::-1].tolist():
        cost = int(costs[sample])
        place = bisect.bisect_left(free, (cost, -1))
        if place == len(free):
            room, batch = budget, len(members)
            members.append([])
        else:
            room, batch = free.pop(place)
        members[batch].append(sample)
        bisect.insort(free, (room - cost, batch))
    order = np.asarray([sample for batch in members for sample in batch], np.int64)
    return _scheduled(order, np.cumsum([0, *map(len, members)], dtype=np.int64), key, groups)


def _by_cost(costs: Ints, key: int) -> Ints:
    """The samples in the order of their buckets, those of one bucket shuffled."""
    sort = (buckets(costs).astype(np.uint64) << np.uint64(48)) | (noise(key, len(costs)) >> np.uint64(16))
    return np.argsort(sort, kind="stable").astype(np.int64)


def _scheduled(order: Ints, boundaries: Ints, key: int, groups: int) -> MicroBatches:
    """The batches in a random order, G a step."""
    boundaries = _filled(boundaries, groups)
    repeated = -(len(boundaries) - 1) % groups
    order = np.concatenate([order, order[:repeated]])
    boundaries = np.concatenate([boundaries, boundaries[-1] + np.arange(1, repeated + 1)])
    schedule = shuffled(key_of("turns", key), len(boundaries) - 1)
    return MicroBatches(order, boundaries, schedule.reshape(-1, groups), repeated)


def _filled(boundaries: Ints, groups: int) -> Ints:
    """Borders of as many more batches, by halving the largest, as fill whole steps of G; fewer where all have one."""
    if boundaries[-1] < groups:
        raise ValueError(f"{boundaries[-1]} samples cannot fill {groups} micro-batches")
    while lacking := -(len(boundaries) - 1) % groups:
        sizes = np.diff(boundaries)
        halved = np.argsort(-sizes, kind="stable")[:lacking]
        halved = halved[sizes[halved] > 1]
        if not len(halved):
            break
        boundaries = np.sort(np.concatenate([boundaries, boundaries[halved] + (sizes[halved] + 1) // 2]))
    return boundaries
