"""The command ``llaso-data leakage``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from llaso_data.commands import TableChoice, fail, uncollected

if TYPE_CHECKING:
    from llaso_data.pipeline.leakage import Leakage


def _kinds() -> tuple[str, ...]:
    from llaso_data.instruct.leakage.find import KINDS

    return KINDS


@click.command()
@click.argument("uri", metavar="SOURCE")
@click.option(
    "--against", "others", multiple=True, required=True, metavar="SOURCE", help="Another set. May be repeated."
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=TableChoice(_kinds),
    help="What is looked for; may be repeated. Default: all.",
)
@click.option("--list", "names", metavar="FILE", help="Write what leaks to a list for `remove --list`.")
@click.option("--refuse", is_flag=True, help="Exit with 1 where anything is found.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--work", metavar="URI", help="Folder for what was heard. The same command continues a killed run. Default: none."
)
@click.option("--engine", type=click.Choice(["local", "ray"]), help="What decodes. Default: local.")
@click.option("--address", metavar="ADDRESS", help="Join a Ray cluster: auto or ray://host:10001.")
@click.option("--num-workers", type=click.IntRange(1), help="Worker processes. Default: one for each CPU core.")
def leakage(
    uri: str,
    others: tuple[str, ...],
    kinds: tuple[str, ...],
    names: str | None,
    refuse: bool,
    as_json: bool,
    work: str | None,
    engine: str | None,
    address: str | None,
    num_workers: int | None,
) -> None:
    """Find what a set shares with other sets: samples, sounds and texts, also nearly the same ones.

    Each SOURCE is shards, a set of samples, the output of build-align, a corpus or conversations. What is compared of
    those that follow --against is held in memory.
    """
    with uncollected():
        from llaso_data.pipeline.hearing import Workplace
        from llaso_data.pipeline.hearing_progress import HearingProgress
        from llaso_data.pipeline.leakage import check_list, write_list
        from llaso_data.pipeline.leakage import leakage as run
        from llaso_data.recipe import Run
    if names:
        check_list(names)
    engine = engine or ("ray" if address else "local")
    workers = num_workers or ((os.cpu_count() or 1) if engine == "local" else None)
    settings = Run.model_validate({"engine": engine, "address": address, "num_workers": workers})
    with HearingProgress() as progress:
        found = run(uri, others, kinds or _kinds(), Workplace(settings, work, progress=progress.block_done))
    if names:
        write_list(found, names)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        _show(found)
    if refuse and found.report.leaked:
        fail(f"{found.report.leaked:,} of {found.report.samples:,} samples leak")


def _show(found: Leakage) -> None:
    report = found.report
    click.echo(f"{report.leaked:,} of {report.samples:,} samples leak")
    for other, counts in report.counts.items():
        click.echo(f"\n{other}: {report.other_samples[other]:,} samples")
        for kind, count in counts.items():
            click.echo(f"  {kind:<10} {count:>10,}")
    for kind, examples in report.examples.items():
        click.echo(f"\n{kind}")
        for leak in examples:
            differs = f" (differs in {100 * leak.differs:.1f} %)" if leak.differs else ""
            click.echo(f"  {leak.where} | {leak.other_where}{differs}")
            if leak.text is not None:
                click.echo(f"    {leak.text}")
            if leak.other_text not in (None, leak.text):
                click.echo(f"    {leak.other_text}")
    for uri, reasons in found.unread.counts.items():
        said = ", ".join(f"{reason} {count:,}" for reason, count in sorted(reasons.items()))
        click.echo(f"{uri}: not compared: {said}", err=True)
    for line in (*found.unread.examples, *(f"{note} ({count:,})" for note, count in found.unread.notes.items())):
        click.echo(f"  {line}", err=True)
