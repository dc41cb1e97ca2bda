"""Ctrl-C and SIGTERM end a run, also where what they broke into went on as if nothing had happened.

A signal becomes a KeyboardInterrupt in whatever the process is at. A destructor, a callback of a library or a user's
stage may swallow it; so the loops of a run ask again with :func:`check`.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from typing import Any

_caught: list[int] = []
_over = False  # the run was stopped and has ended
_ENDING = frozenset(("llaso_data.commands", __name__, "click.core", "signal", "enum"))
"""Modules in which a run that was stopped is at its end: one more exception would find nobody to catch it."""


def listen() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt, unless they are ignored; earlier ones are forgotten."""
    global _over
    _caught.clear()
    _over = False
    if threading.current_thread() is not threading.main_thread():
        return
    atexit.unregister(_ignore)
    atexit.register(_ignore)  # early: what is registered last is called first
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def caught() -> int | None:
    """The signal that came first, if any did."""
    return _caught[0] if _caught else None


def exit_code() -> int:
    """What shells say of a process that this signal ended; 130 is Ctrl-C's."""
    return 128 + (caught() or signal.SIGINT)


def end_at_once() -> None:
    """The run has ended, and only the interpreter's own end is left: one more signal does not break into that."""
    global _over
    _over = True  # first of all: what is called below is other modules' code, into which a signal may come, too
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) == _stop:
                signal.signal(number, _end)


def check() -> None:
    """Raises KeyboardInterrupt where a signal came and the work goes on all the same."""
    if _caught:
        raise KeyboardInterrupt


def _stop(number: int, frame: Any) -> None:
    _caught.append(number)
    if len(_caught) > 1 and (_over or (frame is not None and frame.f_globals.get("__name__") in _ENDING)):
        return
    raise KeyboardInterrupt


def _ignore() -> None:
    """For the last moment: the interpreter then takes our handlers away, and a signal would be its exit code."""
    if _caught:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _end(number: int, frame: Any) -> None:
    os._exit(exit_code())
