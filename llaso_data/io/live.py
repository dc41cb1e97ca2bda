"""What a long run shows while it works: on a terminal a bar with a line that changes, elsewhere plain lines."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_BAR_COLUMNS = 20


class LiveLine:
    """The state of a run in one line, from :meth:`start` to :meth:`stop`.

    Args:
        line: gives the state in words.
        done: gives what is done and the total of it, which may be None; the bar shows both.
        console: where it is shown; standard error by default.
        log_every_s: seconds between two lines where there is no terminal; None where the run itself says when
            (:meth:`say`).
        remaining: whether the bar tells the time that is left, for lines that do not.
    """

    def __init__(
        self,
        line: Callable[[], str],
        done: Callable[[], tuple[int, int | None]],
        console: Console | None = None,
        log_every_s: float | None = None,
        remaining: bool = False,
    ) -> None:
        self._line, self._done, self._log_every_s = line, done, log_every_s
        self._remaining = remaining
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._ended = threading.Event()
        self._logger: threading.Thread | None = None

    @property
    def has_bar(self) -> bool:
        """Whether it is shown beside a bar now."""
        return self._bar is not None

    def start(self) -> None:
        """Show the bar, or begin to write lines."""
        if self._console.is_terminal:
            times = (TimeElapsedColumn(), *([TimeRemainingColumn()] if self._remaining else []))
            words = TextColumn("{task.description}", markup=False)
            self._bar = Progress(BarColumn(_BAR_COLUMNS), *times, words, console=self._console, transient=True)
            done, total = self._done()
            self._bar.add_task(self._line(), total=total, completed=done)
            self._bar.start()
        elif self._log_every_s is not None:
            self._logger = threading.Thread(target=self._log, args=(self._log_every_s,), name="progress", daemon=True)
            self._logger.start()

    def update(self) -> None:
        """Show the state as it is now, where there is a bar."""
        if self._bar is not None:
            done, total = self._done()
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, description=self._line())

    def write_line(self, text: str) -> None:
        """Write a line that stays; a bar goes on below it."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stop(self, show: bool) -> None:
        """End it; with ``show`` the last state stays to be read."""
        self._ended.set()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._logger is not None:
            self._logger.join()
        if show:
            self.write_line(self._line())

    def _log(self, every_s: float) -> None:
        while not self._ended.wait(every_s):
            self.write_line(self._line())
