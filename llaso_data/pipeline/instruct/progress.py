"""What a run of build-instruct tells while it works."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.console import Console

from llaso_data.io.live import LiveLine
from llaso_data.pipeline.convert.part import PartResult
from llaso_data.pipeline.convert.parts import Tally
from llaso_data.pipeline.convert.problems import Problems

_LOG_EVERY_S = 30.0


class Progress:
    """Told what is done; this one shows nothing."""

    def rows(self, read: int, problems: int) -> None:
        """So many rows were read, of which so many are problems."""

    def heard(self, state: Any) -> None:
        """Recordings were heard, to find leaks."""

    def planned(self, samples: int) -> None:
        """So many samples are to be made."""

    def spoken(self, done: int, total: int) -> None:
        """So many of the texts were spoken."""

    def block(self, samples: int, refused: int) -> None:
        """A block of samples was made."""

    def part(self, result: PartResult, tally: Tally, problems: Problems) -> None:
        """A part of the output was written."""


class ShownProgress(Progress):
    """Shows it in one line. A context manager that ends it."""

    def __init__(self, console: Console | None = None, log_every_s: float = _LOG_EVERY_S) -> None:
        self._phase, self._done, self._total = "reading", 0, 0
        self._words: dict[str, str] = {}
        self._samples = self._refused = self._written = 0
        self._started_s = time.monotonic()
        self._live = LiveLine(self.line, lambda: (self._done, self._total or None), console, log_every_s)

    def __enter__(self) -> ShownProgress:
        self._started_s = time.monotonic()
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop(show=kind is None)

    def line(self) -> str:
        """The state in one line."""
        elapsed_s = time.monotonic() - self._started_s
        return ", ".join([self._phase, *self._words.values(), f"{elapsed_s:.0f} s"])

    def _now(self, phase: str, done: int, total: int, words: str) -> None:
        self._phase, self._done, self._total = phase, done, total
        self._words[phase] = words
        self._live.update()

    def rows(self, read: int, problems: int) -> None:
        """So many rows were read."""
        self._now("reading", read, 0, f"{read} rows read" + (f" ({problems} problems)" if problems else ""))

    def heard(self, state: Any) -> None:
        """Recordings were heard, to find leaks."""
        self._now("listening for leaks", state.blocks, state.total or 0, f"{state.recordings} recordings heard")

    def planned(self, samples: int) -> None:
        """So many samples are to be made."""
        self._now("planning", samples, samples, f"{samples} samples planned")

    def spoken(self, done: int, total: int) -> None:
        """So many of the texts were spoken."""
        self._now("speaking", done, total, f"{done} of {total} texts spoken")

    def block(self, samples: int, refused: int) -> None:
        """A block of samples was made."""
        self._samples += samples
        self._refused += refused
        refusals = f" ({self._refused} refused)" if self._refused else ""
        self._now("making samples", self._samples, 0, f"{self._samples} samples made{refusals}")

    def part(self, result: PartResult, tally: Tally, problems: Problems) -> None:
        """A part of the output was written."""
        self._written += result.samples
        self._now("writing", self._written, self._samples, f"{self._written} samples written")
