"""A connection to Ray for the engine ``ray``: joins a cluster with an address, else starts one on this machine."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.io import interrupts
from llaso_data.io.loopback import environment, unless_set
from llaso_data.pipeline import ray_access
from llaso_data.pipeline.ray_jobs import loss_errors
from llaso_data.recipe import Run

R = TypeVar("R")

_POLL_S = 5.0


@contextmanager
def cluster(run: Run) -> Iterator[None]:
    """Connects to Ray. A connection that is there already is used and left open; one that this call makes is closed."""
    variables = unless_set(
        {
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            # Ray prints a page on our standard output for every worker that dies. We report deaths as errors.
            "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
            # Ray ends a worker that was idle for a second; the next block would wait for another one's imports.
            "RAY_idle_worker_killing_time_threshold_ms": str(60 * 60 * 1000),
        }
    )
    options = {"logging_level": logging.ERROR, "runtime_env": {"env_vars": _worker_environment()}}
    with connection(run.address, "--engine local needs no Ray", variables, log_to_driver=False, **options):
        yield


@contextmanager
def connection(
    address: str | None, instead: str, variables: Mapping[str, str] | None = None, **options: Any
) -> Iterator[bool]:
    """As :func:`cluster`; yields whether this call started a cluster on this machine.

    Args:
        address: Cluster to join; by default RAY_ADDRESS. Where neither is set, a cluster is started.
        instead: What the user can do without Ray, for the error's text.
        variables: Environment variables with which Ray is imported and started.
        options: Further arguments of ``ray.init``.

    Raises:
        LLaSOError: There is no connection.
    """
    with environment(variables or {}):
        import ray

        ours = not ray.is_initialized()
        if ours:
            _connect(ray_access.address_of(address), instead, options)
    try:
        yield ours and ray_access.address_of(address) == ray_access.LOCAL
    finally:
        if ours:
            ray_access.stop()


def alive(node: str) -> bool:
    """Whether a node of the cluster is still there."""
    import ray

    return any(row["NodeID"] == node and row["Alive"] for row in ray.nodes())


def dead_nodes() -> int:
    """How many nodes the cluster has lost so far."""
    import ray

    return sum(not row["Alive"] for row in ray.nodes())


def ask_nodes(question: Callable[[], R]) -> list[R]:
    """Calls a function on every node that has CPUs for an observer.

    Raises:
        LLaSOError: No node answers.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(question)
    calls = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(row["NodeID"], soft=False)).remote()
        for row in ray.nodes()
        if row["Alive"] and row["Resources"].get("CPU")
    ]
    answers: list[R] = []
    for call in calls:
        while not ray.wait([call], timeout=_POLL_S)[0]:
            interrupts.check()
        with suppress(*loss_errors(), ray.exceptions.TaskUnschedulableError):  # the node has left
            answers.append(ray.get(call))
    if not answers:
        raise LLaSOError("Ray: no node with CPUs answers; `ray status` shows them")
    return answers


def gpus_per_actor(run: Run) -> float:
    """The GPUs that an observer actor asks for, as the recipe or the cluster says; may be a fraction."""
    import ray

    if run.num_gpus is not None:
        return run.num_gpus
    if run.device != "auto":
        return float(run.device == "cuda")  # of a cluster that has none yet, too: it may be about to grow
    return 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0


def cpus_per_actor(run: Run, gpus: float) -> int:
    """The CPUs that an observer actor asks for.

    On this machine no more than there are. A cluster that we join may grow, so there the request waits for a node that
    fits.

    Raises:
        LLaSOError: This machine has fewer than ``gpus`` GPUs.
    """
    import ray

    if ray_access.address_of(run.address) != ray_access.LOCAL:
        return run.threads
    here = ray.cluster_resources()
    if gpus > here.get("GPU", 0):
        raise LLaSOError(f"a worker wants {gpus:g} GPUs, this machine has {here.get('GPU', 0):g}")
    return max(1, min(run.threads, int(here.get("CPU", 1))))


def _connect(address: str, instead: str, options: Mapping[str, Any]) -> None:
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        if address == ray_access.LOCAL:
            ray_access.start(**options)
        else:
            ray_access.join(address, **options)
    except LLaSOError:
        ray_access.stop()
        raise
    except Exception as error:  # a node that does not come up in time is a plain Exception of Ray's
        ray_access.stop()
        where = "start here" if address == ray_access.LOCAL else f"reach {address}"
        hint = "" if address == ray_access.LOCAL else "; its Ray and Python must be those of here"
        raise LLaSOError(f"Ray: could not {where}: {error}{hint}; {instead}") from error
    except BaseException:
        ray_access.stop()
        raise
    # Ray replaces the handler of SIGTERM; a handler that was there before is restored.
    if terminated not in (signal.SIG_DFL, None) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminated)


def _worker_environment() -> dict[str, str]:
    return {
        # Where this process imports from, so that a user's own stage is found on the workers of this machine.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "RAY_BACKEND_LOG_LEVEL": "fatal",  # else workers that come and go write to our standard error
    }
