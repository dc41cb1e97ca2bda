"""What a person sees of a push: its progress, its summary, a preview."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console

from llaso_data.io.live import LiveLine
from llaso_data.pipeline.summary_tables import values_table
from llaso_data.publish.push import Decision, PushSummary

_LOG_EVERY_S = 30.0
_SHOWN = 10


class PushProgress:
    """Progress of push: files and bytes that have gone up. A context manager that ends it."""

    def __init__(self, console: Console | None = None, log_every_s: float = _LOG_EVERY_S) -> None:
        self._files = self._bytes = 0
        self._started_s = time.monotonic()
        self._live = LiveLine(self.line, lambda: (self._files, None), console, log_every_s)

    def sent(self, files: int, size_bytes: int) -> None:
        """Counts files."""
        self._files += files
        self._bytes += size_bytes
        self._live.update()

    def line(self) -> str:
        """The state in one line."""
        elapsed_s = max(time.monotonic() - self._started_s, 1e-9)
        return f"{self._files:,} files sent, {self._bytes / 1e6:,.1f} MB, {self._bytes / 1e6 / elapsed_s:.1f} MB/s"

    def __enter__(self) -> PushProgress:
        self._started_s = time.monotonic()
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop(show=error is None or self._files > 0)


def print_summary(summary: PushSummary, console: Console | None = None) -> None:
    """Prints what was sent, where it is, and what to know of it."""
    console = console or Console()
    values = {
        "files": summary.files,
        "sent": summary.sent,
        "already there": summary.already_there,
        "removed": summary.removed,
        "bytes": summary.sent_bytes,
        "samples": summary.configurations,
    }
    console.print(values_table(values, not console.is_terminal))
    _warn(summary.warnings, console)
    seen_by = "private" if summary.private else "public"
    _say(f"published at {summary.repository} ({seen_by}), commit {summary.commit[:12]}; all sums compared", console)


def print_preview(decision: Decision, repo: str, console: Console | None = None) -> None:
    """Prints what a push would do, and the card."""
    console = console or Console()
    _say(decision.card, console)
    plan = decision.plan
    _say(f"to send to {repo}: {len(plan.sent):,} files, {plan.bytes / 1e6:,.1f} MB", console)
    _list([f"{file.path} ({file.size_bytes:,} bytes)" for file in plan.sent], console)
    _say(f"there already: {plan.same:,} files", console)
    _say(f"to remove: {len(plan.removed):,} files", console)
    _list(plan.removed, console)
    _warn(decision.warnings, console)
    _say("nothing was sent", console)


def _list(lines: list[str] | tuple[str, ...], console: Console) -> None:
    for line in lines[:_SHOWN]:
        _say(f"  {line}", console)
    if len(lines) > _SHOWN:
        _say(f"  … and {len(lines) - _SHOWN:,} more", console)


def _warn(warnings: tuple[str, ...], console: Console) -> None:
    for warning in warnings:
        _say(f"note: {warning}", console)


def _say(text: str, console: Console) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
