"""The engine ``ray``: decoding tasks feed listening actors, one block at a time each.

The driver deals the blocks out itself, from a window of bounded size that moves on with every block that is done: no
block waits for a slow one, the models stay loaded from the first block to the last, and workers may come and go. What
dies with its worker is done again by another; a block that every worker dies of is set aside and named at the end.
An actor sees the blocks that the ``local`` engine sees, so their files are the same bytes.
"""

from __future__ import annotations

import dataclasses
import logging
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.io import interrupts
from llaso_data.pipeline.blocks import PlannedBlock
from llaso_data.pipeline.observe import BlockResult, LoadedBlock, Observer, load_block
from llaso_data.pipeline.ray_cluster import alive, cluster, dead_nodes, gpus_per_actor, room_for
from llaso_data.recipe import Observe, Run

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

DEATHS = 3
"""Workers that may die on one block (or shard) before it is taken for the reason."""

LOSSES = 20
"""Times that one block may be lost with its node, which is rarely the block's fault."""

SET_ASIDE = 10
"""Blocks that may be set aside before the run ends: so many are no accident."""

_TASKS_AHEAD = 1024
_WARN_S = 120.0
_LOOK_S = 5.0  # how often the driver looks for nodes that came

# Logical CPUs. An actor holds a little less than its threads, so that decoding tasks always find room beside a pool
# that fills the machine; with whole CPUs, two actors on two cores would starve the tasks that feed them.
_ACTOR_SHARE = 0.8
_DECODE_CPUS = 0.2


def observe(blocks: Iterable[PlannedBlock], settings: Observe, run: Run, out: str) -> Iterator[BlockResult]:
    """Observe and commit every block; results come in the order in which blocks finish.

    Raises LLaSOError at once for an error of ours in any worker, and at the end for blocks that were set aside.
    """
    waiting = iter(blocks)
    first = next(waiting, None)
    if first is None:
        return
    with cluster(run):
        yield from _Observing(chain([first], waiting), settings, run, out).results()


def each(function: Callable[[T], R], tasks: Iterable[T], run: Run) -> Iterator[R]:
    """``function`` of every task on one CPU each, unordered. Tasks and results must be small. Raises as observe()."""
    iterator = iter(tasks)
    first = next(iterator, None)
    if first is None:
        return
    with cluster(run):
        import ray

        remote = ray.remote(num_cpus=1, max_retries=0)(_guarded)
        work = _Work(chain([first], iterator), "task", lambda task: str(getattr(task, "name", task)))
        pending: dict[Any, _Job[T]] = {}

        def start() -> bool:
            while len(pending) < _TASKS_AHEAD and (job := work.take()) is not None:
                pending[remote.remote(function, job.item)] = job
            return bool(pending)

        try:
            while start():
                results = []
                for done in _finished(pending):
                    job = pending.pop(done)
                    try:
                        results.append(_result(ray.get(done)))
                    except _lost() as error:
                        work.again(job, error)
                start()  # before the caller takes its time with the results
                yield from results
        finally:
            for task in pending:  # an error ends the run: the cluster may be somebody else's
                ray.cancel(task, force=True)
        work.check()


@dataclass
class _Job(Generic[T]):
    """A block (or task) and what befell it so far."""

    item: T
    deaths: int = 0
    losses: int = 0


class _Work(Generic[T]):
    """What is to be done: first what was lost on the way, then what comes next."""

    def __init__(self, items: Iterator[T], kind: str, describe: Callable[[T], str]) -> None:
        self._items = items
        self._kind = kind
        self._describe = describe
        self._again: deque[_Job[T]] = deque()
        self._aside: list[_Job[T]] = []

    def take(self) -> _Job[T] | None:
        if self._again:
            return self._again.popleft()
        item = next(self._items, None)
        return None if item is None else _Job(item)

    def again(self, job: _Job[T], error: Exception, node_died: bool = False) -> None:
        """The worker died, or lost what it needed: another gets the job, unless too many have died of it."""
        if node_died or not _is_death(error):
            job.losses += 1
        else:
            job.deaths += 1
        if job.deaths < DEATHS and job.losses < LOSSES:
            self._again.append(job)
            return
        self._aside.append(job)
        if len(self._aside) >= SET_ASIDE:
            self.check()

    def check(self) -> None:
        """Raises LLaSOError where something was set aside."""
        if not self._aside:
            return
        many = f"{len(self._aside)} {self._kind}{'s' * (len(self._aside) > 1)}"
        shown = "".join(f"\n  {self._describe(job.item)}: {_history(job)}" for job in self._aside)
        raise LLaSOError(
            f"{many} could not be done, because whatever worker took them died:{shown}\n"
            "Either memory runs out (pass a smaller --num-workers), or a decoder or stage crashes on one of the inputs "
            "(run it alone with --engine local, or take it out). Everything else is kept: the same command goes on "
            "from there"
        )


class _Observing:
    """The state of observe(): which block is where. Only the driver's process has it."""

    def __init__(self, blocks: Iterator[PlannedBlock], settings: Observe, run: Run, out: str) -> None:
        import ray

        self._gpus = gpus_per_actor(run)
        if not self._gpus and run.device == "auto":
            run = run.model_copy(update={"device": "cpu"})  # an actor without a GPU of its own sees them all
        self._run = run
        self._work = _Work(blocks, "block", _inputs_of)
        self._load = ray.remote(
            num_cpus=_DECODE_CPUS, num_returns=2, max_retries=0, scheduling_strategy="SPREAD"
        )(_load)  # fmt: skip
        self._settings = settings
        self._actor = ray.remote(
            num_cpus=_ACTOR_SHARE * room_for(run, self._gpus),
            num_gpus=self._gpus or None,
            scheduling_strategy="SPREAD",
        )(_Listener)  # fmt: skip
        self._arguments = (settings, run, out)
        self._decoding: dict[Any, tuple[_Job[PlannedBlock], Any]] = {}
        self._decoded: deque[tuple[_Job[PlannedBlock], Any]] = deque()
        self._loading: dict[Any, tuple[Any, int]] = {}  # actors that load their models, and the nodes dead before
        self._idle: list[Any] = []
        self._listening: dict[Any, tuple[_Job[PlannedBlock], Any]] = {}
        self._nodes: dict[Any, str] = {}
        self._stillborn = 0
        self._started_s: float | None = time.monotonic()  # None once somebody listens
        self._looked_s = float("-inf")
        self._targets = (0, 0)

    def results(self) -> Iterator[BlockResult]:
        try:
            while self._start():
                pending = [*self._listening, *self._decoding, *self._loading]
                found = [self._settle(done) for done in _finished(pending)]
                self._warn()
                self._start()  # before the caller takes its time with the results
                yield from (result for result in found if result is not None)
        finally:
            self._stop()
        self._work.check()

    def _start(self) -> bool:
        """Start whatever can be; False where nothing is left to do."""
        actors, decoders = self._wanted()
        # As many blocks wait for a listener as keep all of them fed: what their PCM takes is all that a run holds.
        while len(self._decoding) < decoders and len(self._decoding) + len(self._decoded) < max(decoders, actors):
            job = self._work.take()
            if job is None:
                break
            fault, loaded = self._load.remote(job.item, self._settings, self._run.threads)
            self._decoding[fault] = (job, loaded)
        blocks = len(self._decoding) + len(self._decoded) + len(self._listening)
        wanted = min(actors, blocks) - len(self._loading) - len(self._idle) - len(self._listening)
        dead = dead_nodes() if wanted > 0 else 0
        for _ in range(wanted):
            actor = self._actor.remote()
            self._loading[actor.load.remote(*self._arguments)] = (actor, dead)
        while self._idle and self._decoded:
            job, loaded = self._decoded.popleft()
            actor = self._idle.pop()
            self._listening[actor.listen.remote(loaded)] = (job, actor)
        return blocks > 0

    def _settle(self, done: Any) -> BlockResult | None:
        """Take note of a call that came back, with its result or with the death of its worker."""
        import ray

        if done in self._loading:
            self._hired(done, *self._loading.pop(done))
        elif done in self._decoding:
            job, loaded = self._decoding.pop(done)
            try:
                _result(ray.get(done))
                self._decoded.append((job, loaded))
            except _lost() as error:
                self._work.again(job, error)
        else:
            job, actor = self._listening.pop(done)
            try:
                result: BlockResult = _result(ray.get(done))
            except ray.exceptions.RayActorError as error:
                ray.kill(actor)  # where only the connection broke
                self._work.again(job, error, not alive(self._nodes.pop(actor)))
            except _lost() as error:  # the node that had decoded it is gone, the listener is well
                self._idle.append(actor)
                self._work.again(job, error)
            else:
                self._idle.append(actor)
                return result
        return None

    def _hired(self, done: Any, actor: Any, dead: int) -> None:
        import ray

        try:
            self._nodes[actor] = _result(ray.get(done))
        except ray.exceptions.RayActorError as error:
            ray.kill(actor)
            if dead_nodes() > dead:
                return  # most likely its own, with all the others that it was to hold
            self._stillborn += 1
            if self._stillborn >= DEATHS:
                raise LLaSOError(
                    f"{DEATHS} workers in a row died while they loaded the models. Memory may have run out: try "
                    "--num-workers with a smaller number, or a smaller --asr"
                ) from error
            return
        self._stillborn = 0
        self._idle.append(actor)

    def _warn(self) -> None:
        """A cluster without room lets us wait; it may be about to grow."""
        if self._nodes:
            self._started_s = None
        elif self._started_s is not None and time.monotonic() - self._started_s > _WARN_S:
            self._started_s = None
            log.warning("no worker listens yet after %.0f s; has the cluster room for one? (`ray status`)", _WARN_S)

    def _wanted(self) -> tuple[int, int]:
        """How many actors and decoding tasks the cluster has room for now."""
        if time.monotonic() - self._looked_s > _LOOK_S:
            import ray

            self._looked_s = time.monotonic()
            resources = ray.cluster_resources()
            cpus = int(resources.get("CPU", 1))
            room = resources.get("GPU", 0) / self._gpus if self._gpus else cpus / self._run.threads
            actors = self._run.num_workers or max(1, int(room))
            # Beside GPUs the cores are free to decode; on CPUs as many tasks as actors keep them fed.
            self._targets = (actors, max(actors, cpus - actors) if self._gpus else actors)
        return self._targets

    def _stop(self) -> None:
        import ray

        for task in self._decoding:
            ray.cancel(task, force=True)
        loading = (actor for actor, _ in self._loading.values())
        for actor in [*loading, *self._idle, *(actor for _, actor in self._listening.values())]:
            ray.kill(actor)


class _Listener:
    """A listening actor. Whisper is loaded once, in a call of its own, so that errors come out as they are."""

    def load(self, settings: Observe, run: Run, out: str) -> str | _Fault:
        """Load the models; gives the id of the node that it runs on."""
        import ray

        made = _guarded(Observer, settings, run, out)
        if isinstance(made, _Fault):
            return made
        self._observer = made
        return str(ray.get_runtime_context().get_node_id())

    def listen(self, loaded: LoadedBlock) -> BlockResult | _Fault:
        # Arrays in Ray's store cannot be written to; stages get what the local engine would give them.
        pcm = [None if samples is None else samples.copy() for samples in loaded.pcm]
        return _guarded(self._observer, dataclasses.replace(loaded, pcm=pcm))


def _load(block: PlannedBlock, settings: Observe, threads: int) -> tuple[_Fault | None, LoadedBlock | None]:
    """A decoding task: pointers in, 16-bit PCM out. The fault is a value of its own: the driver never sees PCM."""
    import torch

    torch.set_num_threads(threads)  # of voice activity detection: as many as the local engine has
    loaded = _guarded(load_block, block, settings)
    return (loaded, None) if isinstance(loaded, _Fault) else (None, loaded)


@dataclass(frozen=True)
class _Fault:
    """One of our own errors on its way out of a worker, without Ray's additions."""

    text: str
    trace: str


class _RemoteTrace(Exception):
    """The traceback in the worker, for ``--debug``."""


def _guarded(function: Callable[..., R], *arguments: Any) -> R | _Fault:
    try:
        return function(*arguments)
    except LLaSOError as error:
        return _Fault(str(error), traceback.format_exc())


def _result(value: R | _Fault) -> R:
    if isinstance(value, _Fault):
        raise LLaSOError(value.text) from _RemoteTrace(f"\n{value.trace}")
    return value


def _finished(pending: Iterable[Any]) -> list[Any]:
    """Waits until at least one call is back, or a while; gives all that are."""
    import ray

    interrupts.check()
    calls = list(pending)
    ray.wait(calls, timeout=_LOOK_S, fetch_local=False)
    done: list[Any] = ray.wait(calls, num_returns=len(calls), timeout=0, fetch_local=False)[0]
    return done


def _lost() -> tuple[type[Exception], ...]:
    """What a call raises whose worker, node or argument is gone."""
    from ray import exceptions

    return (
        exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError,
        exceptions.ObjectLostError, exceptions.RayActorError,
    )  # fmt: skip


def _is_death(error: Exception) -> bool:
    """True where the worker died and not its node."""
    from ray import exceptions

    return not isinstance(error, exceptions.NodeDiedError | exceptions.ObjectLostError)


def _history(job: _Job[Any]) -> str:
    lost = f", and it was lost {job.losses} times with a node" if job.losses else ""
    return f"{job.deaths} workers died{lost}"


def _inputs_of(block: PlannedBlock) -> str:
    places = []
    for item in block.inputs[:3]:
        source = item.utterance.source
        places.append(source.uri if source.member is None else f"{source.uri}!{source.member}")
    more = f", … ({len(block.inputs)} inputs)" if len(block.inputs) > 3 else ""
    return f"{block.name} ({', '.join(places)}{more})"
