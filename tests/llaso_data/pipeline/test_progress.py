"""Progress and summary: what a user reads while a run goes and when it ends."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
from rich.console import Console

from llaso_data.pipeline.progress import Counts, Progress, ShardProgress, clock, describe, eta_s
from llaso_data.pipeline.shard import ShardResult
from llaso_data.pipeline.summary_tables import print_report, print_shards, print_stats, print_summary, summary_table

SUMMARY = {
    "counts": {
        "inputs": 1210, "recordings": 1200, "accepted": 1200, "rejected": 5, "duplicates": 1, "failed": 4, "audited": 9,
    },
    "rules": {"confidence.no_text": 2, "consistency.cer": 3, "duplicates.audio": 1, "failed.missing": 4},
    "hours": {"observed": 2.0, "accepted": 1.5, "rejected": 0.25, "duplicates": 0.25},
    "languages": {"en": {"accepted": 200, "hours": 0.5}, "fr": {"accepted": 1000, "hours": 1.0}},
    "blocks": 7,
    "blocks_observed": 2,
    "model_calls": {"windows_encoded": 31},
}  # fmt: skip


def test_the_line_has_hours_speed_counts_and_time_left() -> None:
    counts = Counts(blocks=3, observed=200, failed=2, skipped=100, audio_s=7200.0)
    assert describe(counts, 10, 500, 720.0) == (
        "3/10 blocks, 2.00 h of audio, 10.0x real time, 200 observed, 2 failed, 100 already there, ETA 0:12:00"
    )
    assert describe(Counts(), None, None, 0.0).endswith("0 failed, ETA unknown")
    assert eta_s(counts, 300, 720.0) == 0.0
    assert clock(3661.4) == "1:01:01"


def test_without_a_terminal_there_are_plain_lines_at_the_given_pace() -> None:
    text = io.StringIO()
    with Progress(2, 8, Console(file=text), log_every_s=0.02) as progress:
        progress.block_done(inputs=5, failed=1, audio_s=3600.0, skipped=False)
        progress.block_done(inputs=3, failed=0, audio_s=0.0, skipped=True)
        deadline = time.monotonic() + 10
        while "observed" not in text.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    lines = text.getvalue().splitlines()
    assert len(lines) >= 2 and "\x1b" not in text.getvalue()
    assert lines[-1].startswith("2/2 blocks, 1.00 h of audio, ")
    assert lines[-1].endswith("5 observed, 1 failed, 3 already there, ETA 0:00:00")


def test_a_short_run_logs_its_end_only() -> None:
    text = io.StringIO()
    with Progress(console=Console(file=text)) as progress:
        progress.planned(blocks=4, inputs=20)
    assert [line.split(",")[0] for line in text.getvalue().splitlines()] == ["0/4 blocks"]


def test_on_a_terminal_the_state_is_live() -> None:
    text = io.StringIO()
    with Progress(4, 20, Console(file=text, force_terminal=True, width=160)) as progress:
        progress.block_done(inputs=5, failed=0, audio_s=60.0, skipped=False)
    assert "1/4 blocks" in text.getvalue() and "\x1b" in text.getvalue()


@pytest.mark.parametrize("plain", [True, False])
def test_the_summary_names_every_reason_with_its_number(plain: bool) -> None:
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as captured:
        console.print(summary_table(SUMMARY, plain))
    rows = [line.split() for line in captured.get().splitlines() if line.strip() and "─" not in line]
    assert rows == [
        ["utterances", "hours"],
        ["inputs", "1,210", "2.000"],
        ["accepted", "1,200", "1.500"],
        ["rejected", "5", "0.250"],
        ["consistency.cer", "3"],
        ["confidence.no_text", "2"],
        ["duplicates", "1", "0.250"],
        ["failed", "4"],
        ["failed.missing", "4"],
        ["accepted", "fr", "1,000", "1.000"],
        ["accepted", "en", "200", "0.500"],
        ["drawn", "for", "the", "audit", "9"],
        ["recordings", "1,200"],
        ["blocks", "observed", "now", "2", "of", "7"],
        ["windows", "encoded", "31"],
    ]


def shown(print_it: Any, values: dict[str, Any]) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as captured:
        print_it(values, console)
    return [line.split() for line in captured.get().splitlines() if line.strip()]


def test_the_end_of_a_run_says_where_the_output_is() -> None:
    assert shown(print_summary, {**SUMMARY, "out": "s3://a b/out"})[-1] == ["written", "to", "s3://a", "b/out"]
    languages = {"en": {"samples": 9, "hours": 0.5}}
    rows = shown(print_shards, {"out": "x", "samples": 1234, "hours": 2.0, "bytes": 2_500_000, "languages": languages})
    assert rows[1:] == [
        ["samples", "1,234"], ["hours", "2.000"], ["bytes", "2.5", "MB"], ["languages"], ["en", "9", "0.500"],
        ["written", "to", "x"],
    ]  # fmt: skip


def test_a_report_lists_its_first_problems_and_counts_the_rest() -> None:
    problems = [{"shard": "shard-000000.tar", "key": f"k{n}", "what": "CRC [red]differs"} for n in range(25)]
    rows = shown(print_report, {"uri": "x", "samples": 3, "problems": problems, "ok": False})
    assert rows[3] == ["shard-000000.tar:", "k0:", "CRC", "[red]differs"]
    assert rows[-1] == ["...", "and", "5", "more", "problems"]
    assert shown(print_report, {"uri": "x", "samples": 3, "problems": [], "ok": True})[-1] == ["no", "problems"]


def test_stats_leave_out_what_is_not_known() -> None:
    rows = shown(print_stats, {"speakers": None, "certified": False, "genders": {"female": 2}, "skipped": ("a", "b")})
    assert rows[1:] == [["certified", "no"], ["genders"], ["female", "2"], ["skipped", "2"], ["a"], ["b"]]


def test_shards_are_counted_as_they_finish() -> None:
    text = io.StringIO()
    with ShardProgress(Console(file=text)) as progress:
        progress.shard_done(1, 2, ShardResult(number=0, info=None, skipped=True))
        progress.shard_done(2, 2, ShardResult(number=1, info=None))
    assert text.getvalue() == "2/2 shards, 0 samples, 1 shards already there\n"
