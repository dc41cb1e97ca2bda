"""The command ``llaso-data``. Everything heavy is imported inside the commands, so ``--help`` is instant."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from llaso_data import __version__
from llaso_data.commands import Commands, TableChoice, explained
from llaso_data.errors import LLaSOError
from llaso_data.shipped import listing, recipe_path, text_of

F = TypeVar("F", bound=Callable[..., Any])


def _machine_options(command: F) -> F:
    """Options of every command that does work: which engine, how many workers."""
    for option in reversed(
        [
            click.option(
                "--recipe",
                "recipe_path",
                metavar="RECIPE",
                help="A YAML file, or a name that `recipes` lists.",
            ),
            click.option(
                "--set",
                "overrides",
                multiple=True,
                metavar="KEY=VALUE",
                help="Set a key of the recipe: judge.audit.items=60.",
            ),
            click.option("--engine", type=click.Choice(["ray", "local"]), help="What runs the work. Default: ray."),
            click.option("--address", metavar="ADDRESS", help="Join a Ray cluster: auto or ray://host:10001."),
            click.option(
                "--num-workers", type=int, help="Worker processes. Default: one for each GPU, or for each CPU core."
            ),
        ]
    ):
        command = option(command)
    return command


@click.group(
    "llaso-data",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=explained("SOURCE", "ALIGN", "SHARDS", "TARS", "MIXTURE", "URI"),
)
@click.version_option(__version__, prog_name="llaso-data")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Make training shards of speech."""
    # A recipe may name a stage in the current folder, which `python -m` would search too.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _layouts() -> list[str]:
    """The names of the table of layouts. ``--help`` reads them off the files: importing the layouts takes a second.

    Each layout of ours is a module of its name. Where another package has layouts the table itself is asked.
    """
    from importlib.metadata import entry_points

    if "llaso_data.formats" not in sys.modules and not entry_points(group="llaso.layouts"):
        modules = pkgutil.iter_modules([str(Path(__file__).with_name("formats"))])
        return ["auto", *sorted(one.name for one in modules if not one.ispkg and one.name != "registry")]
    from llaso_data.formats import LAYOUTS

    return LAYOUTS.choices()


@main.command("build-align")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--out", metavar="URI", help="Folder to write to. A run that was killed goes on there.")
@click.option("--asr", metavar="MODEL", help="A Whisper model: an id on Hugging Face, or a folder.")
@click.option("--language", metavar="CODE", help="The language of all sources, where they have one: en, hsb, nan-TW.")
@click.option("--corpus", metavar="NAME", help="Name of the corpus in the records. Default: the last part of SOURCE.")
@click.option(
    "--type",
    "layout",
    type=TableChoice(_layouts),
    help="Layout of the sources. Default: auto.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="What computes. Default: auto.")
@click.option("--num-gpus", type=float, help="GPUs of each worker. A fraction is allowed.")
@click.option("--threads", type=int, help="CPU threads of each worker.")
@click.option("--dtw", type=click.Choice(["builtin", "dtw-python"]), help="What aligns words. Default: builtin.")
@click.option(
    "--max-failures", metavar="SHARE", help="Share of failed inputs above which the exit code is 1. Default: 10%."
)
@_machine_options
def build_align(
    sources: tuple[str, ...],
    out: str | None,
    asr: str | None,
    language: str | None,
    corpus: str | None,
    layout: str | None,
    device: str | None,
    num_gpus: float | None,
    threads: int | None,
    dtw: str | None,
    max_failures: str | None,
    **machine: Any,
) -> None:
    """Transcribe, align and judge speech.

    SOURCE is a folder of audio, a LibriSpeech tree, a Common Voice release, a manifest (JSONL, CSV, TSV, Parquet) or
    WebDataset tars. A folder may have transcripts beside its audio, as .txt or .lab.
    """
    from llaso_data.pipeline.build_align import build_align as build
    from llaso_data.pipeline.progress import Progress, print_summary

    source_entries = [
        {
            key: value
            for key, value in (("path", path), ("language", language), ("corpus", corpus), ("type", layout))
            if value
        }
        for path in sources
    ]
    recipe = _load(
        machine,
        {
            "sources": source_entries or None,
            "out": out,
            "observe.asr.model": asr,
            "observe.align.dtw": dtw,
            "run.device": device,
            "run.num_gpus": num_gpus,
            "run.threads": threads,
            "judge.max_failures": _share(max_failures),
        },
    )
    with Progress() as progress:
        summary = build(recipe, progress)
    print_summary(summary.to_dict())
    if summary.exit_code:
        _fail(
            f"{summary.counts['failed']} of {summary.counts['inputs']} inputs failed, more than "
            f"--max-failures {100 * summary.max_failures:.4g}%; the output is complete for the others"
        )


@main.command()
@click.argument("source", metavar="ALIGN")
@click.option("--out", required=True, metavar="URI", help="Folder for the shards.")
@click.option("--audio", type=click.Choice(["flac", "opus", "wav"]), help="Format of the audio. Default: flac.")
@click.option("--samples-per-shard", type=int, help="Samples in each shard. Default: 1000.")
@click.option("--seed", type=int, help="Seed of the order of samples and of their instructions. Default: 0.")
@click.option("--overwrite", is_flag=True, help="Replace other shards in --out.")
@_machine_options
def shard(
    source: str,
    out: str,
    audio: str | None,
    samples_per_shard: int | None,
    seed: int | None,
    overwrite: bool,
    **machine: Any,
) -> None:
    """Write accepted records as WebDataset shards.

    ALIGN is the output of `llaso-data build-align`.
    """
    from llaso_data.pipeline.progress import ShardProgress, print_shards
    from llaso_data.pipeline.shard import shard_dataset

    recipe = _load(
        machine,
        {"shard.audio": audio, "shard.samples_per_shard": samples_per_shard, "shard.seed": seed},
    )
    with ShardProgress() as progress:
        summary = shard_dataset(
            source, out, recipe.shard, recipe.run, overwrite=overwrite, progress=progress.shard_done
        )
    print_shards(summary.to_dict())


@main.command()
@click.argument("uri", metavar="SHARDS")
def validate(uri: str) -> None:
    """Read every byte of shards again.

    Tars, checksums, counts, the schema and the audio are checked.
    """
    from llaso_data.pipeline.progress import print_report
    from llaso_data.shards.validate import validate as check

    report = check(uri)
    print_report(report.to_dict())
    if not report.ok:
        _fail(f"{uri}: {len(report.problems)} problems")


@main.command()
@click.argument("uri", metavar="SHARDS")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(uri: str, as_json: bool) -> None:
    """Count hours, languages, durations and speakers of shards."""
    from llaso_data.shards.stats import stats as measure

    _show_stats(measure(uri).to_dict(), as_json)


@main.command()
@click.argument("uri", metavar="TARS")
@click.option("--out", metavar="URI", help="Folder for the index. Default: beside the tars.")
@click.option("--language", metavar="CODE", help="Language of samples whose JSON names none.")
@click.option("--task", metavar="NAME", help="Task of samples whose JSON names none.")
@click.option("--strict", is_flag=True, help="Refuse tars of which anything cannot be read, and name it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all names.")
def index(uri: str, as_json: bool, **options: Any) -> None:
    """Index WebDataset tars that were made elsewhere.

    With an index they can be streamed. TARS is a folder of them.
    """
    from llaso_data.shards.foreign import index_foreign

    _show_stats(index_foreign(uri, **options).to_dict(), as_json)


@main.command()
@click.argument("mixture", metavar="MIXTURE")
@click.option(
    "--budget",
    metavar="BUDGET",
    default="300s",
    show_default=True,
    help="Size of a micro-batch: 300s of audio, 15000f frames, 8000t tokens, or 64 samples.",
)
@click.option("--world-size", default=1, show_default=True, help="Number of ranks that train.")
@click.option("--micro-batches", type=int, help="Micro-batches of a global step. Default: one for each rank.")
@click.option("--window", default=20, show_default=True, help="Number of shards that are shuffled together.")
@click.option("--seed", default=0, show_default=True, help="Seed of the order.")
@click.option("--pack", is_flag=True, help="Lay samples end to end instead of padding them.")
@click.option("--cache-gb", type=float, help="Size of a node's cache of whole shards. Default: none; ranges are read.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the mixture.")
@click.option("--figure", metavar="FILE", help="Draw the micro-batches: PNG, SVG or PDF.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(mixture: str, as_json: bool, figure: str | None, **options: Any) -> None:
    """Simulate an epoch of training.

    MIXTURE is a YAML file or a folder of shards. Steps, padding, shuffling and the bytes read are printed.
    """
    import json

    from llaso_data.io import pictures
    from llaso_data.stream.simulate import BY, draw, lines, of

    if figure:
        pictures.refuse(figure, BY, "--figure")
    simulation = of(mixture, **options)
    if as_json:
        click.echo(json.dumps(simulation.to_dict(), indent=2, ensure_ascii=False))
    else:
        for line in lines(simulation):
            click.echo(line)
    if figure:
        draw(simulation, figure)
        click.echo(f"written to {figure}", err=as_json)


@main.command()
@click.argument("align", metavar="ALIGN")
@click.option("--out", "page", metavar="FILE", help="Page to write. Default: card.html in ALIGN.")
@click.option(
    "--examples", default=10, show_default=True, help="Examples to hear, of the accepted and of each rejecting rule."
)
@click.option("--title", metavar="TEXT", help="Heading of the page. Default: the name of the folder ALIGN.")
def card(align: str, page: str | None, examples: int, title: str | None) -> None:
    """Write the dataset card: one HTML page.

    It has figures, and examples to hear. ALIGN is the output of `llaso-data build-align`.
    """
    from llaso_data.report.card import write_card

    click.echo(f"written to {write_card(align, page, examples=examples, title=title)}")


@main.command()
@click.argument("align", metavar="ALIGN")
@click.option("--auditor", metavar="NAME", help="Who listens. Default: the page asks.")
@click.option("--language", "languages", multiple=True, metavar="CODE", help="Only this language. May be repeated.")
@click.option(
    "--host",
    metavar="HOST",
    default="127.0.0.1",
    show_default=True,
    help="Address of the page. 0.0.0.0 is open to all.",
)
@click.option("--port", default=0, help="Port of the page. Default: a free one.")
@click.option("--open/--no-open", "show", default=True, help="Open the page in a browser. Default: open.")
@click.option("--title", metavar="TEXT", help="Heading of the page. Default: the name of the folder ALIGN.")
@click.option(
    "--status",
    is_flag=True,
    help="Print how far the audit is, and write the certificate of one that is done. No page is served.",
)
@click.option(
    "--export", "target", metavar="FILE", help="Write the sample as CSV, with its sounds beside it. No page is served."
)
@click.option(
    "--import", "filled", metavar="FILE", help="Take the answers of --auditor from such a CSV. No page is served."
)
def audit(
    align: str,
    auditor: str | None,
    languages: tuple[str, ...],
    host: str,
    port: int,
    show: bool,
    title: str | None,
    status: bool,
    target: str | None,
    filled: str | None,
) -> None:
    """Listen to the drawn sample, and certify its error rate.

    ALIGN is the output of `llaso-data build-align`. A page is served on this machine until Ctrl-C. Every answer is
    saved at once, and the same command goes on.
    """
    from llaso_data.report import audit_sheet
    from llaso_data.report.audit import describe, load_sample, update_certificate
    from llaso_data.shards import certificate

    if sum((status, target is not None, filled is not None)) > 1:
        raise click.UsageError("--status, --export and --import exclude each other")
    if filled is not None and auditor is None:
        raise click.UsageError("--import needs --auditor NAME: whose answers are they?")
    drawn = load_sample(align)
    if target is not None:
        click.echo(audit_sheet.write(drawn, target, auditor, languages))
        return
    certificate.refuse(drawn.align, "llaso-data audit")
    if filled is not None:
        click.echo(audit_sheet.read(drawn, filled, auditor or ""))
    if status or filled is not None:
        for line in describe(update_certificate(drawn)):
            click.echo(line)
        return
    _serve_audit(drawn, show, auditor=auditor, languages=languages, host=host, port=port, title=title)


def _serve_audit(drawn: Any, show: bool, **options: Any) -> None:
    import webbrowser

    from llaso_data.report.audit import describe
    from llaso_data.report.audit_server import AuditServer

    with AuditServer(drawn, **options) as server:
        click.echo(describe(server.status())[0])
        click.echo(f"open {server.url}")
        if server.exposure:
            click.echo(server.exposure, err=True)
        click.echo("Ctrl-C ends it; every answer is saved when the page says so", err=True)
        if show and (sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(server.once())
        try:
            server.serve()
        except KeyboardInterrupt:
            click.echo("", err=True)
        for line in describe(server.status()):
            click.echo(line)


@main.command()
@click.argument("align", metavar="ALIGN")
@click.option("--rule", metavar="NAME", help="Only this rule or group: failed, consistency.cer.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object on each line.")
def rejections(align: str, rule: str | None, as_json: bool) -> None:
    """List what was not accepted: place, rule, value, threshold.

    ALIGN is the output of `llaso-data build-align`.
    """
    import json

    from llaso_data.report.rejections import lines
    from llaso_data.report.rejections import rejections as find

    rejected = find(align, rule)
    for line in (json.dumps(r.to_dict(), ensure_ascii=False) for r in rejected) if as_json else lines(rejected):
        click.echo(line)


@main.command()
@click.argument("align", metavar="ALIGN")
@click.option(
    "--out", default="words.png", show_default=True, metavar="FILE", help="Picture to write: PNG, SVG or PDF."
)
@click.option("--count", default=10, show_default=True, help="Number of utterances, spread over the whole output.")
@click.option("--language", metavar="CODE", help="Only this language.")
def words(align: str, out: str, count: int, language: str | None) -> None:
    """Draw waveforms with their words.

    ALIGN is the output of `llaso-data build-align`.
    """
    from llaso_data.io import pictures
    from llaso_data.report.word_figure import BY, choose, draw

    pictures.refuse(out, BY, "--out")
    draw(choose(align, count, language), out)
    click.echo(f"written to {out}")


@main.command()
@click.option("--out", default="demo-out", show_default=True, metavar="URI", help="Folder to write to.")
@click.option("--english", default=240, show_default=True, help="Number of English prompts.")
@click.option("--others", default=40, show_default=True, help="Number of prompts in each other language.")
@click.option(
    "--engine", type=click.Choice(["ray", "local"]), default="ray", show_default=True, help="What runs the work."
)
def demo(out: str, english: int, others: int, engine: str) -> None:
    """Make shards of telephone prompts in five languages."""
    from llaso_data.demo.end_to_end import run_demo

    run_demo(out, english=english, others=others, engine=engine)


@main.command()
@click.argument("name", metavar="[NAME]", required=False)
def recipes(name: str | None) -> None:
    """List the recipes that ship with LLaSO, or print one."""
    commands = ("build-align", "shard")
    click.echo(listing(*commands) if name is None else text_of(name, *commands), nl=name is None)


def _show_stats(values: dict[str, Any], as_json: bool) -> None:
    import json

    from llaso_data.pipeline.progress import print_stats

    if as_json:
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        print_stats(values)


def _fail(message: str) -> None:
    """Ends with exit code 1: the command ran, and its result is bad. Exit code 2 means that it could not run."""
    click.echo(f"llaso-data: {message}", err=True)
    click.get_current_context().exit(1)


def _share(text: str | None) -> float | None:
    """``0.1`` or ``10%`` as a number."""
    if text is None:
        return None
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise LLaSOError(f"--max-failures {text}: not a share such as 0.1 or 10%") from None


def _load(machine: dict[str, Any], options: dict[str, Any]) -> Any:
    from llaso_data.pipeline.load_recipe import load

    options = {
        **options,
        "run.engine": machine["engine"],
        "run.address": machine["address"],
        "run.num_workers": machine["num_workers"],
    }
    name = machine["recipe_path"]
    path = None if name is None else recipe_path(click.get_current_context().info_name or "", name)
    return load(path, machine["overrides"], options=options)
