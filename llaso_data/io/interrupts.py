"""Ctrl-C and SIGTERM end a run, even where the interrupted code swallows the exception.

A signal becomes a KeyboardInterrupt wherever the process is. A destructor, a callback of a library or a user's stage
may swallow it; therefore the loops of a run ask again with :func:`check`.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_signals: list[int] = []
_told: list[Callable[[], None]] = []
_run_ended = False  # whether the run has ended, and only the interpreter's end is left
_ENDING_MODULES = frozenset(("llaso_data.commands", __name__, "click.core", "signal", "enum"))
"""Modules that end a stopped run: nobody would catch one more exception in them."""


def listen() -> None:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt, unless they are ignored; forget earlier ones."""
    global _run_ended
    _signals.clear()
    _run_ended = False
    if threading.current_thread() is not threading.main_thread():
        return
    atexit.unregister(_ignore)
    atexit.register(_ignore)  # first of all: what is registered last is called first
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def caught() -> int | None:
    """The number of the signal that came first; None where none came."""
    return _signals[0] if _signals else None


def exit_code() -> int:
    """The exit code that shells give a process that the signal ended; 130 after Ctrl-C."""
    return 128 + (caught() or signal.SIGINT)


def end_at_once() -> None:
    """End the process at the next signal without an exception: the run has ended, and the interpreter is ending."""
    global _run_ended
    _run_ended = True  # before the calls below, during which a signal may come, too
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) == _interrupt:
                signal.signal(number, _exit)


def check() -> None:
    """Stop work that goes on after a signal.

    Raises:
        KeyboardInterrupt: where a signal came.
    """
    if _signals:
        raise KeyboardInterrupt


@contextmanager
def also(tell: Callable[[], None]) -> Iterator[None]:
    """While it is open, every signal calls ``tell`` first: what works for us elsewhere ends, wherever we are.

    Args:
        tell: Takes no lock and raises nothing, as it is called in the midst of anything.
    """
    _told.append(tell)
    try:
        yield
    finally:
        _told.remove(tell)


def _interrupt(number: int, frame: Any) -> None:
    _signals.append(number)
    for tell in _told:
        tell()
    if len(_signals) > 1 and (_run_ended or (frame is not None and frame.f_globals.get("__name__") in _ENDING_MODULES)):
        return
    raise KeyboardInterrupt


def _ignore() -> None:
    """Ignore signals at the very end, after the interpreter removed our handlers: they would change the exit code."""
    if _signals:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _exit(number: int, frame: Any) -> None:
    os._exit(exit_code())
