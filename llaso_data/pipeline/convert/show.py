"""What a person sees of a conversion: its progress, its summary, a preview."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console

from llaso_data.io.live import LiveLine
from llaso_data.pipeline.convert.by_archive.preview import ArchivePreview
from llaso_data.pipeline.convert.carried import ORIGIN
from llaso_data.pipeline.convert.part import PartResult
from llaso_data.pipeline.convert.parts import Tally
from llaso_data.pipeline.convert.preview import Preview
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.pipeline.convert.run import ConvertSummary
from llaso_data.pipeline.summary_tables import values_table
from llaso_data.records import Sample, Utterance

_LOG_EVERY_S = 30.0
_PROBLEMS_SHOWN, _CHECK_SHOWN = 3, 20
_SHORT = 200  # characters of a text that a preview shows


class ConvertProgress:
    """Progress of convert: parts, rows, clips, megabytes a second, problems. A context manager that ends it."""

    def __init__(self, console: Console | None = None, log_every_s: float = _LOG_EVERY_S) -> None:
        self._parts = self._skipped = self._samples = self._audios_s = self._bytes = 0.0
        self._tally, self._problems = Tally(), Problems()
        self._started_s = time.monotonic()
        self._live = LiveLine(self.line, lambda: (int(self._parts), None), console, log_every_s)

    def start(self) -> None:
        """Shows the bar, or begins to write lines. It starts a thread."""
        self._started_s = time.monotonic()
        self._live.start()

    def part_done(self, result: PartResult, tally: Tally, problems: Problems) -> None:
        """Counts a part."""
        self._parts += 1
        self._skipped += result.skipped
        self._samples += result.samples
        self._audios_s += result.duration_s
        self._bytes += 0 if result.skipped else result.bytes
        self._tally, self._problems = tally, problems
        self._live.update()

    def line(self) -> str:
        """The state in one line."""
        elapsed_s = max(time.monotonic() - self._started_s, 1e-9)
        pieces = [
            f"{self._parts:.0f} parts",
            f"{self._tally.read} rows read",
            f"{self._samples:.0f} samples",
            f"{self._audios_s / 3600:.2f} h of audio",
            f"{self._bytes / 1e6 / elapsed_s:.1f} MB/s",
            f"{len(self._problems)} problems",
        ]
        return ", ".join(pieces) + (f", {self._skipped:.0f} parts already there" if self._skipped else "")

    def __enter__(self) -> ConvertProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop(show=error is None or self._parts > 0)


def print_summary(summary: ConvertSummary, console: Console | None = None) -> None:
    """Prints the counts, which close, what was not carried over, notes, the first problems, and where the output is."""
    console = console or Console()
    values: dict[str, Any] = {
        "rows read": summary.rows,
        "samples": summary.samples,
        "hours": summary.hours,
        "bytes": summary.bytes,
        "parts": summary.parts,
    }
    if summary.skipped:
        values["parts already there"] = summary.skipped
    if summary.known:
        values["in earlier parts already"] = summary.known
    if summary.filtered:
        values["filtered"] = summary.filtered
    if summary.problems:
        values["not converted"] = summary.problems
    if set(summary.groups) - {""}:
        values["groups"] = {group: stated["samples"] for group, stated in summary.groups.items()}
    values |= _archive_values(summary)
    console.print(values_table(values, not console.is_terminal))
    print_remarks(summary.notes, summary.not_carried, summary.to, console)
    print_problems(summary.examples, console)
    for uri, why in list((summary.archives or {}).get("unreadable", {}).items())[_PROBLEMS_SHOWN:]:
        console.print(f"unreadable: {uri}: {why}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"written to {summary.out}", highlight=False, markup=False, soft_wrap=True)


def _archive_values(summary: ConvertSummary) -> dict[str, Any]:
    """What is said of a conversion archive by archive."""
    archives, transfers = summary.archives, summary.transfers
    if archives is None or transfers is None:
        return {}
    values: dict[str, Any] = {"archives": archives["archives"]}
    if archives["unused"]:
        values["members that no row names"] = archives["unused"]
    if summary.not_fetched:
        values["archives that could not be fetched"] = len(summary.not_fetched)
    if transfers["requests"]:
        values["requests"] = transfers["requests"]
        values["fetched, MB"] = round(transfers["fetched_bytes"] / 1e6, 1)
        values["most scratch at once, MB"] = round(transfers["peak_scratch_bytes"] / 1e6, 1)
    return values


def print_remarks(notes: Mapping[str, int], not_carried: Mapping[str, int], to: str, console: Console) -> None:
    """What is to be said of the sources, and which fields a layout cannot hold."""
    remarks = [f"{note} ({count:,})" for note, count in notes.items()]
    remarks += [_remark(name, count, to) for name, count in sorted(not_carried.items())]
    for remark in remarks:
        console.print(remark, highlight=False, markup=False, soft_wrap=True)


def warn_of_estimates(not_carried: Mapping[str, int], to: str) -> None:
    """Say on standard error, too, that estimates are written like what is given, where standard output is kept."""
    if Console().is_terminal:
        return
    console = Console(stderr=True)
    for name, count in sorted(not_carried.items()):
        if name.endswith(ORIGIN):
            console.print(_remark(name, count, to), highlight=False, markup=False, soft_wrap=True)


def _remark(name: str, count: int, to: str) -> str:
    if name.endswith(ORIGIN):
        field = name.removesuffix(ORIGIN)
        return f"{count:,} samples have a {field} that a model estimated; {to} writes it like one that is given"
    return f"{count:,} samples have {name}, which {to} cannot hold"


def print_problems(examples: Mapping[str, Sequence[str]], console: Console, shown: int = _PROBLEMS_SHOWN) -> None:
    """The first problems of each reason, with file and line."""
    for reason, details in sorted(examples.items()):
        for detail in details[:shown]:
            console.print(f"{reason}: {detail}", highlight=False, markup=False, soft_wrap=True)


def print_preview(preview: Preview, console: Console | None = None) -> None:
    """Prints what a conversion would do, and samples as a person would read them."""
    console = console or Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    for source in preview.sources:
        say(f"{source.path}: {source.layout}, because {source.evidence}")
        for target, template in source.mapping.items():
            say(f"  {target} = {template}")
        rate = source.rows / source.seconds if source.seconds else 0.0
        say(f"  {source.size_bytes / 1e6:,.1f} MB; {source.rows:,} rows read, {rate:,.0f} a second")
    print_remarks(preview.notes, preview.not_carried, preview.to, console)
    say("")
    for number, sample in enumerate(preview.examples, 1):
        for line in sample_lines(number, sample):
            say(line)
    say("")
    say(
        f"{'all' if preview.whole else 'of the'} rows that were read: {preview.samples:,} samples"
        + (f", about {preview.hours:.2f} hours of audio" if preview.hours is not None else "")
        + (f"; {preview.filtered:,} filtered" if preview.filtered else "")
    )
    for reason, count in sorted(preview.problems.counts.items()):
        say(f"not converted, {reason}: {count:,}")
    print_problems(preview.problems.examples, console, _CHECK_SHOWN if preview.whole else _PROBLEMS_SHOWN)
    if (estimate := preview.estimate) is not None:
        say(
            f"all of it, by the first samples: about {estimate.rows:,} rows, {estimate.hours:,.2f} hours of audio, "
            f"{estimate.bytes / 1e9:,.3f} GB as FLAC, {estimate.cpu_s / 60:,.1f} minutes of one core"
        )
    for archives in preview.archives:
        for line in archive_lines(archives):
            say(line)
    say("nothing was written")


def archive_lines(seen: ArchivePreview) -> list[str]:
    """What a source in zips holds and takes, a line each."""
    lines = [
        f"{seen.zips:,} zips, {seen.zip_bytes / 1e9:,.3f} GB",
        f"{seen.tables:,} JSON files, {seen.table_bytes / 1e9:,.3f} GB",
        f"about {seen.rows.total():,} rows:",
        *(f"  {modality} {task}: {count:,}" for (modality, task), count in sorted(seen.rows.items())),
    ]
    if seen.clips is not None:
        lines.append(f"about {seen.clips:,} clips in the zips; each is written {seen.rows_a_clip:.2f} times on average")
    if seen.clip_hours is not None and seen.flac_bytes is not None and seen.cpu_s is not None:
        hours = seen.clip_hours * (seen.rows_a_clip or 1)
        lines.append(
            f"about {seen.clip_hours:,.2f} hours of clips, {hours:,.2f} of samples: {seen.flac_bytes / 1e9:,.3f} GB as "
            f"FLAC, {seen.cpu_s / 3600:,.2f} hours of one core"
        )
    if seen.fetched:
        lines.append(
            f"{seen.requests:,} requests, {(seen.zip_bytes + seen.table_bytes) / 1e9:,.3f} GB to fetch; "
            f"each worker needs {seen.largest_bytes / 1e9:,.3f} GB of scratch, and room for what is made of it"
        )
    else:
        lines.append("the zips are read where they lie: no requests, no scratch")
    return lines


def sample_lines(number: int, sample: Sample) -> list[str]:
    """A sample as a person would read it."""
    head = [f"{number}. {sample.task}", sample.language or "language unknown"]
    lines = [", ".join([*head, *([sample.split] if sample.split else [])])]
    for message in sample.messages:
        pieces = [
            part.text if part.audio is None else _audio_text(sample.audios[part.audio]) for part in message.content
        ]
        lines.append(f"   {message.role}: " + " ".join(_short(piece or "") for piece in pieces))
    return lines


def _audio_text(utterance: Utterance) -> str:
    source = utterance.source
    end = "" if source.end_s is None else f"{source.end_s:g}"
    span = "" if source.start_s is None else f" {source.start_s:g}-{end} s"
    member = "" if source.member is None else f"!{source.member}"
    return f"[audio {source.uri.rpartition('/')[2]}{member}{span}]"


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]} …"
