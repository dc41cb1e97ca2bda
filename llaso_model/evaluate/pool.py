"""Requests that are under way together, whose results come in any order and are taken in one thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from llaso_data.errors import LLaSOError

T = TypeVar("T")
R = TypeVar("R")


def each(
    work: Callable[[T], R],
    items: Sequence[T],
    size: int,
    took: Callable[[int, R], None],
    late: Callable[[int, R], None],
    grace_s: float,
) -> None:
    """Calls ``work`` for every item in ``size`` threads, and ``took`` with its number and result here, as results come.

    Where ``work`` or ``took`` raises, or Ctrl-C comes, nothing more begins; what is under way goes to ``late`` if it
    ends within ``grace_s``, and is given up after that. The threads never keep the process from ending.
    """
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, R | BaseException]] = queue.SimpleQueue()
    for number in range(len(items)):
        todo.put(number)
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                number = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, work(items[number])))
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
        _drain(threads, done, late, grace_s)
        raise


def _drain(
    threads: Sequence[threading.Thread],
    done: queue.SimpleQueue[tuple[int, R | BaseException]],
    late: Callable[[int, R], None],
    grace_s: float,
) -> None:
    end_s = time.monotonic() + grace_s
    while True:
        alive = any(thread.is_alive() for thread in threads) and time.monotonic() < end_s
        try:
            number, result = done.get(timeout=0.05) if alive else done.get_nowait()
        except queue.Empty:
            if not alive:
                return
            continue
        if not isinstance(result, BaseException):
            with suppress(LLaSOError):  # the first one is what is said
                late(number, result)
