"""What a person sees of a download: its progress, its summary, what it would do."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console

from llaso_data.io.live import LiveLine
from llaso_data.pipeline.download.licence import is_non_commercial
from llaso_data.pipeline.download.plan import Plan, Wanted
from llaso_data.pipeline.download.run import DownloadSummary, said
from llaso_data.pipeline.progress import LOG_EVERY_S, clock
from llaso_data.pipeline.summary_tables import values_table

_FAILURES_SHOWN = 10
_UPDATE_EVERY_S = 0.2


class DownloadProgress:
    """Progress of a download: bytes, megabytes a second, time left. A context manager."""

    def __init__(self, console: Console | None = None, log_every_s: float = LOG_EVERY_S) -> None:
        self._done = self._total = self._files = 0
        self._lock = threading.Lock()
        self._started_s = self._shown_s = time.monotonic()
        self._live = LiveLine(self.line, lambda: (self._done, self._total or None), console, log_every_s)

    def start(self, size_bytes: int, files: int) -> None:
        """Sets the totals, which become known after the start."""
        self._total, self._files = size_bytes, files
        self._started_s = time.monotonic()
        self._live.update()

    def moved(self, size_bytes: int) -> None:
        """Counts bytes, from any thread."""
        with self._lock:
            self._done += size_bytes
            if (now := time.monotonic()) - self._shown_s < _UPDATE_EVERY_S:
                return
            self._shown_s = now
        self._live.update()

    def line(self) -> str:
        """The state in one line."""
        rate = self._done / max(time.monotonic() - self._started_s, 1e-9)
        left = clock(max(self._total - self._done, 0) / rate) if rate > 0 else "unknown"
        return (
            f"{self._done / 1e6:,.1f} of {self._total / 1e6:,.1f} MB of {self._files} files, "
            f"{rate / 1e6:,.1f} MB/s, ETA {left}"
        )

    def __enter__(self) -> DownloadProgress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop(show=self._total > 0 and (error is None or self._done > 0))


def print_summary(summary: DownloadSummary, console: Console | None = None) -> None:
    """Prints the counts, which close, the licence, failures, and where the output is."""
    console = console or Console()
    values: dict[str, object] = {"files": summary.files, "bytes": summary.bytes}
    values |= {"already there": summary.kept, "already there, compared now": summary.compared}
    values |= {"fetched": summary.fetched, "failed": len(summary.failed)}
    if summary.replaced:
        values["of the fetched, replaced other content"] = summary.replaced
    if summary.without_sum:
        values["without a sum: only the size was compared"] = summary.without_sum
    rate = summary.fetched_bytes / 1e6 / max(summary.seconds, 1e-9)
    values |= {"megabytes received": summary.fetched_bytes / 1e6, "MB/s": rate}
    values |= {"requests": summary.requests, "asked again after a failure": summary.retries}
    console.print(values_table(values, not console.is_terminal))
    _say(console, *summary.notes, licence_line(summary.licence))
    _say(console, *(list(summary.failed.values())[:_FAILURES_SHOWN]))
    _say(console, f"{summary.repo} is written to {summary.out}")


def print_dry_run(wanted: Wanted, plan: Plan | None, licence: str | None, console: Console | None = None) -> None:
    """Prints what a download would do. Nothing is compared: sums of files that no earlier download noted are open."""
    console = console or Console()
    values: dict[str, object] = {"files": len(wanted.files), "bytes": wanted.size_bytes}
    if plan is not None:
        shares = {
            "already there": plan.kept,
            "there with the right size, to be compared": plan.to_compare,
            "there with another size": plan.other,
            "to fetch": plan.to_fetch,
        }
        for name, files in shares.items():
            values[name] = f"{len(files):,} ({sum(file.size_bytes for file in files) / 1e6:,.1f} MB)"
    console.print(values_table(values, not console.is_terminal))
    _say(console, *said(wanted), licence_line(licence), f"{wanted.tree.uri}: nothing was written")


def licence_line(licence: str | None) -> str:
    """A sentence on the licence."""
    if licence is None:
        return "licence: its card states none; ask its owner before you use it"
    marked = ": no commercial use" if is_non_commercial(licence) else ""
    return f"licence: {licence}{marked}"


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
