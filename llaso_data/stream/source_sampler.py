"""The samples of one dataset that a filter takes, in an order that each epoch shuffles again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llaso_data.io.prng import shuffled
from llaso_data.stream.batching import Ints, key_of
from llaso_data.stream.budget import Budget
from llaso_data.stream.index_columns import Filter, IndexColumns, Rows

SURVEY_ROWS = 1 << 18


@dataclass(frozen=True, slots=True)
class SourceStatistics:
    """Statistics of a source, from one pass over its index: samples by shard, total cost, the most expensive row."""

    counts: Ints
    cost: int
    largest: int
    largest_row: int

    @property
    def size(self) -> int:
        """The number of samples."""
        return int(self.counts.sum())


def source_statistics(
    columns: IndexColumns, wanted: Filter, budget: Budget, by: str | None = None
) -> dict[str | None, SourceStatistics]:
    """Computes the statistics of all rows that a filter takes, :data:`SURVEY_ROWS` at a time.

    Args:
        columns: The columns of the index.
        wanted: The filter.
        budget: Says what a sample costs.
        by: A column of text that divides the rows; None: one source.

    Returns:
        Statistics by value of ``by``, in the order of the values; without ``by`` one, under None.
    """
    values = [None] if by is None else [value for value in columns.values(by) if value in wanted.get(by, (value,))]
    boundaries = columns.first_rows
    counts = np.zeros((len(values), len(boundaries) - 1), np.int64)
    cost, largest, largest_row = ([0] * len(values) for _ in range(3))
    for start in range(0, len(columns), SURVEY_ROWS):
        stop = min(start + SURVEY_ROWS, len(columns))
        costs = budget.costs(lambda name, a=start, b=stop: columns.span(name, a, b), stop - start)  # type: ignore[misc]
        taken = columns.matching(start, stop, wanted) if wanted else None
        codes = None if by is None else columns.codes(by, start, stop, values)
        for number in range(len(values)):
            of_value = None if codes is None else codes == number
            mask = of_value if taken is None else taken if of_value is None else taken & of_value
            rows = np.arange(stop - start) if mask is None else np.flatnonzero(mask)
            if not len(rows):
                continue
            costs_of_value = costs if mask is None else costs[rows]
            counts[number] += _by_shard(boundaries, start, rows)
            cost[number] += int(costs_of_value.sum())
            costliest = int(costs_of_value.argmax())
            if costs_of_value[costliest] > largest[number]:
                largest[number], largest_row[number] = int(costs_of_value[costliest]), start + int(rows[costliest])
    statistics = map(SourceStatistics, counts, cost, largest, largest_row)
    return dict(zip(values, statistics, strict=True))


def _by_shard(boundaries: Ints, start: int, rows: Ints) -> Ints:
    """How many of the rows lie in each shard. Rows are ascending and counted from ``start``."""
    counts: Ints = np.diff(np.searchsorted(rows, boundaries - start))
    return counts


class SourceSampler:
    """The order of one source's samples, shuffled anew every epoch.

    An epoch takes the shards in a random order, ``window`` of them at a time, and the samples of these in a random
    order. Position ``p`` is sample ``p % size`` of epoch ``p // size``.

    Args:
        name: The source's full name.
        columns: The columns of its index.
        wanted: The filter that takes its samples.
        statistics: What one pass over the index said.
        key: Names the draws.
        window: How many shards are shuffled together.
    """

    def __init__(
        self, name: str, columns: IndexColumns, wanted: Filter, statistics: SourceStatistics, key: int, window: int
    ) -> None:
        self.name = name
        self.columns = columns
        self.statistics = statistics
        self.size = statistics.size
        self._wanted = wanted
        self._key = key
        self._window = window
        self._filled = np.flatnonzero(statistics.counts)
        self._epoch: tuple[int, Ints, Ints] | None = None
        self._groups: dict[tuple[int, int], Rows] = {}

    @property
    def names(self) -> tuple[str, int]:
        """The identity of these samples, independent of their path: the index's digest, and how many are taken."""
        return self.columns.index.digest, self.size

    def rows(self, start: int, stop: int) -> Rows:
        """The rows at positions ``start`` to ``stop``, over as many epochs as that takes."""
        pieces = [self._group(epoch, group)[first:last] for epoch, group, first, last in self._stretches(start, stop)]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)

    def groups(self, start: int, stop: int) -> Iterator[Ints]:
        """The groups of shards that positions ``start`` to ``stop`` lie in: what to fetch for them."""
        return (self._shards(epoch, group) for epoch, group, _, _ in self._stretches(start, stop))

    def _stretches(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """(epoch, group, first and last position within the group) for each group that the positions lie in."""
        while start < stop:
            epoch, first = divmod(start, self.size)
            last = min(self.size, first + stop - start)
            _, boundaries = self._order(epoch)
            low, high = np.searchsorted(boundaries, [first, last - 1], side="right").tolist()
            for group in range(low - 1, high):
                begin = int(boundaries[group])
                yield epoch, group, max(0, first - begin), last - begin
            start += last - first

    def _shards(self, epoch: int, group: int) -> Ints:
        return self._order(epoch)[0][group * self._window : (group + 1) * self._window]

    def _order(self, epoch: int) -> tuple[Ints, Ints]:
        """The epoch's shards in their order, and the position at which each group starts, the end last."""
        if self._epoch is None or self._epoch[0] != epoch:
            shards = self._filled[shuffled(key_of("shards", self._key, epoch), len(self._filled))]
            ends = np.cumsum(self.statistics.counts[shards])
            starts = np.concatenate([[0], ends])[:: self._window]
            boundaries = starts if starts[-1] == self.size else np.append(starts, self.size)
            self._epoch = (epoch, shards, boundaries)
        return self._epoch[1:]

    def _group(self, epoch: int, group: int) -> Rows:
        """All rows of a group of shards, shuffled. The last two are kept: windows seldom end where groups do."""
        rows_of_group = self._groups.get((epoch, group))
        if rows_of_group is None:
            rows = np.concatenate([self._matching(shard) for shard in self._shards(epoch, group).tolist()])
            rows_of_group = rows[shuffled(key_of("group", self._key, epoch, group), len(rows))]
            self._groups = {**dict(list(self._groups.items())[-1:]), (epoch, group): rows_of_group}
        return rows_of_group

    def _matching(self, shard: int) -> Rows:
        first, last = self.columns.first_rows[shard : shard + 2].tolist()
        if not self._wanted:
            return np.arange(first, last, dtype=np.int64)
        rows: Rows = first + np.flatnonzero(self.columns.matching(first, last, self._wanted))
        return rows
