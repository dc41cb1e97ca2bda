"""Ctrl-C and SIGTERM end a run, also where what they broke into went on as if nothing had happened.

A signal becomes a KeyboardInterrupt in whatever the process is at. A destructor, a callback of a library or a user's
stage may swallow it; so the loops of a run ask again with :func:`check`.
"""

from __future__ import annotations

import signal
import threading
from typing import Any

_caught: list[int] = []


def listen() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt, unless they are ignored; earlier ones are forgotten."""
    _caught.clear()
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def caught() -> int | None:
    """The signal that came first, if any did."""
    return _caught[0] if _caught else None


def check() -> None:
    """Raises KeyboardInterrupt where a signal came and the work goes on all the same."""
    if _caught:
        raise KeyboardInterrupt


def _stop(number: int, frame: Any) -> None:
    _caught.append(number)
    raise KeyboardInterrupt
