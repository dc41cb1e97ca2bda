"""Tables of counts for the end of a run; without lines where the output is no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llaso_data.filters import rates

_SHOWN = 20
_TEXTS = {"given": "given", "asr": "by Whisper"}


def summary_table(summary: Mapping[str, Any], plain: bool = False) -> Table:
    """The table of a build: every input by verdict and reason, hours, languages, model calls.

    Args:
        summary: ``counts``, ``rules``, ``hours`` and ``languages`` as in
            :class:`llaso_data.pipeline.judge.JudgeResult`; it may have ``blocks``, ``blocks_observed``,
            ``model_calls``, ``transcripts`` and ``notes``.
        plain: Draws no lines.
    """
    counts, hours = summary["counts"], summary["hours"]
    table = _table(plain, "utterances", "hours")

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
    if "transcripts" in summary:
        row("came with a transcript", summary["transcripts"])
    if "blocks" in summary:
        table.add_row("blocks observed now", f"{summary['blocks_observed']:,} of {summary['blocks']:,}", "")
    for name, number in summary.get("model_calls", {}).items():
        row(name.replace("_", " "), number)
    for name, number in summary.get("notes", {}).items():
        row(name, number)
    return table


def values_table(values: Mapping[str, Any], plain: bool = False) -> Table:
    """A table of any result: a row per number, and indented rows for the entries of a mapping."""
    table = _table(plain, "", "hours")
    for name, value in values.items():
        for cells in _rows(name, value):
            table.add_row(*cells)
    return table


def print_summary(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints :func:`summary_table`, how the run was calibrated, and where the output is."""
    console = console or Console()
    console.print(summary_table(summary, not console.is_terminal))
    if "calibration" in summary:
        console.print(rates.sentence(summary), highlight=False, markup=False, soft_wrap=True)
    if "out" in summary:
        console.print(f"written to {summary['out']}", highlight=False, markup=False, soft_wrap=True)


def print_shards(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what ``llaso-data shard`` wrote, how its certificate stands, and where it is."""
    _print_values(console, summary)


def print_stats(stats: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints the counts of a dataset or of an index, and how its certificate stands."""
    _print_values(
        console, {name: value for name, value in stats.items() if name != "certified" or "audit" not in stats}
    )


def print_calibration(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what a calibration found: right pairs that are rejected, and of each fault the share that is found."""
    from llaso_data.filters.calibration import MIN_RIGHT  # with all of text, which other tables do without

    console = console or Console()

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    console.print(_findings_table(report["findings"], not console.is_terminal))
    for reason, count in report["notes"].items():
        say(f"left out: {count:,} clips {reason}")
    for fault, rate in report["choice"].items():
        if rate["confirmed"]:
            say(f"wrong, and taken as right: {rate['confirmed']:,} of {rate['pairs']:,} with {fault}")
    fitted = report["fitted"]
    if fitted is None:
        say(f"too few right clips to fit thresholds: {MIN_RIGHT} are needed in one half of the texts")
    else:
        say(
            f"\nfitted on one half of the texts, for at most {100 * fitted['allowed']:.4g}% false alarms in each group:"
        )
        for groups, thresholds in _distinct_fits(fitted["thresholds"]):
            say(f"  {groups}")
            for key, value in thresholds.items():
                say(f"    judge.{key}: {'null' if value is None else value}")
        for title, findings in (("with these", fitted["findings"]), ("with the recipe's", fitted["recipe"])):
            say(f"\non the other half, {title}:")
            console.print(_findings_table(findings, not console.is_terminal))
        say("`llaso-data build-align` judges by these when it runs again, and transcribes nothing")
    say(f"written to {report['out']}")


def _distinct_fits(fits: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Thresholds, and for which groups they are; those of a corpus come first."""
    found: list[tuple[str, Mapping[str, Any]]] = []
    for fit in reversed(fits):
        place = ", ".join(name for name in (fit["language"], fit["corpus"]) if name)
        group = place if fit["corpus"] else f"{place}, other corpora" if place else "all others"
        same = next((n for n, (_, thresholds) in enumerate(found) if thresholds == fit["thresholds"]), None)
        if same is None:
            found.append((group, fit["thresholds"]))
        else:
            found[same] = (f"{found[same][0]}; {group}", fit["thresholds"])
    return found


def print_rates(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints a calibration in a short table, by the recipe's rules, and which groups are too small for a fit."""
    console = console or Console()
    console.print(_rates_table(report["findings"], not console.is_terminal))
    fits = (report["fitted"] or {"thresholds": []})["thresholds"]
    own = {fit["language"] for fit in fits}
    small = [language for language in report["drawn"] if language not in own]
    if small:
        others = "all languages together" if None in own else "the recipe"
        line = f"too few right clips to fit thresholds to {', '.join(small)} alone: theirs are those of {others}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _rates_table(findings: Sequence[Mapping[str, Any]], plain: bool) -> Table:
    """Of each group the false alarms, and the share that is found in the mean over faults."""
    table = _table(plain, "right", "false alarms (95 %)", "faults", "found")
    for finding in findings:
        found, pairs = rates.mean_recall(finding["recall"]), sum(rate["pairs"] for rate in finding["recall"].values())
        name = f"{finding['language']}, {finding['corpus']}, {_TEXTS[finding['texts']]}"
        alarms = finding["false_alarms"]
        share = "" if found is None else f"{100 * found:.0f} %"
        table.add_row(escape(name), f"{alarms['pairs']:,}", rates.in_percent(alarms), f"{pairs:,}", share)
    return table


def _group(finding: Mapping[str, Any]) -> str:
    return escape(f"{finding['language']}, {finding['corpus']}, texts {_TEXTS[finding['texts']]}")


def _findings_table(findings: Sequence[Mapping[str, Any]], plain: bool) -> Table:
    table = _table(plain, "pairs", "rejected", "share", "95 %")

    def row(name: str, rate: Mapping[str, Any]) -> None:
        low, high = rate["interval"]
        numbers = f"{rate['pairs']:,}", f"{rate['rejected']:,}", f"{rate['share']:.3f}", f"{low:.3f} to {high:.3f}"
        table.add_row(name, *numbers)

    for finding in findings:
        table.add_row(_group(finding), "", "", "", "")
        row("  right pairs (false alarms)", finding["false_alarms"])
        for rule, count in sorted(finding["alarms_by_rule"].items(), key=lambda item: -item[1]):
            table.add_row(f"    {rule}", "", f"{count:,}", "", "")
        for fault, rate in finding["recall"].items():
            row(f"  {fault}", rate)
        table.add_section()
    return table


def print_report(report: Mapping[str, Any], console: Console | None = None) -> None:
    """Prints what a validation read, and its problems: the first twenty with shard and key."""
    console = console or Console()
    shown = {name: value for name, value in report.items() if name not in ("problems", "ok")}
    console.print(values_table(shown, not console.is_terminal))
    problems = report["problems"]
    for problem in problems[:_SHOWN]:
        place = ": ".join(part for part in (problem["shard"], problem["key"]) if part)
        console.print(f"{place}: {problem['what']}", highlight=False, markup=False, soft_wrap=True)
    if len(problems) > _SHOWN:
        console.print(f"... and {len(problems) - _SHOWN} more problems", highlight=False, markup=False)
    if not problems:
        console.print("no problems", highlight=False)


def _table(plain: bool, *numbers: str) -> Table:
    table = Table(box=None if plain else box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _rows(name: str, value: Any) -> Iterator[tuple[str, str, str]]:
    title = name.replace("_", " ")
    if value is None:
        return
    if isinstance(value, list | tuple):
        yield title, f"{len(value):,}", ""
        for item in value[:_SHOWN]:
            yield "", str(item), ""
    elif isinstance(value, dict):
        yield title, "", ""
        for part, inner in value.items():
            if isinstance(inner, dict):
                count = inner.get("samples", inner.get("audios"))
                yield f"  {escape(str(part))}", _text("samples", count), _text("hours", inner.get("hours"))
            else:
                yield f"  {escape(str(part))}", _text(name, inner), ""
    elif name == "hours":
        yield title, "", _text(name, value)
    else:
        yield title, _text(name, value), ""


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "bytes":
        return f"{value / 1e6:,.1f} MB"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


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


def _print_values(console: Console | None, values: Mapping[str, Any]) -> None:
    """A table of values; the sentence ``audit`` and the place ``out``, where there are, each on a line below it."""
    console = console or Console()
    shown = {name: value for name, value in values.items() if name not in ("audit", "out")}
    table = values_table(shown, not console.is_terminal)
    console.print(table)
    if "audit" in values:
        console.print(values["audit"], highlight=False, markup=False, soft_wrap=True)
    if "out" in values:
        console.print(f"written to {values['out']}", highlight=False, markup=False, soft_wrap=True)
