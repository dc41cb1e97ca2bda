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
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from llaso_data.errors import LLaSOError
from llaso_data.stream.augment import Augment
from llaso_data.stream.batch import Batch, Replaced, new_samples
from llaso_data.stream.batch_reader import BatchReader, ReadSettings
from llaso_data.stream.budget import FRAMES_PER_S, Budget
from llaso_data.stream.mixture import Mixture
from llaso_data.stream.planner import Planner, rank_schedule
from llaso_data.stream.shard_cache import FileCache
from llaso_data.stream.shared_memory import BatchHandle, Receiver, Sender
from llaso_data.stream.state import Changes, RankPosition, check_weights, opened, state_of


@dataclass(frozen=True, slots=True)
class _Failed:
    """An error that a worker hands over: torch would raise it with the worker's traceback as its text."""

    error: LLaSOError


class StreamDataset(IterableDataset[Any]):
    """The micro-batches of one rank, from a position to the end of its pass; each of torch's workers reads its share.

    Every iteration of it begins at that position.

    Args:
        plan: What is streamed.
        rank_schedule: The numbers of those micro-batches of a step that are this rank's.
        position: Where to begin.
        changes: Weights of sources by the step from which they hold.
        reading: How samples are read.
        end: The window to stop before; None: the end of the pass.
        receiver: The loader's, if there is one: workers then hand over handles and errors instead of batches.
        share: (r, n) leaves out all steps but each n-th from the r-th on.
    """

    def __init__(
        self,
        plan: Planner,
        rank_schedule: range,
        position: RankPosition,
        changes: Mapping[int, Mapping[str, float]],
        reading: ReadSettings,
        end: int | None = None,
        receiver: Receiver | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        super().__init__()
        self.plan = plan
        self.position = position
        self.changes = dict(changes)
        self._micro_batches = rank_schedule
        self._reading = reading
        self._end = end
        self._returned = None if receiver is None else receiver.returned
        self._share = share

    def __iter__(self) -> Iterator[Batch | BatchHandle | _Failed]:
        if self._returned is None:
            yield from self._batches(None)
            return
        info = get_worker_info()
        worker = info.id if info else 0
        sender = Sender(worker, self._returned[worker])
        whole = self._reading.transform is not None
        try:
            for batch in self._batches(None if whole else sender):
                yield batch if whole else sender.handle(batch)
        except LLaSOError as error:
            yield _Failed(error)

    def _batches(self, sender: Sender | None) -> Iterator[Batch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        number = 0  # of the micro-batch among those of this rank, since the position
        skip = self.position.delivered
        first, ranks = self._share
        with closing(BatchReader(self.plan, self._reading, new_samples if sender is None else sender.new)) as reader:
            for step, after in self.plan.steps(self.position.cursor, self.changes, self._end):
                if step.number % ranks != first:
                    continue
                for turn in self._micro_batches[skip:]:
                    if number % workers == worker:
                        yield reader.batch(step, turn, after if turn == self._micro_batches[-1] else None)
                    number += 1
                skip = 0


class StreamingLoader:
    """Streams a mixture; see the module. Each iteration is one pass: the mixture's ``epochs``, shuffled anew.

    The next iteration goes on where one was broken off, as a state does. After the last batch of a pass, and with a
    state of there, the next pass begins. There is one iteration at a time: an older one raises LLaSOError.

    A function that is set as ``transform`` makes of each batch what is wanted of it where it was read, in the workers:
    ``batch.made``. A sample of which it makes nothing is a bad one; to find it, it is called with batches of one.

    Args:
        mixture: The datasets and their shares.
        budget: What a micro-batch may cost: ``300s``, ``15000f`` (frames), ``8000t`` (tokens) or ``64`` (samples).
        seed: Of all draws.
        micro_batches: Micro-batches of a global step, over all ranks.
        rank: Of this process; None: what torchrun or Ray Train say, else 0.
        world_size: The number of ranks, to be given with ``rank``.
        num_workers: Processes that read; 0: this one.
        decode: Decodes audio; False: batches hold bytes.
        window: How many shards of a source are shuffled together.
        pack: Lays samples end to end instead of padding them: batches then hold the budget as a sum.
        max_bad: How many samples of this rank may be bad before the loader stops. A sample that is met again in another
            epoch is counted once.
        prefetch: Batches that each worker reads ahead.
        pin_memory: Copies batches to pinned memory.
        cache: A folder for whole shards of a store; None: only the bytes that are wanted are read.
        cache_bytes: The most that the folder holds, for all processes of the node together.
        frames_per_s: Frames of a second of audio, for budgets in frames and tokens.
        tokens: The column of the index that counts a text's tokens.
        augment: Other sound of decoded samples.
        by_steps: Gives whole steps to the ranks, in turn, instead of each step's micro-batches. Then the
            micro-batches do not depend on the number of ranks, and no sample comes twice to fill a step; but a rank
            may have a step less than another, and there is no state of it. It is for reading a set once.

    Attributes:
        plan: The global plan.
        replaced: The bad samples that this rank met, and what stood in their places.

    Raises:
        LLaSOError: A dataset has no index, the mixture has no samples, or a setting does not fit another.
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
        by_steps: bool = False,
    ) -> None:
        self.rank, self.world_size = placed(rank, world_size)
        self._share = (self.rank, self.world_size) if by_steps else (0, 1)
        self._micro_batches = (
            range(micro_batches) if by_steps else rank_schedule(micro_batches, self.rank, self.world_size)
        )
        kept = None if cache is None else FileCache(cache, cache_bytes)
        cost = Budget.of(budget, frames_per_s, tokens, 1.0 if augment is None else augment.longest)
        self.plan = Planner(mixture, cost, seed, micro_batches, window, pack, kept)
        self.replaced: list[Replaced] = []
        self._workers = num_workers
        self._reading = ReadSettings(decode, augment, kept, max_bad)
        self.transform: Callable[[Batch], Any] | None = None
        self._prefetch = prefetch
        self._pin_memory = pin_memory
        self._position = RankPosition()
        self._changes: Changes = {}
        self._bad: set[tuple[str, str]] = set()
        self._end = self.plan.end(self._position.cursor)
        self._iteration = 0  # the youngest one
        self._again = False

    @property
    def dataset(self) -> StreamDataset:
        """What the loader would read next, for one's own ``DataLoader(loader.dataset, batch_size=None)``.

        The loader does not see what is read so.
        """
        return self._dataset(self.plan.end(self._position.cursor))

    def _dataset(self, end: int | None, receiver: Receiver | None = None) -> StreamDataset:
        reading = replace(self._reading, transform=self.transform)
        return StreamDataset(
            self.plan, self._micro_batches, self._position, self._changes, reading, end, receiver, self._share
        )

    def __iter__(self) -> Iterator[Batch]:
        self._iteration += 1
        iteration = self._iteration
        self._end = self.plan.end(self._position.cursor)
        while True:
            self._again = False
            for batch in self._started():
                self._count(batch)
                yield batch
                if self._iteration != iteration:
                    raise LLaSOError("another iteration of this loader began; make a loader for each of them")
                if self._again:
                    break
            if not self._again:
                return

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, counted on delivery: under 1 KB, the same for all ranks between two steps.

        Bad samples are no part of it: each rank's are in ``replaced``. Raises LLaSOError for a loader ``by_steps``.
        """
        if self._share != (0, 1):
            raise LLaSOError("a loader that gives whole steps to the ranks has no state that all of them share")
        return state_of(self.plan, self._position, self._changes, self.world_size)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, with any number of ranks and workers.

        Raises LLaSOError, and changes nothing, where it is no state or one of another stream.
        """
        self._position, self._changes = opened(state, self.plan, self.world_size)
        self._end = self.plan.end(self._position.cursor)
        self._again = True

    def set_weights(self, weights: Mapping[str, float], step: int | None = None) -> None:
        """Other weights of sources, from a step on; default: the next. To be called alike on all ranks."""
        checked_weights = check_weights(weights, self.plan)
        step = self._position.cursor.step + (self._position.delivered > 0) if step is None else step
        if step < self._position.cursor.step:
            raise LLaSOError(f"step {step} is past; the next is {self._position.cursor.step}")
        self._changes[step] = {**self._changes.get(step, {}), **checked_weights}
        self._again = True

    def _started(self) -> Iterator[Batch]:
        if not self._workers:
            return self._dataset(self._end)._batches(None)
        receiver = Receiver(self._workers)
        batches = DataLoader(
            self._dataset(self._end, receiver),
            batch_size=None,
            num_workers=self._workers,
            prefetch_factor=self._prefetch,
        )
        batches_read = _from_workers(batches, receiver)
        return (batch.pin_memory() for batch in batches_read) if self._pin_memory else batches_read

    def _count(self, batch: Batch) -> None:
        """Notes a delivered micro-batch; raises LLaSOError where too many samples were bad."""
        if batch.after is not None:
            self._position = RankPosition(batch.after)
        else:
            self._position = RankPosition(self._position.cursor, self._position.delivered + 1)
        for replaced in batch.replaced:
            self.replaced.append(replaced)
            self._bad.add((replaced.bad.shard, replaced.bad.key))
        if len(self._bad) > self._reading.max_bad:
            last = self.replaced[-1].bad
            raise LLaSOError(
                f"{len(self._bad)} samples were bad, more than max_bad={self._reading.max_bad}; the last: {last.key} "
                f"in {last.shard}: {last.reason}. `llaso-data validate` names what is damaged"
            )


def _from_workers(batches: DataLoader[Batch | BatchHandle | _Failed], receiver: Receiver) -> Iterator[Batch]:
    """What the workers read; raises what they raised, and RuntimeError, as torch does, where one of them ended."""
    try:
        for item in batches:
            if isinstance(item, _Failed):
                raise item.error
            yield receiver.open(item) if isinstance(item, BatchHandle) else item
            del item
    except (ConnectionError, EOFError, FileNotFoundError) as error:  # it cannot hand over its memory any more
        time.sleep(1.0)  # torch soon says which one it was, and how it ended
        raise RuntimeError("a worker of the stream exited unexpectedly") from error


def placed(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """The rank and the number of ranks of this process.

    Args:
        rank: As it is given, or None.
        world_size: As it is given, or None.

    Returns:
        Both as given, else those of torchrun's environment or of Ray Train, else (0, 1).

    Raises:
        LLaSOError: Only one is given, or the rank is not below the world size.
    """
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
