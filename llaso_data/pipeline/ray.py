"""The engine ``ray``: Ray Data with one row per block, decoding tasks that feed listening actors.

Joins a cluster with an address, else starts one on this machine. Rows are never re-batched, so what an actor sees is
what the ``local`` engine sees, and the parts are the same bytes.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.pipeline.blocks import PlannedBlock
from llaso_data.pipeline.observe import BlockResult, Observer, load_block
from llaso_data.pipeline.recipe import Observe, Run

T = TypeVar("T")
R = TypeVar("R")

_WAVE = 1024
"""Rows given to Ray Data at once: bounds the driver's memory, and an actor pool lives for that many blocks."""

_TASKS_AHEAD = 1024

# Logical CPUs. An actor holds a little less than its threads, so that decoding tasks always find room beside a pool
# that fills the machine; with whole CPUs, two actors on two cores would starve the tasks that feed them.
_ACTOR_SHARE = 0.8
_DECODE_CPUS = 0.2


def observe(blocks: Iterable[PlannedBlock], settings: Observe, run: Run, out: str) -> Iterator[BlockResult]:
    """Observe and commit every block; results come in the order in which blocks finish."""
    waves = _waves(blocks)
    first = next(waves, None)
    if first is None:
        return
    with _cluster(run):
        import ray

        for wave in chain([first], waves):
            rows = [{"row": pickle.dumps(block)} for block in wave]
            gpus = _gpus_per_actor(run)
            actors = min(_actors(run, gpus), len(rows))
            # Beside GPUs the cores are free to decode; on CPUs as many tasks as actors keep them fed.
            decoders = max(actors, int(ray.cluster_resources().get("CPU", 1)) - actors) if gpus else actors
            if not gpus and run.device == "auto":
                run = run.model_copy(update={"device": "cpu"})  # an actor without a GPU of its own sees them all
            dataset = (
                ray.data.from_items(rows, override_num_blocks=len(rows))
                .map(
                    _load,
                    fn_kwargs={"settings": settings, "threads": run.threads},
                    concurrency=decoders,
                    num_cpus=_DECODE_CPUS,
                )
                .map(
                    _Listen,
                    fn_constructor_args=(settings, run, out),
                    concurrency=actors,
                    num_cpus=_ACTOR_SHARE * run.threads,
                    num_gpus=gpus or None,
                )
            )
            for row in dataset.iter_rows():
                yield _result(pickle.loads(row["row"]))


def each(function: Callable[[T], R], tasks: Iterable[T], run: Run) -> Iterator[R]:
    """``function`` of every task on one CPU each, unordered. Tasks and results must be small."""
    iterator = iter(tasks)
    first = next(iterator, None)
    if first is None:
        return
    with _cluster(run):
        import ray

        remote = ray.remote(num_cpus=1, max_retries=3)(_guarded)
        waiting = chain([first], iterator)
        pending = [remote.remote(function, task) for task in islice(waiting, _TASKS_AHEAD)]
        try:
            while pending:
                done, pending = ray.wait(pending, num_returns=1)
                yield from map(_result, ray.get(done))
                pending += [remote.remote(function, task) for task in islice(waiting, len(done))]
        finally:
            for task in pending:  # an error ends the run: the cluster may be somebody else's
                ray.cancel(task)


def _load(row: dict[str, Any], settings: Observe, threads: int) -> dict[str, Any]:
    """A decoding task: pointers in, 16-bit PCM out."""
    import torch

    torch.set_num_threads(threads)  # of voice activity detection: as many as the local engine has
    return {"row": pickle.dumps(_guarded(load_block, pickle.loads(row["row"]), settings), protocol=5)}


class _Listen:
    """A listening actor: Whisper is loaded once, when it starts."""

    def __init__(self, settings: Observe, run: Run, out: str) -> None:
        self._observer = _guarded(Observer, settings, run, out)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if isinstance(self._observer, _Fault):
            return {"row": pickle.dumps(self._observer)}
        loaded = pickle.loads(row["row"])
        return row if isinstance(loaded, _Fault) else {"row": pickle.dumps(_guarded(self._observer, loaded))}


@dataclass(frozen=True)
class _Fault:
    """One of our own errors on its way out of a worker: of an exception, Ray Data keeps a long text only."""

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


def _waves(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while wave := list(islice(iterator, _WAVE)):
        yield wave


@contextmanager
def _cluster(run: Run) -> Iterator[None]:
    """A connection to Ray: one that is there already is used and left; one that we make is closed."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's own workers write to our standard error
    import ray
    import ray.data

    started = not ray.is_initialized()
    if started:
        address = run.address or os.environ.get("RAY_ADDRESS") or "local"
        try:
            _check_reachable(address)
            ray.init(
                address=address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(_import_paths())}},
            )
        except (OSError, ValueError, RuntimeError) as error:
            where = "start here" if address == "local" else f"reach {address}"
            raise LLaSOError(f"Ray: could not {where}: {error}; --engine local needs no Ray") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors come as exceptions
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raises OSError where nothing listens at ``host:port`` or ``ray://host:port``; Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _import_paths() -> list[str]:
    """Where this process imports from, so that a user's own stage is found on the workers of this machine."""
    import sys

    return [path or os.getcwd() for path in sys.path]


def _gpus_per_actor(run: Run) -> float:
    import ray

    if run.num_gpus is not None:
        return run.num_gpus
    if run.device == "cpu":
        return 0.0
    return 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0


def _actors(run: Run, gpus: float) -> int:
    import ray

    if run.num_workers is not None:
        return run.num_workers
    resources = ray.cluster_resources()
    if gpus:
        return max(1, int(resources.get("GPU", 0) / gpus))
    return max(1, int(resources.get("CPU", 1) / run.threads))
