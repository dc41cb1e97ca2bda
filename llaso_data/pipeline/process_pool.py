"""Worker processes of the engine ``local``: a function applied to tasks, a few of them at once.

A task may take minutes. After Ctrl-C or SIGTERM nobody waits for it: the driver rings a bell, a byte in a pipe that all
workers watch and none reads, and every worker interrupts its task and ends. A task's result is written whole or not at
all, so that the next run does again what was broken off.
"""

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
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.connection import Connection
from typing import TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.io import atomic, interrupts

T = TypeVar("T")
R = TypeVar("R")

_WAITING = 2  # tasks that wait for a worker, so that none is idle
_LOOK_EVERY_S = 0.5
_CLEAN_UP_S = 2.0  # for an interrupted task, before its worker ends
_SEND_S = 0.1  # for a result that is on its way
_ENDING = (signal.SIGINT, signal.SIGTERM)
_NOT_FORKED = frozenset(("torch", "ctranslate2", "openvino", "ray", "grpc", "tensorflow", "jax"))
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
        KeyboardInterrupt: Ctrl-C or SIGTERM. The workers have ended, in the midst of their tasks.
    """
    source = iter(tasks)
    context = _context(function.__module__)
    with _bell(context) as (bell, ring), interrupts.also(ring):
        # A fork would hear them with our handlers before it has its own. A server's forks have none of ours.
        is_fork = context.get_start_method() == "fork"
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ()) if is_fork else None
        told = (os.getpid(), dict(os.environ), bell, blocked)
        with ProcessPoolExecutor(workers, context, _prepare, told) as pool:
            _start(pool, _ENDING if is_fork else ())
            pending: set[Future[R]] = {
                pool.submit(_work, function, task) for task in islice(source, workers + _WAITING)
            }
            try:
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
                        pending.update(pool.submit(_work, function, task) for task in islice(source, 1))
            except KeyboardInterrupt:
                ring()  # where nobody listens to signals it did not ring yet
                raise
            except BrokenProcessPool as error:
                interrupts.check()
                said = "a worker process was killed; run the command again, with fewer --num-workers"
                raise LLaSOError(said) from error
            finally:
                for future in pending:
                    future.cancel()


@contextmanager
def _bell(context: multiprocessing.context.BaseContext) -> Iterator[tuple[Connection, Callable[[], None]]]:
    """What workers watch, and what tells all of them to end; it may be called anywhere and again."""
    bell, rope = context.Pipe(duplex=False)
    rung = False

    def ring() -> None:
        nonlocal rung
        if not rung:
            rung = True
            os.write(rope.fileno(), b"!")

    with bell, rope:
        yield bell, ring


def _context(module: str) -> multiprocessing.context.BaseContext:
    """How workers are started. A fork has all that is imported here, but none of our threads, and what they held."""
    # Before 3.11 the pool forks later workers when it has threads itself.
    can_fork = sys.platform == "linux" and sys.version_info >= (3, 11)
    if can_fork and threading.active_count() == 1 and not _NOT_FORKED & sys.modules.keys():
        return multiprocessing.get_context("fork")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def _start(pool: ProcessPoolExecutor, later: Iterable[int]) -> None:
    """Start the workers, before a task's making starts any thread; until they are prepared, some signals wait."""
    was_frozen = gc.get_freeze_count() > 0
    gc.freeze()  # so that no collection in a worker touches, and thereby copies, all pages that it shares with us
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, later)
    try:
        pool.submit(_do_nothing)
    finally:
        if not was_frozen:
            gc.unfreeze()
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)


def _do_nothing() -> None: ...


_busy = False  # in a worker: whether it is at a task
_stopping = False  # in a worker: whether it was told to end


def _work(function: Callable[[T], R], task: T) -> R:
    """In a worker: the task's result; ends the worker where the task was interrupted."""
    global _busy
    _busy = True
    try:
        return function(task)
    except KeyboardInterrupt:
        if _stopping:
            os._exit(128 + signal.SIGTERM)  # else the pool would take the interrupt for the task's result
        raise
    finally:
        _busy = False


def _prepare(parent: int, environment: dict[str, str], bell: Connection, blocked: Iterable[int] | None) -> None:
    """In a worker: let signals, the bell, and the end of the process that asks it, end it.

    Args:
        parent: That process, by its number.
        environment: Its variables now. A worker may come from a process that was started when they were others.
        bell: Has something to read once all are to end.
        blocked: The signals that it is not to hear from now on. None: those that it does not hear now.
    """
    if os.environ != environment:
        os.environ.clear()
        os.environ.update(environment)
    for number in _ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    if blocked is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    threading.Thread(target=_watch, args=(parent, bell), daemon=True).start()


def _stop(number: int, frame: object) -> None:
    """In a worker: interrupt the task. One that swallows it, and a worker without a task, are ended by the watch.

    The pool sends SIGTERM again once it misses a worker. A task that cleans up is not interrupted by that.
    """
    global _stopping
    is_first, _stopping = not _stopping, True
    if _busy and is_first:
        raise KeyboardInterrupt


def _watch(parent: int, bell: Connection) -> None:
    """In a thread of a worker: end it when it is told to, or at once when its parent is gone, however that ended."""
    while not _stopping and not bell.poll(_LOOK_EVERY_S):
        if not atomic.lives(parent):
            os._exit(1)
    if _busy and not _stopping and (main := threading.main_thread().ident) is not None:
        with suppress(OSError):
            signal.pthread_kill(main, signal.SIGTERM)
    time.sleep(_CLEAN_UP_S if _busy else _SEND_S)
    os._exit(128 + signal.SIGTERM)
