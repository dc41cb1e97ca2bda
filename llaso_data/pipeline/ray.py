"""The engine ``ray``: Ray Data with one row per block, decoding tasks that feed listening actors.

Joins a cluster with an address, else starts one on this machine. Rows are never re-batched, so what an actor sees is
what the ``local`` engine sees, and the parts are the same bytes.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.pipeline.blocks import PlannedBlock
from llaso_data.pipeline.observe import BlockResult, Observer, load_block
from llaso_data.pipeline.recipe import Observe, Run

T = TypeVar("T")
R = TypeVar("R")

_WAVE = 4096
"""Rows given to Ray Data at once: bounds the driver's memory, and an actor pool lives for that many blocks."""

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
    with _cluster(run), _plain_errors():
        import ray

        for wave in chain([first], waves):
            rows = [{"row": pickle.dumps(block)} for block in wave]
            gpus = _gpus_per_actor(run)
            actors = min(_actors(run, gpus), len(rows))
            dataset = (
                ray.data.from_items(rows, override_num_blocks=len(rows))
                .map(_load, fn_kwargs={"settings": settings}, concurrency=max(1, actors), num_cpus=_DECODE_CPUS)
                .map(
                    _Listen,
                    fn_constructor_args=(settings, run, out),
                    concurrency=actors,
                    num_cpus=_ACTOR_SHARE * run.threads,
                    num_gpus=gpus or None,
                )
            )
            for row in dataset.iter_rows():
                yield pickle.loads(row["row"])


def each(function: Callable[[T], R], tasks: Iterable[T], run: Run) -> Iterator[R]:
    """``function`` of every task on one CPU each, unordered. Tasks and results must be small."""
    waves = _waves(tasks)
    first = next(waves, None)
    if first is None:
        return
    with _cluster(run), _plain_errors():
        import ray

        remote = ray.remote(num_cpus=1, max_retries=3)(function)
        for wave in chain([first], waves):
            pending = [remote.remote(task) for task in wave]
            while pending:
                done, pending = ray.wait(pending, num_returns=1)
                yield from ray.get(done)


def _load(row: dict[str, Any], settings: Observe) -> dict[str, Any]:
    """A decoding task: pointers in, 16-bit PCM out."""
    return {"row": pickle.dumps(load_block(pickle.loads(row["row"]), settings), protocol=5)}


class _Listen:
    """A listening actor: Whisper is loaded once, when it starts."""

    def __init__(self, settings: Observe, run: Run, out: str) -> None:
        self._observer = Observer(settings, run, out)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"row": pickle.dumps(self._observer(pickle.loads(row["row"])))}


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
        try:
            ray.init(
                address=run.address,
                include_dashboard=False if run.address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(_import_paths())}},
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = run.address or "a local cluster"
            raise LLaSOError(f"Ray: could not reach {where}: {error}; --engine local needs no Ray") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def _import_paths() -> list[str]:
    """Where this process imports from, so that a user's own stage is found on the workers of this machine."""
    import sys

    return [path or os.getcwd() for path in sys.path]


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Our own errors, raised in a worker, come out as they were."""
    try:
        yield
    except LLaSOError:
        raise
    except Exception as error:
        seen: BaseException | None = error
        while seen is not None:
            cause = getattr(seen, "cause", None)
            for candidate in (seen, cause):
                if isinstance(candidate, LLaSOError):
                    raise LLaSOError(str(candidate.args[0] if candidate.args else candidate)) from error
            seen = seen.__cause__ or (cause if isinstance(cause, BaseException) else None)
        raise


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
