"""The global plan: window after window of samples, each assigned to steps of micro-batches.

A window is planned by itself, so any step is found by planning the one window that holds it, and nothing but the
number of that window has to be remembered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from llaso_data.errors import LLaSOError
from llaso_data.io import storage
from llaso_data.records import digest
from llaso_data.stream import mixture as mixing
from llaso_data.stream.batching import PLAN_VERSION, Ints, MicroBatches, key_of, packed, padded
from llaso_data.stream.budget import Budget
from llaso_data.stream.index_columns import Filter, IndexColumns, Rows
from llaso_data.stream.mixture import SHARE, Mixture, Node, Source
from llaso_data.stream.shard_cache import FileCache
from llaso_data.stream.source_sampler import SourceSampler, SourceStatistics, source_statistics

STEPS_IN_WINDOW = 32  # at least, where there are samples enough: the last step of a window is seldom full


Phases = tuple[tuple[int, tuple[tuple[str, float], ...]], ...]
"""The changes of weights so far: (first window that they hold for, names and weights)."""


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """The next step: ``step`` of all, and ``offset`` steps into window number ``window``."""

    step: int = 0
    window: int = 0
    offset: int = 0
    phases: Phases = ()


@dataclass(frozen=True, slots=True)
class PlanningBlock:
    """Samples that are planned together, N of them.

    Attributes:
        number: Which window of the stream this is, from 0.
        source: (N,) the number of the source of each, in :attr:`Planner.samplers`.
        row: (N,) its row of that source's index.
        cost: (N,) its cost in thousandths of the budget's unit.
        assignment: Which micro-batch holds which of them, and the steps of the micro-batches.
    """

    number: int
    source: Ints
    row: Rows
    cost: Ints
    assignment: MicroBatches

    @property
    def steps(self) -> int:
        """The number of steps that these samples fill."""
        return len(self.assignment.schedule)


@dataclass(frozen=True, slots=True)
class Step:
    """One global step: the samples (numbers within ``window``) of each of its micro-batches."""

    cursor: StreamPosition
    window: PlanningBlock
    batches: tuple[Ints, ...]

    @property
    def number(self) -> int:
        """The number of the step, counted over all epochs from 0."""
        return self.cursor.step


class Planner:
    """What is streamed, in which order: a pure function of the datasets, the mixture and the settings.

    Args:
        mixture: The datasets and their shares.
        budget: What a micro-batch may cost.
        seed: Of all draws.
        micro_batches: Micro-batches of a global step, over all ranks.
        window: How many shards of a source are shuffled together.
        pack: Samples are laid end to end instead of padded.
        cache: Where the indices of stores are kept.

    Attributes:
        samplers: The sources that have samples of their own.
        size: Samples of an epoch.
        windows_per_epoch: Planning blocks of an epoch.
        window_samples: Samples of a planning block, before those that fill its last step.
        settings: What names the plan, by name; part of a stream's state.
        digest: The digest of the settings.

    Raises:
        LLaSOError: A dataset has no index, the mixture has no samples, or one of them costs more than the budget.
    """

    def __init__(
        self,
        mixture: Mixture,
        budget: Budget,
        seed: int,
        micro_batches: int,
        window: int,
        pack: bool = False,
        cache: FileCache | None = None,
    ) -> None:
        if micro_batches < 1 or window < 1:
            raise LLaSOError("micro_batches and window are at least 1")
        self.mixture = mixture
        self.budget = budget
        self.micro_batches = micro_batches
        self._seed = seed
        self.pack = pack
        self._shards = window
        self._cache = cache
        indices: dict[tuple[str, int | None], IndexColumns] = {}
        self.samplers: list[SourceSampler] = []
        self._tree = self._grown(mixture, indices)
        self._weights = {name: source.weight for source, name, _ in mixing.walk(mixture.sources)}
        self.size = sum(sampler.size for sampler in self.samplers)
        if not self.size:
            raise LLaSOError("the mixture has no samples: its filters take none")
        self._check_costs()
        self.windows_per_epoch = max(1, self.size // self._samples_in_window())
        self.window_samples = -(-self.size // self.windows_per_epoch)
        # Of a window: each source's share is rounded, and no micro-batch is empty.
        self.most_steps = -(-(self.window_samples + 2 * len(self.samplers)) // micro_batches) + 1
        self.settings = {
            "version": PLAN_VERSION,
            "data": digest(*(part for sampler in self.samplers for part in sampler.names), length=16),
            "mixture": digest(json.dumps(mixing.outline(mixture), sort_keys=True), length=16),
            "budget": str(budget),
            "seed": seed,
            "micro_batches": micro_batches,
            "window": window,
            "pack": pack,
        }
        self.digest = digest("plan", *(f"{name}={value}" for name, value in self.settings.items()))

    def end(self, cursor: StreamPosition) -> int | None:
        """The window that ends the pass in which a position stands; None where the pass is endless.

        A pass is the mixture's ``epochs``; at the end of one the next begins.
        """
        if self.mixture.epochs is None:
            return None
        windows = self.mixture.epochs * self.windows_per_epoch
        return (cursor.window // windows + 1) * windows

    def window(self, cursor: StreamPosition) -> PlanningBlock:
        """Plans the window that a position stands in.

        Raises:
            LLaSOError: The mixture has fewer samples than a step has micro-batches.
        """
        ranges = self.ranges(cursor)
        pieces = [sampler.rows(start, stop) for sampler, (start, stop) in zip(self.samplers, ranges, strict=True)]
        number = np.repeat(np.arange(len(pieces)), [len(rows) for rows in pieces])
        costs = [
            self.budget.costs(lambda name, sampler=sampler, rows=rows: sampler.columns.numbers(name, rows), len(rows))  # type: ignore[misc]
            for sampler, rows in zip(self.samplers, pieces, strict=True)
        ]
        cost = np.concatenate(costs)
        assign = packed if self.pack else padded
        try:
            assignment = assign(
                cost, self.budget.limit, key_of("window", self._seed, cursor.window), self.micro_batches
            )
        except ValueError as error:
            raise LLaSOError(f"{error}: the mixture has {self.size} samples; lower micro_batches") from error
        return PlanningBlock(cursor.window, number, np.concatenate(pieces), cost, assignment)

    def shards(self, cursor: StreamPosition, ahead: int = 1, stores: bool = True) -> list[tuple[str, str]]:
        """The shards that the window of a position reads, and those after it.

        Args:
            cursor: The position.
            ahead: How many more windows are looked at.
            stores: Only shards that lie on a store.

        Returns:
            (URI, digest of the dataset) of every shard.
        """
        shards_to_read: dict[tuple[str, str], None] = {}
        last = self.end(cursor)
        for window in range(cursor.window, cursor.window + 1 + ahead):
            if last is not None and window >= last:
                break
            for sampler, (start, stop) in zip(self.samplers, self.ranges(replace(cursor, window=window)), strict=True):
                index = sampler.columns.index
                for shards in sampler.groups(start, stop):
                    shards_to_read |= {(index.shards[shard], index.digest): None for shard in shards.tolist()}
        return [shard for shard in shards_to_read if not (stores and storage.is_local(shard[0]))]

    def ranges(self, cursor: StreamPosition) -> list[tuple[int, int]]:
        """For each source the positions, counted over all epochs, of the window that the cursor stands in."""
        if not self.mixture.weighted:
            epoch, window = divmod(cursor.window, self.windows_per_epoch)
            cuts = zip(self.samplers, self._cut(window), self._cut(window + 1), strict=True)
            return [(sampler.size * epoch + start, sampler.size * epoch + stop) for sampler, start, stop in cuts]
        counts = [0] * len(self.samplers)
        starts = [first for first, _ in cursor.phases]
        weights: dict[str, float] = {}
        shares = mixing.shares(self._tree, self.mixture.temperature)
        begin = 0
        for start, (_, change) in zip(starts, cursor.phases, strict=True):
            counts = [
                count + (share * self.window_samples * (start - begin) // SHARE)
                for count, share in zip(counts, shares, strict=True)
            ]
            weights |= dict(change)
            shares = mixing.shares(mixing.reweighted(self._tree, weights), self.mixture.temperature)
            begin = start
        windows_done = cursor.window - begin
        return [
            (
                count + share * self.window_samples * windows_done // SHARE,
                count + share * self.window_samples * (windows_done + 1) // SHARE,
            )
            for count, share in zip(counts, shares, strict=True)
        ]

    def _cut(self, window: int) -> list[int]:
        """For each source its position where window `place` of an epoch starts; together they are a multiple of G."""
        cuts = [sampler.size * window // self.windows_per_epoch for sampler in self.samplers]
        if window < self.windows_per_epoch:
            largest = max(range(len(cuts)), key=cuts.__getitem__)
            cuts[largest] -= sum(cuts) % self.micro_batches
        return cuts

    def steps(
        self, cursor: StreamPosition, changes: Mapping[int, Mapping[str, float]], end: int | None = None
    ) -> Iterator[tuple[Step, StreamPosition]]:
        """Every step from the cursor on, with the cursor after it.

        ``changes`` are weights by the step from which they hold, beside the mixture's own. ``end`` is the window to
        stop before; default: that of the cursor's pass.
        """
        planned: PlanningBlock | None = None
        due = self.due(changes)
        end = self.end(cursor) if end is None else end
        while True:
            while len(cursor.phases) < len(due) and due[len(cursor.phases)][0] <= cursor.step:
                # What the window has left is not streamed: the samples come again in their sources' next epoch.
                first = cursor.window + (cursor.offset > 0)
                phase = (first, frozen(due[len(cursor.phases)][1]))
                cursor = replace(cursor, window=first, offset=0, phases=(*cursor.phases, phase))
            if end is not None and cursor.window >= end:
                return
            if planned is None or planned.number != cursor.window:
                planned = self.window(cursor)
            if cursor.offset >= planned.steps:
                cursor = replace(cursor, window=cursor.window + 1, offset=0)
                continue
            after = replace(cursor, step=cursor.step + 1, offset=cursor.offset + 1)
            if after.offset == planned.steps:
                after = replace(after, window=cursor.window + 1, offset=0)
            micro_batches = planned.assignment.schedule[cursor.offset].tolist()
            yield Step(cursor, planned, tuple(planned.assignment.samples(turn) for turn in micro_batches)), after
            cursor = after

    def due(self, changes: Mapping[int, Mapping[str, float]]) -> list[tuple[int, dict[str, float]]]:
        """Every change of weights, the mixture's and these, in the order of the steps from which they hold."""
        weights_by_step = {change.step: dict(change.weights) for change in self.mixture.changes}
        for step, weights in changes.items():
            weights_by_step[step] = {**weights_by_step.get(step, {}), **weights}
        return sorted(weights_by_step.items())

    def check_names(self, weights: Mapping[str, float]) -> None:
        """Raises LLaSOError where a weight is for no source, or for one that has none."""
        for name in weights:
            if (wrong := mixing.unchangeable(self._weights, name)) is not None:
                raise LLaSOError(f"{name}: {wrong}")

    def _grown(self, mixture: Mixture, indices: dict[tuple[str, int | None], IndexColumns]) -> Node:
        sources = {name: source for source, name, _ in mixing.walk(mixture.sources)}

        def grow(source: Source, name: str) -> Node:
            if source.path is None:
                children = tuple(grow(child, f"{name}/{child.label}") for child in source.sources)
                return Node(name, source.weight, sum(child.size for child in children), children)
            uri = storage.absolute(source.path)
            place = uri, source.generation
            if place not in indices:
                indices[place] = IndexColumns.open(uri, self._cache, generation=source.generation)
            columns, wanted, by = indices[place], dict(source.filter), mixture.balance
            statistics = source_statistics(columns, wanted, self.budget, by)
            if by is None:
                return self._sampler(name, source.weight, columns, wanted, statistics[None])
            children = tuple(
                self._sampler(f"{name}/{value}", 1.0, columns, {**wanted, by: (value,)}, of_value)
                for value, of_value in statistics.items()
            )
            return Node(name, source.weight, sum(child.size for child in children), children)

        children = tuple(grow(sources[source.label], source.label) for source in mixture.sources)
        return Node("", None, sum(child.size for child in children), children)

    def _sampler(
        self, name: str, weight: float | None, columns: IndexColumns, wanted: Filter, statistics: SourceStatistics
    ) -> Node:
        key = key_of("leaf", self._seed, len(self.samplers))
        self.samplers.append(SourceSampler(name, columns, wanted, statistics, key, self._shards))
        return Node(name, weight, statistics.size)

    def _check_costs(self) -> None:
        for sampler in self.samplers:
            if sampler.statistics.largest > self.budget.limit:
                (location,) = sampler.columns.places(np.asarray([sampler.statistics.largest_row]))
                shard = sampler.columns.index.shards[location.shard]
                raise LLaSOError(
                    f"{sampler.name}: the sample {location.key} in {shard} costs "
                    f"{sampler.statistics.largest / 1000:g} {self.budget.unit}, more than the budget "
                    f"{self.budget}; raise the budget, or leave such samples out with a filter, such as "
                    "duration_s: [0, 30]"
                )

    def _samples_in_window(self) -> int:
        shards = sum(int(np.count_nonzero(sampler.statistics.counts)) for sampler in self.samplers)
        cost = sum(sampler.statistics.cost for sampler in self.samplers) / self.size
        steps = STEPS_IN_WINDOW * self.micro_batches * self.budget.limit / max(cost, 1.0)
        return max(1, round(max(self._shards * self.size / shards, steps)))


def rank_schedule(micro_batches: int, rank: int, world_size: int) -> range:
    """The micro-batches of a step that are a rank's.

    Args:
        micro_batches: Micro-batches of a step, over all ranks.
        rank: The rank.
        world_size: The number of ranks.

    Returns:
        Their numbers: ``rank``, ``rank + world_size``, and so on.

    Raises:
        LLaSOError: Ranks would not have equally many.
    """
    if micro_batches % world_size:
        raise LLaSOError(
            f"{micro_batches} micro-batches a step cannot be shared by {world_size} ranks: "
            "make micro_batches a multiple of the world size"
        )
    return range(rank, micro_batches, world_size)


def frozen(weights: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Weights as a cursor holds them."""
    return tuple(sorted(weights.items()))
