"""What a run shows: live progress while blocks are observed, and the table at its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

LOG_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What is done so far. Inputs are observed in this run or skipped, because an earlier run observed them."""

    blocks: int = 0
    observed: int = 0
    failed: int = 0
    skipped: int = 0
    audio_s: float = 0.0


def eta_s(counts: Counts, total_inputs: int | None, elapsed_s: float) -> float | None:
    """Seconds that the remaining inputs take at this run's rate; None where that is not known yet."""
    if total_inputs is None or counts.observed == 0:
        return None
    remaining = max(0, total_inputs - counts.observed - counts.skipped)
    return remaining * elapsed_s / counts.observed


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
    if counts.skipped:
        parts.append(f"{counts.skipped} already there")
    left = eta_s(counts, total_inputs, elapsed_s)
    parts.append("ETA unknown" if left is None else f"ETA {clock(left)}")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """``h:mm:ss``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


class Progress:
    """Shows :func:`describe` as a live bar on a terminal, else as a log line every 30 s. A context manager.

    What is accepted is not known before the judge has seen everything, so only observed and failed are counted.
    """

    def __init__(
        self,
        total_blocks: int | None = None,
        total_inputs: int | None = None,
        console: Console | None = None,
        now: Callable[[], float] = time.monotonic,
        log_every_s: float = LOG_EVERY_S,
    ) -> None:
        self._console = console or Console(stderr=True)
        self._total_blocks, self._total_inputs = total_blocks, total_inputs
        self._counts = Counts()
        self._now, self._log_every_s = now, log_every_s
        self._started = now()
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        self._ended = threading.Event()
        self._logger: threading.Thread | None = None

    def planned(self, blocks: int, inputs: int) -> None:
        """The totals, where they become known only after the start."""
        with self._lock:
            self._total_blocks, self._total_inputs = blocks, inputs
        self._show()

    def block_done(self, *, inputs: int, failed: int, audio_s: float, skipped: bool) -> None:
        """Counts a block; `skipped` is one that an earlier run observed."""
        with self._lock:
            old = self._counts
            self._counts = Counts(
                blocks=old.blocks + 1,
                observed=old.observed + (0 if skipped else inputs),
                failed=old.failed + failed,
                skipped=old.skipped + (inputs if skipped else 0),
                audio_s=old.audio_s + audio_s,
            )
        self._show()

    def line(self) -> str:
        """The state in one line."""
        with self._lock:
            return describe(self._counts, self._total_blocks, self._total_inputs, self._now() - self._started)

    def __enter__(self) -> Progress:
        self._started = self._now()
        if self._console.is_terminal:
            columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._bar.add_task(self.line(), total=self._total_blocks)
            self._bar.start()
        else:
            self._logger = threading.Thread(target=self._log, name="progress", daemon=True)
            self._logger.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._bar is not None:
            self._bar.stop()
        if self._logger is not None:
            self._logger.join()
        self._print(self.line())

    def _show(self) -> None:
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=self._counts.blocks, total=self._total_blocks, description=self.line())

    def _log(self) -> None:
        while not self._ended.wait(self._log_every_s):
            self._print(self.line())

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def summary_table(summary: Mapping[str, Any], plain: bool = False) -> Table:
    """What a run came to: every input by verdict and reason, hours, languages, model calls.

    `summary` has ``counts``, ``rules``, ``hours`` and ``languages`` as the judge gives them, and may have ``blocks``,
    ``blocks_observed`` and ``model_calls``. `plain` draws no lines, for where the output is no terminal.
    """
    counts, hours = summary["counts"], summary["hours"]
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("utterances", justify="right")
    table.add_column("hours", justify="right")

    def row(name: str, number: int, span_h: float | None = None) -> None:
        table.add_row(name, f"{number:,}", "" if span_h is None else f"{span_h:.3f}")

    row("inputs", counts["inputs"], hours["observed"])
    for verdict in ("accepted", "rejected", "duplicates", "failed"):
        row(verdict, counts[verdict], hours.get(verdict))
        for rule, number in _reasons(summary["rules"], verdict):
            row(f"  {rule}", number)
    table.add_section()
    for language, spoken in sorted(summary["languages"].items(), key=lambda item: (-item[1]["hours"], item[0])):
        row(f"accepted {language}", spoken["accepted"], spoken["hours"])
    row("drawn for the audit", counts["audited"])
    table.add_section()
    row("recordings", counts["recordings"])
    if "blocks" in summary:
        table.add_row("blocks observed now", f"{summary['blocks_observed']:,} of {summary['blocks']:,}", "")
    for name, number in summary.get("model_calls", {}).items():
        row(name.replace("_", " "), number)
    return table


def _reasons(rules: Mapping[str, int], verdict: str) -> list[tuple[str, int]]:
    """The rules behind a verdict, the most frequent first."""
    if verdict not in ("rejected", "failed"):
        return []
    chosen = {
        rule: number
        for rule, number in rules.items()
        if rule.startswith("failed.") == (verdict == "failed") and not rule.startswith("duplicates.")
    }
    return sorted(chosen.items(), key=lambda item: (-item[1], item[0]))
