"""Worker processes of the engine ``local``: a function applied to tasks, a few of them at once."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.io import atomic

T = TypeVar("T")
R = TypeVar("R")

_WAITING = 2  # tasks that wait for a worker, so that none is idle
_LOOK_EVERY_S = 0.5
_NOT_FORKED = frozenset(("torch", "ctranslate2", "ray", "grpc", "tensorflow", "jax"))
"""Modules with threads or devices of their own that a forked child could not use."""


def map_unordered(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[R]:
    """Apply a function of a module to every task in processes of this machine.

    Args:
        function: It and its results can be pickled.
        tasks: Taken as workers become free, so that few are in memory.
        workers: Number of processes. They are forked before the first task is taken, from this process where it has
            one thread, else from one that imports the function's module.

    Yields:
        The results as they come.

    Raises:
        LLaSOError: A process was killed, e.g. for want of memory.
    """
    source = iter(tasks)
    with ProcessPoolExecutor(workers, _context(function.__module__), _prepare, (os.getpid(), dict(os.environ))) as pool:
        _start(pool)
        pending: set[Future[R]] = {pool.submit(function, task) for task in islice(source, workers + _WAITING)}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                    pending.update(pool.submit(function, task) for task in islice(source, 1))
        except BrokenProcessPool as error:
            raise LLaSOError("a worker process was killed; run the command again, with fewer --num-workers") from error
        finally:
            for future in pending:
                future.cancel()


def _context(module: str) -> multiprocessing.context.BaseContext:
    """How workers are started. A fork has all that is imported here, but none of our threads, and what they held."""
    # Before 3.11 the pool forks later workers when it has threads itself.
    can_fork = sys.platform == "linux" and sys.version_info >= (3, 11)
    if can_fork and threading.active_count() == 1 and not _NOT_FORKED & sys.modules.keys():
        return multiprocessing.get_context("fork")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def _start(pool: ProcessPoolExecutor) -> None:
    """Start the workers, before a task's making starts any thread."""
    was_frozen = gc.get_freeze_count() > 0
    gc.freeze()  # so that no collection in a worker touches, and thereby copies, all pages that it shares with us
    try:
        pool.submit(_do_nothing)
    finally:
        if not was_frozen:
            gc.unfreeze()


def _do_nothing() -> None: ...


def _prepare(parent: int, environment: dict[str, str]) -> None:
    """In a worker: give signals their own meaning, and end it when the process that asks it is gone.

    Args:
        parent: That process, by its number.
        environment: Its variables now. A worker may come from a process that was started when they were others.
    """
    if os.environ != environment:
        os.environ.clear()
        os.environ.update(environment)
    for number, action in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, action)
    _end_with_parent(parent)


def _end_with_parent(parent: int) -> None:
    """In a worker: end it when the process that asks it is gone, however that ended."""

    def watch() -> None:
        while atomic.lives(parent):
            time.sleep(_LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
