"""The commands that make shards: ``llaso-data build-align`` and ``shard``."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from llaso_data.commands import TableChoice, fail
from llaso_data.errors import LLaSOError
from llaso_data.shipped import recipe_path

F = TypeVar("F", bound=Callable[..., Any])


def machine_options(command: F) -> F:
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


def layouts() -> list[str]:
    """The names of the table of layouts. ``--help`` reads them off the files: importing the layouts takes a second.

    Each layout of ours is a module of its name. Where another package has layouts the table itself is asked.
    """
    from importlib.metadata import entry_points

    if "llaso_data.formats" not in sys.modules and not entry_points(group="llaso.layouts"):
        modules = pkgutil.iter_modules([str(Path(__file__).parents[1] / "formats")])
        return ["auto", *sorted(one.name for one in modules if not one.ispkg and one.name != "registry")]
    from llaso_data.formats import LAYOUTS

    return LAYOUTS.choices()


@click.command("build-align")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--out", metavar="URI", help="Folder to write to. The same command continues a killed run.")
@click.option("--asr", metavar="MODEL", help="A Whisper model: an id on Hugging Face, or a folder.")
@click.option("--language", metavar="CODE", help="The language of all sources, where they have one: en, hsb, nan-TW.")
@click.option("--corpus", metavar="NAME", help="Name of the corpus in the records. Default: the last part of SOURCE.")
@click.option(
    "--type",
    "layout",
    type=TableChoice(layouts),
    help="Layout of the sources. Default: auto.",
)
@click.option("--root", metavar="URI", help="Folder that {data_root} in tables of SpeechBrain stands for.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="What computes. Default: auto.")
@click.option("--num-gpus", type=float, help="GPUs of each worker. A fraction is allowed.")
@click.option("--threads", type=int, help="CPU threads of each worker.")
@click.option("--dtw", type=click.Choice(["builtin", "dtw-python"]), help="What aligns words. Default: builtin.")
@click.option(
    "--max-failures", metavar="SHARE", help="Share of failed inputs above which the exit code is 1. Default: 10%."
)
@machine_options
def build_align(
    sources: tuple[str, ...],
    out: str | None,
    asr: str | None,
    language: str | None,
    corpus: str | None,
    layout: str | None,
    root: str | None,
    device: str | None,
    num_gpus: float | None,
    threads: int | None,
    dtw: str | None,
    max_failures: str | None,
    **machine: Any,
) -> None:
    """Transcribe, align and judge speech.

    SOURCE is a folder of audio, a LibriSpeech tree, a Common Voice release, a manifest (JSONL, CSV, TSV, Parquet),
    WebDataset tars, or a corpus in another layout that --type lists. A folder may have transcripts beside its audio, as
    .txt or .lab, subtitles or labels with times.
    """
    from llaso_data.pipeline.build_align import build_align as build
    from llaso_data.pipeline.progress import Progress, print_summary

    stated = {"language": language, "corpus": corpus, "type": layout, "root": root}
    source_entries = [{"path": path, **{key: value for key, value in stated.items() if value}} for path in sources]
    recipe = load_recipe(
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
        fail(
            f"{summary.counts['failed']} of {summary.counts['inputs']} inputs failed, more than "
            f"--max-failures {100 * summary.max_failures:.4g}%; the output is complete for the others"
        )


@click.command()
@click.argument("source", metavar="ALIGN")
@click.option("--out", required=True, metavar="URI", help="Folder for the shards.")
@click.option("--audio", type=click.Choice(["flac", "opus", "wav"]), help="Format of the audio. Default: flac.")
@click.option("--samples-per-shard", type=int, help="Samples in each shard. Default: 1000.")
@click.option("--seed", type=int, help="Seed of the order of samples and of their instructions. Default: 0.")
@click.option("--overwrite", is_flag=True, help="Replace other shards in --out.")
@click.option("--append", is_flag=True, help="Add what is new to finished shards, as shards of its own.")
@click.option("--split", metavar="SHARES", help="Write splits to folders: train=0.98,validation=0.01,test=0.01.")
@click.option("--by", type=click.Choice(["speaker", "recording", "text"]), help="What splits do not share.")
@machine_options
def shard(
    source: str,
    out: str,
    audio: str | None,
    samples_per_shard: int | None,
    seed: int | None,
    overwrite: bool,
    append: bool,
    split: str | None,
    by: str | None,
    **machine: Any,
) -> None:
    """Write accepted records as WebDataset shards.

    ALIGN is the output of `llaso-data build-align`.
    """
    if by is not None and split is None:
        raise click.UsageError("--by needs --split: which shares?")
    refuse_both(overwrite, append)
    from llaso_data.pipeline.progress import ShardProgress, print_shards
    from llaso_data.pipeline.shard import shard_dataset

    recipe = load_recipe(
        machine,
        {
            "shard.audio": audio,
            "shard.samples_per_shard": samples_per_shard,
            "shard.seed": seed,
            "convert.split": None if split is None else shares(split),
            "convert.by": by,
        },
    )
    if split is not None:
        _shard_splits(source, out, recipe, overwrite, append)
        return
    with ShardProgress() as progress:
        summary = shard_dataset(
            source,
            out,
            recipe.shard,
            recipe.run,
            overwrite=overwrite,
            append=append,
            progress=progress.shard_done,
        )
    print_shards(summary.to_dict())


def _shard_splits(source: str, out: str, recipe: Any, overwrite: bool, append: bool) -> None:
    """Write a set of shards for each split: a conversion of the accepted records, by what the recipe says of shards."""
    from llaso_data.pipeline.convert.run import convert
    from llaso_data.pipeline.convert.show import ConvertProgress, print_summary
    from llaso_data.recipe import SourceSpec

    of_shards = {
        "to": "shards",
        "text": "clean",
        "audio": recipe.shard.audio,
        "samples_per_part": recipe.shard.samples_per_shard,
        "seed": recipe.shard.seed,
    }
    converting = recipe.convert.model_copy(update=of_shards)
    recipe = recipe.model_copy(update={"sources": (SourceSpec(path=source),), "out": out, "convert": converting})
    with ConvertProgress() as progress:
        summary = convert(
            recipe, overwrite=overwrite, append=append, progress=progress.part_done, started=progress.start
        )
    print_summary(summary)


def refuse_both(overwrite: bool, append: bool) -> None:
    """Refuse two options of which one would be ignored."""
    if overwrite and append:
        raise click.UsageError("--overwrite and --append exclude each other")


def shares(text: str) -> dict[str, float]:
    """``train=0.98,test=0.02`` as a mapping. Raises LLaSOError where it is none."""
    try:
        pairs = [piece.split("=") for piece in text.split(",")]
        return {name.strip(): float(share) for name, share in pairs}
    except ValueError:
        raise LLaSOError(f"--split {text}: write shares, such as train=0.98,validation=0.01,test=0.01") from None


def _share(text: str | None) -> float | None:
    """``0.1`` or ``10%`` as a number."""
    if text is None:
        return None
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise LLaSOError(f"--max-failures {text}: not a share such as 0.1 or 10%") from None


def load_recipe(machine: dict[str, Any], options: dict[str, Any], base: dict[str, Any] | None = None) -> Any:
    """The recipe that the options of :func:`machine_options` name, with what other options say.

    Args:
        machine: Their values.
        options: Values by dotted key that win over the recipe's.
        base: Nested values that count less than the recipe's.
    """
    from llaso_data.pipeline.load_recipe import load

    options = {
        **options,
        "run.engine": machine["engine"],
        "run.address": machine["address"],
        "run.num_workers": machine["num_workers"],
    }
    name = machine["recipe_path"]
    path = None if name is None else recipe_path(click.get_current_context().info_name or "", name)
    return load(path, machine["overrides"], base, options)
