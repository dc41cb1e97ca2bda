"""Progress of build-align and shard: a bar on a terminal, else a plain line every 30 s."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console

from llaso_data.io.live import LiveLine
from llaso_data.pipeline.summary_tables import print_report, print_shards, print_stats, print_summary, summary_table

if TYPE_CHECKING:
    from llaso_data.pipeline.shard import ShardResult

__all__ = [
    "Counts",
    "Progress",
    "ShardProgress",
    "clock",
    "describe",
    "eta_s",
    "print_report",
    "print_shards",
    "print_stats",
    "print_summary",
    "summary_table",
]

LOG_EVERY_S = 30.0
_REASONS = 4  # how many rules the live line names


@dataclass(frozen=True, slots=True)
class Counts:
    """What is done so far."""

    blocks: int = 0
    observed: int = 0  # inputs, in this run
    failed: int = 0
    skipped: int = 0  # inputs that an earlier run observed
    audio_s: float = 0.0
    verdicts: Mapping[str, int] = field(default_factory=dict)  # accepted, and rejected by rule


def eta_s(counts: Counts, total_inputs: int | None, elapsed_s: float) -> float | None:
    """Seconds that the remaining inputs take at this run's rate; None where that is not known yet."""
    if total_inputs is None:
        return None
    remaining = max(0, total_inputs - counts.observed - counts.skipped)
    if remaining == 0:
        return 0.0
    return remaining * elapsed_s / counts.observed if counts.observed else None


def describe(counts: Counts, total_blocks: int | None, total_inputs: int | None, elapsed_s: float) -> str:
    """One line: blocks, audio hours, times real time, inputs observed and failed, time left."""
    blocks = f"{counts.blocks} blocks" if total_blocks is None else f"{counts.blocks}/{total_blocks} blocks"
    parts = [
        blocks,
        f"{counts.audio_s / 3600:.2f} h of audio",
        f"{counts.audio_s / elapsed_s if elapsed_s > 0 else 0.0:.1f}x real time",
        f"{counts.observed} observed",
        f"{counts.failed} failed",
    ]
    if counts.verdicts:
        parts[-1:] = [_verdicts(counts.verdicts)]
    if counts.skipped:
        parts.append(f"{counts.skipped} already there")
    left = eta_s(counts, total_inputs, elapsed_s)
    parts.append("ETA unknown" if left is None else f"ETA {clock(left)}")
    return ", ".join(parts)


def _verdicts(verdicts: Mapping[str, int]) -> str:
    """Accepted, and the rules that rejected most. Duplicates are known only at the end."""
    rules = sorted((name for name in verdicts if name != "accepted"), key=lambda name: (-verdicts[name], name))
    reasons = ", ".join(f"{name} {verdicts[name]}" for name in rules[:_REASONS])
    return f"{verdicts.get('accepted', 0)} accepted" + (f" ({reasons})" if reasons else "")


def clock(seconds: float) -> str:
    """``h:mm:ss``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class Progress:
    """Progress of build-align, shown as :func:`describe` puts it. A context manager.

    Args:
        total_blocks: None where the total is not known yet.
        total_inputs: As ``total_blocks``.
        console: Where it is shown; standard error by default.
        log_every_s: Seconds between two lines where the output is no terminal.
    """

    def __init__(
        self,
        total_blocks: int | None = None,
        total_inputs: int | None = None,
        console: Console | None = None,
        log_every_s: float = LOG_EVERY_S,
    ) -> None:
        self._totals = (total_blocks, total_inputs)
        self._counts = Counts()
        self._started_s = time.monotonic()
        self._lock = threading.Lock()
        self._live = LiveLine(self.line, lambda: (self._counts.blocks, self._totals[0]), console, log_every_s)

    def planned(self, blocks: int, inputs: int) -> None:
        """Sets the totals, which become known after the start."""
        self._totals = (blocks, inputs)
        self._live.update()

    def block_done(
        self,
        *,
        inputs: int,
        failed: int,
        audio_s: float,
        skipped: bool,
        verdicts: Mapping[str, int] | None = None,
    ) -> None:
        """Counts a block.

        Args:
            inputs: Of the block.
            failed: Utterances that failed.
            audio_s: Seconds of audio.
            skipped: An earlier run observed the block.
            verdicts: Accepted, and rejected by rule.
        """
        with self._lock:
            old = self._counts
            self._counts = Counts(
                blocks=old.blocks + 1,
                observed=old.observed + (0 if skipped else inputs),
                failed=old.failed + failed,
                skipped=old.skipped + (inputs if skipped else 0),
                audio_s=old.audio_s + audio_s,
                verdicts=dict(Counter(old.verdicts) + Counter(verdicts or {})),
            )
        self._live.update()

    def line(self) -> str:
        """The state in one line."""
        return describe(self._counts, *self._totals, time.monotonic() - self._started_s)

    def __enter__(self) -> Progress:
        self._started_s = time.monotonic()
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop(show=error is None or self._counts.blocks > 0)


class ShardProgress:
    """Progress of shard: shards and samples done, and shards that an earlier run wrote. A context manager."""

    def __init__(self, console: Console | None = None, log_every_s: float = LOG_EVERY_S) -> None:
        self._done, self._total = 0, 0
        self._samples, self._skipped = 0, 0
        self._live = LiveLine(self.line, lambda: (self._done, self._total or None), console, log_every_s)

    def shard_done(self, done: int, total: int, result: ShardResult) -> None:
        """Counts a shard: ``done`` of ``total`` are written, and ``result`` is the last of them."""
        self._done, self._total = done, total
        self._samples += 0 if result.info is None else result.info.samples
        self._skipped += result.skipped
        self._live.update()

    def line(self) -> str:
        """The state in one line."""
        already = f", {self._skipped} shards already there" if self._skipped else ""
        return f"{self._done}/{self._total or '?'} shards, {self._samples} samples{already}"

    def __enter__(self) -> ShardProgress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop(show=error is None or self._done > 0)
