"""The loader: this rank's micro-batches of every global step, read by workers, resumed exactly.

    loader = StreamingLoader(Mixture.from_yaml("mixture.yaml"), budget="300s", seed=7, micro_batches=8)
    for batch in loader: ...
    state = loader.state_dict()

The plan knows neither ranks nor workers: rank ``r`` of ``n`` takes micro-batches ``r``, ``r + n``, ... of each step.
So a run goes on with another number of either, with the same global steps.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from llaso_data.errors import LLaSOError
from llaso_data.records import digest
from llaso_data.stream.augment import Augment
from llaso_data.stream.batch import Batch, Replaced, Sample, Samples, collate, decoded, new_samples, samples_of
from llaso_data.stream.budget import FRAMES_PER_S, Budget
from llaso_data.stream.cache import FileCache, Prefetch
from llaso_data.stream.fetch import Bad, Fetcher
from llaso_data.stream.handover import Parcel, Receiver, Sender, keep_pages
from llaso_data.stream.mixture import Mixture
from llaso_data.stream.plan import key_of
from llaso_data.stream.windows import Cursor, Plan, Step, Window, frozen, turns

STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Position:
    """Where a rank stands: the next step, and how many of its micro-batches of it are delivered."""

    cursor: Cursor = field(default_factory=Cursor)
    delivered: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How samples are read: decoded or as bytes, with what other sound, through which cache; what is made of them."""

    decode: bool
    augment: Augment | None
    cache: FileCache | None
    transform: Callable[[Batch], Any] | None = None


class StreamDataset(IterableDataset[Any]):
    """The micro-batches of one rank, from a position on; within torch's DataLoader each worker reads its share.

    ``turns`` are those of a step that are the rank's. With a receiver workers give parcels for it.
    """

    def __init__(
        self,
        plan: Plan,
        turns: range,
        position: Position,
        changes: Mapping[int, Mapping[str, float]],
        reading: Reading,
        receiver: Receiver | None = None,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.position = position
        self.changes = dict(changes)
        self._turns = turns
        self._reading = reading
        self._returned = None if receiver is None else receiver.returned

    def __iter__(self) -> Iterator[Batch | Parcel]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        sender = None if self._returned is None else Sender(worker, self._returned[worker])
        number = 0  # of the micro-batch among those of this rank, since the position
        skip = self.position.delivered
        with closing(_Reader(self.plan, self._reading, new_samples if sender is None else sender.new)) as reader:
            for step, after in self.plan.steps(self.position.cursor, self.changes):
                for turn in self._turns[skip:]:
                    if number % workers == worker:
                        batch = reader.batch(step, turn, after if turn == self._turns[-1] else None)
                        if self._reading.transform is not None:
                            yield batch.transformed(self._reading.transform)
                        else:
                            yield batch if sender is None else sender.parcel(batch)
                    number += 1
                skip = 0


class StreamingLoader:
    """Streams a mixture; see the module. Iterating goes on from where the last iteration stopped.

    ``rank`` and ``world_size`` are what torchrun or Ray Train say where they are not given. ``window`` is how many
    shards of a source are shuffled together. ``pack`` lays samples end to end instead of padding them: batches then
    hold the budget as a sum. ``max_bad`` is how many samples may be replaced before the run stops. ``cache`` is a
    folder for whole shards of a store, at most ``cache_bytes`` for all processes of the node; without it only the
    bytes that are wanted are read. ``tokens`` names the column of the index that counts a text's tokens. ``augment``
    is for decoded samples. A function that is set as ``transform`` makes of each batch what is wanted of it where it
    was read, in the workers: ``batch.made``.
    """

    def __init__(
        self,
        mixture: Mixture,
        budget: str | int,
        *,
        seed: int = 0,
        micro_batches: int = 1,
        rank: int | None = None,
        world_size: int | None = None,
        num_workers: int = 0,
        decode: bool = True,
        window: int = 20,
        pack: bool = False,
        max_bad: int = 100,
        prefetch: int = 2,
        pin_memory: bool = False,
        cache: str | None = None,
        cache_bytes: int = 50_000_000_000,
        frames_per_s: float = FRAMES_PER_S,
        tokens: str | None = None,
        augment: Augment | None = None,
    ) -> None:
        self.rank, self.world_size = placed(rank, world_size)
        self._turns = turns(micro_batches, self.rank, self.world_size)
        kept = None if cache is None else FileCache(cache, cache_bytes)
        cost = Budget.of(budget, frames_per_s, tokens, 1.0 if augment is None else augment.longest)
        self.plan = Plan(mixture, cost, seed, micro_batches, window, pack, kept)
        self.replaced: list[Replaced] = []
        self._workers = num_workers
        self._reading = Reading(decode, augment, kept)
        self.transform: Callable[[Batch], Any] | None = None
        self._max_bad = max_bad
        self._prefetch = prefetch
        self._pin_memory = pin_memory
        self._position = Position()
        self._changes: dict[int, dict[str, float]] = {}
        self._bad, self._bad_digest = 0, ""
        self._again = False

    @property
    def dataset(self) -> StreamDataset:
        """What the loader would read next, for one's own ``DataLoader(loader.dataset, batch_size=None)``."""
        return self._dataset()

    def _dataset(self, receiver: Receiver | None = None) -> StreamDataset:
        reading = replace(self._reading, transform=self.transform)
        return StreamDataset(self.plan, self._turns, self._position, self._changes, reading, receiver)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self._again = False
            for batch in self._started():
                self._count(batch)
                yield batch
                if self._again:
                    break
            if not self._again:
                return

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, counted on delivery: under 1 KB, the same for all ranks between two steps."""
        cursor = self._position.cursor
        return {
            "version": STATE_VERSION,
            "plan": dict(self.plan.settings),
            "step": cursor.step,
            "window": cursor.window,
            "offset": cursor.offset,
            "delivered": self._position.delivered,
            "world_size": self.world_size,
            "phases": [first for first, _ in cursor.phases],  # whose weights the mixture or "changes" have
            "changes": {str(step): dict(weights) for step, weights in self._changes.items()},
            "bad": {"count": self._bad, "digest": self._bad_digest},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with any number of ranks and workers. Raises LLaSOError where the plan is another."""
        if state.get("version") != STATE_VERSION:
            raise LLaSOError(f"the stream's state has version {state.get('version')}, not {STATE_VERSION}")
        try:
            other = [name for name, value in self.plan.settings.items() if state["plan"].get(name) != value]
            if other:
                raise LLaSOError(f"the state is of another stream: {', '.join(other)} differ")
            if state["delivered"] and state["world_size"] != self.world_size:
                raise LLaSOError(
                    f"the state was saved within step {state['step']} by {state['world_size']} ranks; only as many can "
                    "go on from there. Save it between two steps"
                )
            changes = {int(step): dict(weights) for step, weights in state["changes"].items()}
            due = self.plan.due(changes)
            phases = tuple((first, frozen(weights)) for first, (_, weights) in zip(state["phases"], due, strict=False))
            cursor = Cursor(state["step"], state["window"], state["offset"], phases)
            bad = state["bad"]["count"], state["bad"]["digest"]
            self._position = Position(cursor, state["delivered"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LLaSOError(f"this is no state of a stream ({type(error).__name__}: {error})") from error
        self._changes = changes
        self._bad, self._bad_digest = bad
        self._again = True

    def set_weights(self, weights: Mapping[str, float], step: int | None = None) -> None:
        """Other weights of sources, from a step on; default: the next. To be called alike on all ranks."""
        self.plan.check_names(weights)
        step = self._position.cursor.step + (self._position.delivered > 0) if step is None else step
        if step < self._position.cursor.step:
            raise LLaSOError(f"step {step} is past; the next is {self._position.cursor.step}")
        self._changes[step] = {**self._changes.get(step, {}), **weights}
        self._again = True

    def _started(self) -> Iterator[Batch]:
        if not self._workers:
            return iter(self.dataset)
        receiver = Receiver(self._workers)
        batches = DataLoader(
            self._dataset(receiver if self.transform is None else None),
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=self._prefetch,
        )
        found = _from_workers(batches, receiver)
        return (batch.pin_memory() for batch in found) if self._pin_memory else found

    def _count(self, batch: Batch) -> None:
        """Notes a delivered micro-batch; raises LLaSOError where too many samples were bad."""
        if batch.after is not None:
            self._position = Position(batch.after)
        else:
            self._position = Position(self._position.cursor, self._position.delivered + 1)
        for one in batch.replaced:
            self.replaced.append(one)
            self._bad += 1
            self._bad_digest = digest(self._bad_digest, one.bad.key, one.bad.reason, one.by, length=16)
        if self._bad > self._max_bad:
            last = self.replaced[-1].bad
            raise LLaSOError(
                f"{self._bad} samples were bad, more than max_bad={self._max_bad}; the last: {last.key} in "
                f"{last.shard}: {last.reason}. `llaso-data validate` names all of them"
            )


def _from_workers(batches: DataLoader[Batch | Parcel], receiver: Receiver) -> Iterator[Batch]:
    """What the workers read; raises RuntimeError, as torch does, where one of them ended."""
    try:
        for found in batches:
            yield receiver.open(found) if isinstance(found, Parcel) else found
            del found
    except (ConnectionError, EOFError, FileNotFoundError) as error:  # it cannot hand over its memory any more
        time.sleep(1.0)  # torch soon says which one it was, and how it ended
        raise RuntimeError("a worker of the stream exited unexpectedly") from error


class _Reader:
    """Reads and decodes micro-batches of a plan."""

    def __init__(self, plan: Plan, reading: Reading, new: Callable[[int], Samples]) -> None:
        keep_pages()
        self._plan = plan
        self._reading = reading
        self._new = new
        self._fetch = Fetcher(reading.cache)
        self._prefetch = None if reading.cache is None else Prefetch(reading.cache)
        self._window = -1

    def close(self) -> None:
        self._fetch.close()
        if self._prefetch is not None:
            self._prefetch.close()

    def batch(self, step: Step, turn: int, after: Cursor | None) -> Batch:
        if self._prefetch is not None and self._window != step.window.number:
            self._window = step.window.number
            self._prefetch.want(self._plan.shards(step.cursor))
        wanted = step.batches[turn]
        samples: list[Sample] = []
        replaced: list[Replaced] = []
        for number, found in zip(wanted.tolist(), self._read(step.window, wanted), strict=True):
            if isinstance(found, Bad):
                instead = self._instead(step.window, number)
                replaced.append(Replaced(found, instead.key))
                found = instead
            if self._reading.decode and self._reading.augment is not None:
                found = self._reading.augment(found, key_of("augment", self._plan.digest, step.window.number, number))
            samples.append(found)
        content = collate(samples, self._plan.pack, self._new) if self._reading.decode else {"samples": tuple(samples)}
        return Batch(step.number, turn, replaced=tuple(replaced), after=after, **content)

    def _read(self, window: Window, numbers: Sequence[int] | np.ndarray[Any, Any]) -> list[Sample | Bad]:
        """The samples with these numbers in the window, or what is wrong with them."""
        numbers = np.asarray(numbers, np.int64)
        plan = self._plan
        found: list[Sample | Bad | None] = [None] * len(numbers)
        of = window.leaf[numbers]
        for leaf in sorted(set(of.tolist())):
            here = np.flatnonzero(of == leaf)
            rows = window.row[numbers[here]]
            source, columns = plan.leaves[leaf].name, plan.leaves[leaf].columns
            read = samples_of(columns, rows, self._fetch, source)
            for position, one in zip(here.tolist(), read, strict=True):
                found[position] = decoded(one) if self._reading.decode and isinstance(one, Sample) else one
        return [one for one in found if one is not None]

    def _instead(self, window: Window, number: int) -> Sample:
        """The sample that stands in for a bad one: the next cheaper of the window, else a dearer one."""
        by_cost = np.argsort(window.cost, kind="stable")
        place = int(np.flatnonzero(by_cost == number)[0])
        for other in [*by_cost[:place][::-1].tolist(), *by_cost[place + 1 :].tolist()]:
            (found,) = self._read(window, [other])
            if not isinstance(found, Bad):
                return found
        raise LLaSOError("no sample of a whole window of the plan can be used; run `llaso-data validate`")


def placed(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and world size: as given, else those of torchrun's environment or of Ray Train, else one rank."""
    if rank is None and world_size is None:
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        else:
            rank, world_size = _of_ray() or (0, 1)
    if rank is None or world_size is None or not 0 <= rank < world_size:
        raise LLaSOError(f"rank {rank} of {world_size} ranks: give both, 0 <= rank < world_size")
    return rank, world_size


def _of_ray() -> tuple[int, int] | None:
    """Of the Ray Train worker that this is; Ray is not imported for it."""
    import sys

    if "ray.train" not in sys.modules:
        return None
    try:
        context = sys.modules["ray.train"].get_context()
        return context.get_world_rank(), context.get_world_size()
    except Exception:  # there is no training here: what Ray raises for that differs between its versions
        return None
