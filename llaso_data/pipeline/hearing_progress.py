"""Progress of hearing: recordings and hours of sound, in a line."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console

from llaso_data.io.live import LiveLine
from llaso_data.pipeline.hearing import HeardCounts

_LOG_EVERY_S = 30.0


class HearingProgress:
    """Shows how far hearing is, from the first block on: before it there may be nothing to hear. A context manager."""

    def __init__(self, console: Console | None = None, log_every_s: float = _LOG_EVERY_S) -> None:
        self._earlier = self._now = HeardCounts()
        self._started_s = time.monotonic()
        self._live = LiveLine(self.line, lambda: (self._now.blocks, self._now.total), console, log_every_s)
        self._shown = False

    def block_done(self, counts: HeardCounts) -> None:
        """Takes over the counts of a stretch of hearing; where they begin again, another one has begun."""
        if counts.blocks <= self._now.blocks:
            self._earlier = self._earlier.joined(self._now)
        self._now = counts
        if not self._shown:
            self._live.start()
            self._shown = True
        self._live.update()

    def line(self) -> str:
        """The state in one line."""
        counts = self._earlier.joined(self._now)
        elapsed_s = max(time.monotonic() - self._started_s, 1e-9)
        pieces = [
            f"{counts.recordings:,} recordings heard",
            f"{counts.audio_s / 3600:.2f} h of audio",
            f"{counts.audio_s / elapsed_s:.0f}x real time",
            f"{counts.failed:,} failed",
        ]
        return ", ".join(pieces) + (f", {counts.skipped:,} blocks already there" if counts.skipped else "")

    def __enter__(self) -> HearingProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._live.stop(show=error is None)
