"""A connection to Ray for the engine ``ray``: joins a cluster with an address, else starts one on this machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from llaso_data.errors import LLaSOError
from llaso_data.pipeline.recipe import Run


@contextmanager
def cluster(run: Run) -> Iterator[None]:
    """A connection to Ray: one that is there already is used and left; one that we make is closed."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Of every worker that dies Ray prints a page on our standard output. What matters of it comes as an error.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    import ray

    started = not ray.is_initialized()
    if started:
        address = _address(run)
        if address == "local":
            # Ray ends a worker that was idle for a second; the next block would wait for another one's imports.
            os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", str(60 * 60 * 1000))
        _connect(address)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def alive(node: str) -> bool:
    """Whether a node of the cluster is still there."""
    import ray

    return any(row["NodeID"] == node and row["Alive"] for row in ray.nodes())


def dead_nodes() -> int:
    """How many nodes the cluster has lost so far."""
    import ray

    return sum(not row["Alive"] for row in ray.nodes())


def gpus_per_actor(run: Run) -> float:
    import ray

    if run.num_gpus is not None:
        return run.num_gpus
    if run.device != "auto":
        return float(run.device == "cuda")  # of a cluster that has none yet, too: it may be about to grow
    return 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0


def room_for(run: Run, gpus: float) -> int:
    """The CPUs that a listening actor may ask for, so that it finds a place; raises LLaSOError where none has its GPUs.

    That is of this machine. A cluster that we join may grow: the request waits there for a node that fits.
    """
    import ray

    if _address(run) != "local":
        return run.threads
    here = ray.cluster_resources()
    if gpus > here.get("GPU", 0):
        raise LLaSOError(f"a worker wants {gpus:g} GPUs, this machine has {here.get('GPU', 0):g}")
    return max(1, min(run.threads, int(here.get("CPU", 1))))


def _address(run: Run) -> str:
    return run.address or os.environ.get("RAY_ADDRESS") or "local"


def _connect(address: str) -> None:
    import ray

    terminated = signal.getsignal(signal.SIGTERM)
    hint = ""
    try:
        _check_reachable(address)
        if address != "local":
            hint = "; its Ray and Python must be those of here; if it asks for a token, RAY_AUTH_MODE=token sends it"
        ray.init(
            address=address,
            include_dashboard=False if address == "local" else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": _worker_environment()},
        )
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        where = "start here" if address == "local" else f"reach {address}"
        raise LLaSOError(f"Ray: could not {where}: {error}{hint}; --engine local needs no Ray") from error
    # Ray takes SIGTERM for itself; whoever had an answer to it keeps it.
    if terminated not in (signal.SIG_DFL, None) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, terminated)


def _check_reachable(address: str) -> None:
    """Raises OSError where nothing listens at ``host:port`` or ``ray://host:port``; Ray itself tries for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _worker_environment() -> dict[str, str]:
    return {
        # Where this process imports from, so that a user's own stage is found on the workers of this machine.
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "RAY_BACKEND_LOG_LEVEL": "fatal",  # else workers that come and go write to our standard error
    }
