"""Requests that are under way together, and whose results are kept as they come, in any order."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def run_all(
    work: Callable[[T], R],
    items: Sequence[T],
    size: int,
    keep: Callable[[int, R], None],
    took: Callable[[int, R], None],
    grace_s: float,
) -> None:
    """Calls ``work`` for every item in threads, and keeps the results as they come.

    Where one of the three functions raises, or Ctrl-C comes, nothing more begins. Work that is under way is kept if it
    ends in time, and given up after that. The threads never keep the process from ending.

    Args:
        work: Gives the result of an item.
        items: The items.
        size: Number of threads.
        keep: Called with the number and result of each item, in those threads, one call at a time. No signal interrupts
            it, so no result is lost.
        took: Called with the same after ``keep``, in the calling thread.
        grace_s: How long work that is under way may take after a failure, in seconds.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, R | BaseException]] = queue.SimpleQueue()
    for number in range(len(items)):
        todo.put(number)
    stop, over, keeping = threading.Event(), threading.Event(), threading.Lock()

    def run() -> None:
        while not stop.is_set():
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            try:
                result = work(items[number])
                with keeping:
                    if not over.is_set():
                        keep(number, result)
                done.put((number, result))
            except BaseException as error:
                done.put((number, error))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(size, len(items)))]
    for thread in threads:
        thread.start()
    try:
        for _ in items:
            number, result = done.get()
            if isinstance(result, BaseException):
                raise result
            took(number, result)
    except BaseException:
        stop.set()
        end_s = time.monotonic() + grace_s
        try:
            for thread in threads:
                thread.join(max(0.0, end_s - time.monotonic()))
        finally:
            with keeping:  # not in the middle of one
                over.set()
        raise
