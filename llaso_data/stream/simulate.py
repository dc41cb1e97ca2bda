"""Simulates an epoch of a plan: steps, padding, samples by source, bytes read, how well samples are shuffled."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from llaso_data.io import pictures
from llaso_data.shards.reader import locate, read_manifest
from llaso_data.stream.batching import Ints
from llaso_data.stream.budget import Budget
from llaso_data.stream.mixture import Mixture
from llaso_data.stream.planner import Planner, PlanningBlock, StreamPosition, rank_schedule

BY = "llaso-data plan"
"""What the picture names as its maker."""

STRETCH = 32  # successive samples whose shards are counted
LOOKED_AT = 50  # windows, spread over the epoch, whose samples are examined one by one


@dataclass(slots=True)
class Simulation:
    """One epoch of a plan, with the mixture's weights as they are at its start.

    ``padding`` is the share of the micro-batches' area (members times the longest) that holds nothing, ``fill`` that
    area's mean share of the budget. ``shards_in_stretch`` is the mean number of shards that 32 samples in a row come
    from. Bytes and requests are those of ``looked_at`` of the ``windows``, scaled to all of them.
    """

    samples: int = 0
    repeated: int = 0
    windows: int = 0
    looked_at: int = 0
    steps: int = 0
    micro_batches: int = 0
    world_size: int = 1
    budget: str = ""
    cost: float = 0.0
    padding: float = 0.0
    fill: float = 0.0
    shards: int = 0
    shards_in_window: float = 0.0
    shards_in_stretch: float = 0.0
    rank_bytes: int = 0
    rank_requests: int = 0
    node_bytes: int | None = None
    cache_hit_rate: float | None = None
    by_source: dict[str, int] = field(default_factory=dict)
    by_task: dict[str, int] = field(default_factory=dict)
    batch_sizes: list[int] = field(default_factory=list)
    batch_area: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The numbers, without the samples behind the figure."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("batch_")}


def simulate(plan: Planner, world_size: int, cache_bytes: int | None = None) -> Simulation:
    """Plans a whole epoch, and reads nothing but the index.

    Args:
        plan: The plan.
        world_size: The number of ranks.
        cache_bytes: Size of a node's cache of whole shards; None: ranges are read.

    Raises:
        LLaSOError: The world size does not divide the micro-batches of a step.
    """
    rank_schedule(plan.micro_batches, 0, world_size)
    epoch = Simulation(
        windows=plan.windows_per_epoch,
        micro_batches=plan.micro_batches,
        world_size=world_size,
        budget=str(plan.budget),
        shards=sum(int(np.count_nonzero(sampler.statistics.counts)) for sampler in plan.samplers),
    )
    looked_at = set(np.linspace(0, epoch.windows - 1, min(LOOKED_AT, epoch.windows)).round().astype(int).tolist())
    area = cost = batches = shards = 0
    stretches: list[float] = []
    sources = np.zeros(len(plan.samplers), np.int64)
    read_bytes = 0
    for number in range(epoch.windows):
        window = plan.window(StreamPosition(window=number))
        sizes, largest = _batches(window)
        area += int((sizes * largest).sum())
        cost += int(window.cost.sum())
        batches += len(sizes)
        epoch.steps += window.steps
        epoch.repeated += window.assignment.repeated
        sources += np.bincount(window.source, minlength=len(sources))
        if number in looked_at:
            epoch.batch_sizes += sizes.tolist()
            epoch.batch_area += (sizes * largest / plan.budget.limit).tolist()
            shard_of = _shards(plan, window)
            shards += len(np.unique(shard_of))
            in_stream_order = [window.assignment.samples(turn) for turn in window.assignment.schedule.ravel().tolist()]
            stretches += _distinct(shard_of[np.concatenate(in_stream_order)])
            read_bytes += _bytes(plan, window)
            _count_tasks(plan, window, epoch.by_task)
    epoch.samples = int(sources.sum())
    epoch.looked_at = len(looked_at)
    epoch.by_source = {sampler.name: int(count) for sampler, count in zip(plan.samplers, sources, strict=True)}
    scale = epoch.windows / epoch.looked_at
    epoch.by_task = {task: round(count * scale) for task, count in sorted(epoch.by_task.items())}
    epoch.cost = cost / 1000
    epoch.padding, epoch.fill = 1 - cost / area if area else 0.0, area / (batches * plan.budget.limit)
    epoch.shards_in_window = shards / epoch.looked_at
    epoch.shards_in_stretch = float(np.mean(stretches))
    epoch.rank_bytes = round(read_bytes * scale / world_size)
    epoch.rank_requests = -(-epoch.samples // world_size)
    if cache_bytes is not None:
        epoch.node_bytes, epoch.cache_hit_rate = _cached(plan, cache_bytes)
    return epoch


def of(
    mixture: str,
    *,
    budget: str,
    world_size: int,
    micro_batches: int | None,
    window: int,
    seed: int,
    pack: bool,
    cache_gb: float | None,
    overrides: Sequence[str] = (),
) -> Simulation:
    """The simulation of a YAML file's mixture, or of a folder of shards."""
    yaml = mixture.endswith((".yaml", ".yml"))
    chosen = Mixture.from_yaml(mixture, overrides) if yaml else Mixture.of(mixture)
    plan = Planner(chosen, Budget.of(budget), seed, micro_batches or world_size, window, pack)
    return simulate(plan, world_size, None if cache_gb is None else round(cache_gb * 1e9))


def lines(epoch: Simulation) -> Iterator[str]:
    """The simulation for a person to read."""
    repeated = f", {epoch.repeated:,} of them twice" if epoch.repeated else ""
    batches_per_rank = epoch.steps * epoch.micro_batches // epoch.world_size
    yield f"an epoch has {epoch.samples:,} samples{repeated}"
    yield (
        f"{epoch.steps:,} steps of {epoch.micro_batches} micro-batches: {batches_per_rank:,} for each of "
        f"{epoch.world_size} ranks"
    )
    yield f"padding {epoch.padding:.2%}; micro-batches fill {epoch.fill:.1%} of {epoch.budget}"
    yield (
        f"{epoch.windows:,} windows of {epoch.shards_in_window:.0f} of {epoch.shards:,} shards; {STRETCH} samples in a "
        f"row come from {epoch.shards_in_stretch:.1f}"
    )
    yield f"a rank reads {epoch.rank_bytes / 1e9:,.3f} GB in {epoch.rank_requests:,} requests (ranges of the shards)"
    if epoch.node_bytes is not None:
        yield (
            f"with the cache a node reads {epoch.node_bytes / 1e9:,.3f} GB; {epoch.cache_hit_rate:.1%} of the shards "
            "that a window needs are there"
        )
    for title, counts in (("source", epoch.by_source), ("task", epoch.by_task)):
        for name, count in counts.items():
            yield f"  {title} {name}: {count:,} samples ({count / max(1, epoch.samples):.1%})"


def draw(epoch: Simulation, path: str) -> None:
    """A picture of the micro-batches: how many samples they hold, and how much of the budget they fill."""
    pyplot = pictures.pyplot()
    figure, (sizes, fills) = pyplot.subplots(1, 2, figsize=(11, 3.4), constrained_layout=True)
    sizes.hist(epoch.batch_sizes, bins=40, color="#3b6ea5")
    sizes.set_xlabel("samples in a micro-batch")
    sizes.set_ylabel("micro-batches")
    fills.hist(np.asarray(epoch.batch_area) * 100, bins=40, range=(0, 100), color="#3b6ea5")
    fills.set_xlabel(f"share of the budget ({epoch.budget}) that is filled, padding included, %")
    for axis in (sizes, fills):
        axis.spines[["top", "right"]].set_visible(False)
    title = f"{epoch.samples:,} samples, {epoch.steps:,} steps of {epoch.micro_batches}; {epoch.padding:.1%} padding"
    figure.suptitle(title, x=0.01, ha="left")
    pictures.save(figure, path, BY, dpi=110)


def _batches(window: PlanningBlock) -> tuple[Ints, Ints]:
    """Members and largest cost of each micro-batch."""
    boundaries = window.assignment.boundaries
    return np.diff(boundaries), np.maximum.reduceat(window.cost[window.assignment.order], boundaries[:-1])


def _shards(plan: Planner, window: PlanningBlock) -> Ints:
    """The number of each sample's shard, unique over all sources."""
    shard_of = np.zeros(len(window.row), np.int64)
    first = 0
    for number, sampler in enumerate(plan.samplers):
        here = window.source == number
        boundaries = sampler.columns.first_rows
        shard_of[here] = first + np.searchsorted(boundaries, window.row[here], side="right") - 1
        first += len(boundaries)
    return shard_of


def _distinct(shards: Ints) -> list[float]:
    """From how many shards each stretch of :data:`STRETCH` successive samples comes."""
    length = min(STRETCH, len(shards))
    whole = len(shards) // length * length
    rows = np.sort(shards[:whole].reshape(-1, length), axis=1)
    distinct: list[float] = (1 + (np.diff(rows, axis=1) != 0).sum(axis=1)).tolist()
    return distinct


def _bytes(plan: Planner, window: PlanningBlock) -> int:
    return sum(
        int(sampler.columns.sizes(window.row[window.source == number]).sum())
        for number, sampler in enumerate(plan.samplers)
    )


def _count_tasks(plan: Planner, window: PlanningBlock, counts: dict[str, int]) -> None:
    for number, sampler in enumerate(plan.samplers):
        for task in sampler.columns.texts("task", window.row[window.source == number]):
            counts[task or "unknown"] = counts.get(task or "unknown", 0) + 1


def _cached(plan: Planner, cache_bytes: int) -> tuple[int, float]:
    """(bytes that a node fetches, share of its windows' shards that are cached already) with a cache of that size."""
    sizes: dict[str, int] = {}
    for uri in {sampler.columns.index.uri for sampler in plan.samplers}:
        for shard in read_manifest(uri)["shards"]:
            sizes[locate(uri, shard["path"])] = shard["bytes"]
    cache: OrderedDict[str, int] = OrderedDict()
    total = fetched_bytes = hits = asked = 0
    for number in range(plan.windows_per_epoch):
        for uri, _ in plan.shards(StreamPosition(window=number), ahead=0, stores=False):
            asked += 1
            if uri in cache:
                hits += 1
                cache.move_to_end(uri)
                continue
            size_bytes = sizes.get(uri, 0)
            fetched_bytes += size_bytes
            cache[uri] = size_bytes
            total += size_bytes
            while total > cache_bytes:
                total -= cache.popitem(last=False)[1]
    return fetched_bytes, hits / asked
