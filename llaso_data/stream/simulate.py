"""What a plan will do, before a GPU is paid for: steps, padding, samples by source, bytes read, how well shuffled."""

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

STRETCH = 32  # samples that follow each other, of which it is counted how many shards they come from
LOOKED_AT = 50  # windows, spread over the epoch, whose samples are looked at one by one


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
    found = Simulation(
        windows=plan.windows_per_epoch,
        micro_batches=plan.micro_batches,
        world_size=world_size,
        budget=str(plan.budget),
        shards=sum(int(np.count_nonzero(sampler.statistics.counts)) for sampler in plan.samplers),
    )
    looked_at = set(np.linspace(0, found.windows - 1, min(LOOKED_AT, found.windows)).round().astype(int).tolist())
    area = cost = batches = shards = 0
    stretches: list[float] = []
    sources = np.zeros(len(plan.samplers), np.int64)
    read_bytes = 0
    for number in range(found.windows):
        window = plan.window(StreamPosition(window=number))
        sizes, largest = _batches(window)
        area += int((sizes * largest).sum())
        cost += int(window.cost.sum())
        batches += len(sizes)
        found.steps += window.steps
        found.repeated += window.assignment.repeated
        sources += np.bincount(window.source, minlength=len(sources))
        if number in looked_at:
            found.batch_sizes += sizes.tolist()
            found.batch_area += (sizes * largest / plan.budget.limit).tolist()
            where = _shards(plan, window)
            shards += len(np.unique(where))
            in_turn = [window.assignment.samples(turn) for turn in window.assignment.schedule.ravel().tolist()]
            stretches += _distinct(where[np.concatenate(in_turn)])
            read_bytes += _bytes(plan, window)
            _count_tasks(plan, window, found.by_task)
    found.samples = int(sources.sum())
    found.looked_at = len(looked_at)
    found.by_source = {sampler.name: int(count) for sampler, count in zip(plan.samplers, sources, strict=True)}
    scale = found.windows / found.looked_at
    found.by_task = {task: round(count * scale) for task, count in sorted(found.by_task.items())}
    found.cost = cost / 1000
    found.padding, found.fill = 1 - cost / area if area else 0.0, area / (batches * plan.budget.limit)
    found.shards_in_window = shards / found.looked_at
    found.shards_in_stretch = float(np.mean(stretches))
    found.rank_bytes = round(read_bytes * scale / world_size)
    found.rank_requests = -(-found.samples // world_size)
    if cache_bytes is not None:
        found.node_bytes, found.cache_hit_rate = _cached(plan, cache_bytes)
    return found


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


def lines(found: Simulation) -> Iterator[str]:
    """The simulation for a person to read."""
    twice = f", {found.repeated:,} of them twice" if found.repeated else ""
    each = found.steps * found.micro_batches // found.world_size
    yield f"an epoch has {found.samples:,} samples{twice}"
    yield f"{found.steps:,} steps of {found.micro_batches} micro-batches: {each:,} for each of {found.world_size} ranks"
    yield f"padding {found.padding:.2%}; micro-batches fill {found.fill:.1%} of {found.budget}"
    yield (
        f"{found.windows:,} windows of {found.shards_in_window:.0f} of {found.shards:,} shards; {STRETCH} samples in a "
        f"row come from {found.shards_in_stretch:.1f}"
    )
    yield f"a rank reads {found.rank_bytes / 1e9:,.3f} GB in {found.rank_requests:,} requests (ranges of the shards)"
    if found.node_bytes is not None:
        yield (
            f"with the cache a node reads {found.node_bytes / 1e9:,.3f} GB; {found.cache_hit_rate:.1%} of the shards "
            "that a window needs are there"
        )
    for title, counts in (("source", found.by_source), ("task", found.by_task)):
        for name, count in counts.items():
            yield f"  {title} {name}: {count:,} samples ({count / max(1, found.samples):.1%})"


def draw(found: Simulation, path: str) -> None:
    """A picture of the micro-batches: how many samples they hold, and how much of the budget they fill."""
    pyplot = pictures.pyplot()
    figure, (sizes, fills) = pyplot.subplots(1, 2, figsize=(11, 3.4), constrained_layout=True)
    sizes.hist(found.batch_sizes, bins=40, color="#3b6ea5")
    sizes.set_xlabel("samples in a micro-batch")
    sizes.set_ylabel("micro-batches")
    fills.hist(np.asarray(found.batch_area) * 100, bins=40, range=(0, 100), color="#3b6ea5")
    fills.set_xlabel(f"share of the budget ({found.budget}) that is filled, padding included, %")
    for axis in (sizes, fills):
        axis.spines[["top", "right"]].set_visible(False)
    title = f"{found.samples:,} samples, {found.steps:,} steps of {found.micro_batches}; {found.padding:.1%} padding"
    figure.suptitle(title, x=0.01, ha="left")
    pictures.save(figure, path, BY, dpi=110)


def _batches(window: PlanningBlock) -> tuple[Ints, Ints]:
    """Members and largest cost of each micro-batch."""
    boundaries = window.assignment.boundaries
    return np.diff(boundaries), np.maximum.reduceat(window.cost[window.assignment.order], boundaries[:-1])


def _shards(plan: Planner, window: PlanningBlock) -> Ints:
    """For each sample of a window a number that its shard alone has."""
    found = np.zeros(len(window.row), np.int64)
    first = 0
    for number, sampler in enumerate(plan.samplers):
        here = window.source == number
        boundaries = sampler.columns.first_rows
        found[here] = first + np.searchsorted(boundaries, window.row[here], side="right") - 1
        first += len(boundaries)
    return found


def _distinct(shards: Ints) -> list[float]:
    """From how many shards each stretch of samples in a row comes."""
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
    """(bytes that a node brings, share of its windows' shards that are there already) with a cache of that size."""
    sizes: dict[str, int] = {}
    for uri in {sampler.columns.index.uri for sampler in plan.samplers}:
        for shard in read_manifest(uri)["shards"]:
            sizes[locate(uri, shard["path"])] = shard["bytes"]
    kept: OrderedDict[str, int] = OrderedDict()
    total = brought = hits = asked = 0
    for number in range(plan.windows_per_epoch):
        for uri, _ in plan.shards(StreamPosition(window=number), ahead=0, stores=False):
            asked += 1
            if uri in kept:
                hits += 1
                kept.move_to_end(uri)
                continue
            size_bytes = sizes.get(uri, 0)
            brought += size_bytes
            kept[uri] = size_bytes
            total += size_bytes
            while total > cache_bytes:
                total -= kept.popitem(last=False)[1]
    return brought, hits / asked
