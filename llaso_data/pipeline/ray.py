"""The engine ``ray``: decoding tasks feed observer actors; each works on one block at a time.

The driver schedules the blocks itself, from a bounded window that moves on with every block that is done. No block
waits for a slow one, the models stay loaded from the first block to the last, and workers may come and go. A block
whose worker died is given to another worker. A block that kills every worker is set aside and named at the end. An
actor gets the blocks that the ``local`` engine gets, so their files are the same bytes.
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
from typing import Any, TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.io import interrupts
from llaso_data.pipeline.blocks import PlannedBlock
from llaso_data.pipeline.observe import BlockResult, LoadedBlock, Observer, load_block
from llaso_data.pipeline.ray_cluster import alive, cluster, cpus_per_actor, dead_nodes, gpus_per_actor
from llaso_data.pipeline.ray_jobs import MAX_WORKER_DEATHS, Job, JobQueue, loss_errors
from llaso_data.recipe import Observe, Run

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_MAX_PENDING_TASKS = 1024
_WARN_S = 120.0
_POLL_S = 5.0  # how long the driver waits for a call; how often it counts the cluster's resources

# Logical CPUs. An actor holds a little less than its threads, so that decoding tasks always find room beside a pool
# that fills the machine; with whole CPUs, two actors on two cores would starve the tasks that feed them.
_ACTOR_CPU_SHARE = 0.8
_DECODE_CPUS = 0.2


def observe(blocks: Iterable[PlannedBlock], settings: Observe, run: Run, out: str) -> Iterator[BlockResult]:
    """Observes and commits every block.

    Args:
        blocks: Planned blocks. They are taken from the iterator only as workers need them.
        settings: What is observed, and with which models.
        run: Devices, threads and workers.
        out: Folder or URI of build-align's output.

    Returns:
        A result per block, in the order in which blocks finish.

    Raises:
        LLaSOError: At once for an error of ours in any worker; at the end for blocks that were set aside.
    """
    planned = iter(blocks)
    first = next(planned, None)
    if first is None:
        return
    with cluster(run):
        yield from _BlockScheduler(chain([first], planned), settings, run, out).results()


def map_unordered(function: Callable[[T], R], tasks: Iterable[T], run: Run) -> Iterator[R]:
    """Applies ``function`` to every task, on one CPU each.

    Args:
        function: Pure: a task whose worker died is tried again.
        tasks: Small objects; they and the results travel between processes.
        run: The cluster.

    Returns:
        The results, in the order in which tasks finish.

    Raises:
        LLaSOError: As :func:`observe`.
    """
    iterator = iter(tasks)
    first = next(iterator, None)
    if first is None:
        return
    with cluster(run):
        import ray

        remote = ray.remote(num_cpus=1, max_retries=0)(_catch_errors)
        jobs = JobQueue(chain([first], iterator), "task", lambda task: str(getattr(task, "name", task)))
        pending: dict[Any, Job[T]] = {}

        def start() -> bool:
            while len(pending) < _MAX_PENDING_TASKS and (job := jobs.take()) is not None:
                pending[remote.remote(function, job.item)] = job
            return bool(pending)

        try:
            while start():
                results = []
                for call in _wait_any(pending):
                    job = pending.pop(call)
                    try:
                        results.append(_unwrap(ray.get(call)))
                    except loss_errors() as error:
                        jobs.retry(job, error)
                start()  # before the caller takes its time with the results
                yield from results
        finally:
            for call in pending:  # an error ends the run: the cluster may be somebody else's
                ray.cancel(call, force=True)
        jobs.check()


class _BlockScheduler:
    """Schedules the blocks of :func:`observe` in the driver's process: which block is decoded or observed by whom."""

    def __init__(self, blocks: Iterator[PlannedBlock], settings: Observe, run: Run, out: str) -> None:
        import ray

        self._gpus = gpus_per_actor(run)
        if not self._gpus and run.device == "auto":
            run = run.model_copy(update={"device": "cpu"})  # an actor without a GPU of its own sees them all
        self._run = run
        self._jobs = JobQueue(blocks, "block", _describe_block)
        self._load = ray.remote(
            num_cpus=_DECODE_CPUS, num_returns=2, max_retries=0, scheduling_strategy="SPREAD"
        )(_load)  # fmt: skip
        self._settings = settings
        self._actor = ray.remote(
            num_cpus=_ACTOR_CPU_SHARE * cpus_per_actor(run, self._gpus),
            num_gpus=self._gpus or None,
            scheduling_strategy="SPREAD",
        )(_ObserverActor)  # fmt: skip
        self._arguments = (settings, run, out)
        self._decoding: dict[Any, tuple[Job[PlannedBlock], Any]] = {}
        self._decoded: deque[tuple[Job[PlannedBlock], Any]] = deque()
        self._loading: dict[Any, tuple[Any, int]] = {}  # actors that load their models, and the nodes dead before
        self._idle: list[Any] = []
        self._observing: dict[Any, tuple[Job[PlannedBlock], Any]] = {}
        self._nodes: dict[Any, str] = {}
        self._failed_starts = 0
        self._started_s: float | None = time.monotonic()  # None once an actor is ready
        self._counted_s = float("-inf")
        self._targets = (0, 0)

    def results(self) -> Iterator[BlockResult]:
        try:
            while self._start():
                results = self._poll()
                self._warn_if_waiting()
                self._start()  # before the caller takes its time with the results
                yield from results
        finally:
            self._stop()
        self._jobs.check()

    def _poll(self) -> list[BlockResult]:
        """Waits for calls to return and collects them; gives the results of the blocks that were observed."""
        calls = _wait_any([*self._observing, *self._decoding, *self._loading])
        return [result for call in calls if (result := self._collect(call)) is not None]

    def _start(self) -> bool:
        """Starts every call that has room; False where nothing is left to do."""
        actors, decoders = self._target_counts()
        # As many decoded blocks wait as keep all actors busy. Their PCM is all the audio that a run holds.
        while len(self._decoding) < decoders and len(self._decoding) + len(self._decoded) < max(decoders, actors):
            job = self._jobs.take()
            if job is None:
                break
            error, loaded = self._load.remote(job.item, self._settings, self._run.threads)
            self._decoding[error] = (job, loaded)
        blocks = len(self._decoding) + len(self._decoded) + len(self._observing)
        missing = min(actors, blocks) - len(self._loading) - len(self._idle) - len(self._observing)
        dead = dead_nodes() if missing > 0 else 0
        for _ in range(missing):
            actor = self._actor.remote()
            self._loading[actor.load.remote(*self._arguments)] = (actor, dead)
        while self._idle and self._decoded:
            job, loaded = self._decoded.popleft()
            actor = self._idle.pop()
            self._observing[actor.observe.remote(loaded)] = (job, actor)
        return blocks > 0

    def _collect(self, call: Any) -> BlockResult | None:
        """Takes the outcome of a call that returned: its result, or the death of its worker."""
        import ray

        if call in self._loading:
            self._actor_loaded(call, *self._loading.pop(call))
        elif call in self._decoding:
            job, loaded = self._decoding.pop(call)
            try:
                _unwrap(ray.get(call))
                self._decoded.append((job, loaded))
            except loss_errors() as error:
                self._jobs.retry(job, error)
        else:
            job, actor = self._observing.pop(call)
            try:
                result: BlockResult = _unwrap(ray.get(call))
            except ray.exceptions.RayActorError as error:
                ray.kill(actor)  # where only the connection broke
                self._jobs.retry(job, error, not alive(self._nodes.pop(actor)))
            except loss_errors() as error:  # the node that had decoded the block is gone, the actor is well
                self._idle.append(actor)
                self._jobs.retry(job, error)
            else:
                self._idle.append(actor)
                return result
        return None

    def _actor_loaded(self, call: Any, actor: Any, dead: int) -> None:
        """Makes an actor idle whose models are loaded. ``dead``: how many nodes were dead when it was started."""
        import ray

        try:
            self._nodes[actor] = _unwrap(ray.get(call))
        except ray.exceptions.RayActorError as error:
            ray.kill(actor)
            if dead_nodes() > dead:
                return  # most likely the actor's own node, with all the other actors that it was to hold
            self._failed_starts += 1
            if self._failed_starts >= MAX_WORKER_DEATHS:
                raise LLaSOError(
                    f"{MAX_WORKER_DEATHS} workers in a row died while they loaded the models. Memory may have run out: "
                    "try --num-workers with a smaller number, or a smaller --asr"
                ) from error
            return
        self._failed_starts = 0
        self._idle.append(actor)

    def _warn_if_waiting(self) -> None:
        """Warns once where no actor has started for a while. The run goes on: the cluster may be about to grow."""
        if self._nodes:
            self._started_s = None
        elif self._started_s is not None and time.monotonic() - self._started_s > _WARN_S:
            self._started_s = None
            log.warning("no worker is ready after %.0f s; has the cluster room for one? (`ray status`)", _WARN_S)

    def _target_counts(self) -> tuple[int, int]:
        """How many actors and decoding tasks the cluster has room for now."""
        if time.monotonic() - self._counted_s > _POLL_S:
            import ray

            self._counted_s = time.monotonic()
            resources = ray.cluster_resources()
            cpus = int(resources.get("CPU", 1))
            room = resources.get("GPU", 0) / self._gpus if self._gpus else cpus / self._run.threads
            actors = self._run.num_workers or max(1, int(room))
            # Beside GPUs the cores are free to decode. On CPUs as many tasks as actors keep the actors busy.
            self._targets = (actors, max(actors, cpus - actors) if self._gpus else actors)
        return self._targets

    def _stop(self) -> None:
        import ray

        for call in self._decoding:
            ray.cancel(call, force=True)
        loading = (actor for actor, _ in self._loading.values())
        for actor in [*loading, *self._idle, *(actor for _, actor in self._observing.values())]:
            ray.kill(actor)


class _ObserverActor:
    """The actor that observes loaded blocks. The models are loaded once, in a call of their own.

    An error of ours is a result of that call: an error in the constructor would reach the driver as a dead actor.
    """

    def load(self, settings: Observe, run: Run, out: str) -> str | _RemoteError:
        """Loads the models; gives the id of the actor's node."""
        import ray

        observer = _catch_errors(Observer, settings, run, out)
        if isinstance(observer, _RemoteError):
            return observer
        self._observer = observer
        return str(ray.get_runtime_context().get_node_id())

    def observe(self, loaded: LoadedBlock) -> BlockResult | _RemoteError:
        """Runs all stages on a block and commits its file."""
        # Arrays in Ray's store cannot be written to. Stages get arrays that can be, as from the local engine.
        pcm = [None if samples is None else samples.copy() for samples in loaded.pcm]
        return _catch_errors(self._observer, dataclasses.replace(loaded, pcm=pcm))


def _load(block: PlannedBlock, settings: Observe, threads: int) -> tuple[_RemoteError | None, LoadedBlock | None]:
    """A decoding task: pointers in, 16-bit PCM out. The error is a return value of its own: the driver gets no PCM."""
    import torch

    torch.set_num_threads(threads)  # for voice activity detection: as many as the local engine has
    loaded = _catch_errors(load_block, block, settings)
    return (loaded, None) if isinstance(loaded, _RemoteError) else (None, loaded)


@dataclass(frozen=True)
class _RemoteError:
    """One of our own errors on its way out of a worker, without Ray's additions."""

    text: str
    trace: str


class _RemoteTraceback(Exception):
    """The traceback in the worker, for ``--debug``."""


def _catch_errors(function: Callable[..., R], *arguments: Any) -> R | _RemoteError:
    try:
        return function(*arguments)
    except LLaSOError as error:
        return _RemoteError(str(error), traceback.format_exc())


def _unwrap(value: R | _RemoteError) -> R:
    if isinstance(value, _RemoteError):
        raise LLaSOError(value.text) from _RemoteTraceback(f"\n{value.trace}")
    return value


def _wait_any(pending: Iterable[Any]) -> list[Any]:
    """Waits until a call has returned, for :data:`_POLL_S` at most; gives all calls that have."""
    import ray

    interrupts.check()
    calls = list(pending)
    ray.wait(calls, timeout=_POLL_S, fetch_local=False)
    returned: list[Any] = ray.wait(calls, num_returns=len(calls), timeout=0, fetch_local=False)[0]
    return returned


def _describe_block(block: PlannedBlock) -> str:
    places = []
    for item in block.inputs[:3]:
        source = item.utterance.source
        places.append(source.uri if source.member is None else f"{source.uri}!{source.member}")
    more = f", … ({len(block.inputs)} inputs)" if len(block.inputs) > 3 else ""
    return f"{block.name} ({', '.join(places)}{more})"
