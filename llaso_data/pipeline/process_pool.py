"""Worker processes of the engine ``local``: a function applied to tasks, a few of them at once."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from llaso_data.errors import LLaSOError

T = TypeVar("T")
R = TypeVar("R")

_WAITING = 2  # tasks that wait for a worker, so that none is idle
_LOOK_EVERY_S = 0.5


def map_unordered(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[R]:
    """Apply a function of a module to every task in processes of this machine.

    Args:
        function: It and its results can be pickled.
        tasks: Taken as workers become free, so that few are in memory.
        workers: Number of processes. They share one process that imports the function's module.

    Yields:
        The results as they come.

    Raises:
        LLaSOError: A process was killed, e.g. for want of memory.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    source = iter(tasks)
    with ProcessPoolExecutor(workers, context, _end_with_parent, (os.getpid(),)) as pool:
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


def _end_with_parent(parent: int) -> None:
    """In a worker: end it when the process that asks it is gone, however that ended."""

    def watch() -> None:
        while _lives(parent):
            time.sleep(_LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
