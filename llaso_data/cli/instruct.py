"""The command ``llaso-data build-instruct``."""

from __future__ import annotations

from typing import Any

import click

from llaso_data.cli.build import layouts, load_recipe, machine_options, shares
from llaso_data.cli.convert import field_map
from llaso_data.commands import TableChoice, uncollected
from llaso_data.errors import LLaSOError


@click.command("build-instruct")
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--out", metavar="URI", help="Folder to write to. The same command continues a killed run.")
@click.option("--to", metavar="NAME", help="What is written: shards, samples, or a layout. Default: shards.")
@click.option("--from", "layout", type=TableChoice(layouts), help="Layout of the sources. Default: auto.")
@click.option("--language", metavar="CODE", help="The language of all sources, where they have one: en, hsb, nan-TW.")
@click.option("--corpus", metavar="NAME", help="Name of the corpus in the records. Default: the last part of SOURCE.")
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="FIELD=TEMPLATE",
    help="A label or text that a task needs, of a column: emotion=mood.",
)
@click.option("--task", "task_files", multiple=True, metavar="FILE", help="Tasks of your own. May be repeated.")
@click.option("--only", "only", multiple=True, metavar="TASK", help="Ask this task alone. May be repeated.")
@click.option(
    "--mix",
    metavar="MIX",
    help="How many of each task: natural, balanced, or asr=2,paralinguistic=1. Default: natural.",
)
@click.option("--samples", type=int, help="How many samples. Default: as many as the mix allows.")
@click.option("--limit", type=int, help="Read only the first rows of each source.")
@click.option("--split", metavar="SHARES", help="Write splits to folders: train=0.98,validation=0.01,test=0.01.")
@click.option(
    "--by",
    type=click.Choice(["speaker_and_text", "speaker", "recording", "text"]),
    help="What splits do not share. Default: speaker_and_text.",
)
@click.option(
    "--against",
    "against",
    multiple=True,
    metavar="SOURCE",
    help="A set that models are tested on; with --eval the training set. May be repeated.",
)
@click.option("--refuse-leaks", is_flag=True, help="End with an error where anything leaks; else it is left out.")
@click.option("--voice", "voices", multiple=True, metavar="ENGINE", help="An engine that speaks: hibari, kokoro.")
@click.option("--asr", metavar="MODEL", help="The Whisper that listens back: an id on Hugging Face, or a folder.")
@click.option("--estimated", is_flag=True, help="Ask for labels that a model estimated, too.")
@click.option("--audio", type=click.Choice(["keep", "flac", "wav", "opus"]), help="Format of the audio. Default: flac.")
@click.option("--samples-per-part", type=int, help="Samples in each shard or part. Default: 1000.")
@click.option("--seed", type=int, help="Seed of every draw. Default: 0.")
@click.option("--eval", "test", is_flag=True, help="A test set: the test split, and what is held out, in four layers.")
@click.option("--overwrite", is_flag=True, help="Replace older instruction data in --out.")
@click.option("--dry-run", is_flag=True, help="Read the first rows, and print which tasks they can feed.")
@click.option("--check", is_flag=True, help="Read all rows, and print which tasks they can feed. Nothing is written.")
@machine_options
def build_instruct(
    sources: tuple[str, ...],
    out: str | None,
    to: str | None,
    layout: str | None,
    language: str | None,
    corpus: str | None,
    maps: tuple[str, ...],
    task_files: tuple[str, ...],
    only: tuple[str, ...],
    mix: str | None,
    samples: int | None,
    limit: int | None,
    split: str | None,
    by: str | None,
    against: tuple[str, ...],
    refuse_leaks: bool,
    voices: tuple[str, ...],
    asr: str | None,
    estimated: bool,
    audio: str | None,
    samples_per_part: int | None,
    seed: int | None,
    test: bool,
    overwrite: bool,
    dry_run: bool,
    check: bool,
    **machine: Any,
) -> None:
    """Build instruction data of recordings, labels and texts: many tasks, written and spoken instructions.

    SOURCE is the output of build-align, shards, a corpus in any layout, or a set of texts: questions and answers,
    instructions, translations.
    """
    stated: dict[str, Any] = {"language": language, "corpus": corpus, "type": layout, "limit": limit}
    stated |= {"map": field_map(maps) or None}
    entries = [
        {"path": path, **{name: value for name, value in stated.items() if value is not None}} for path in sources
    ]
    settings: dict[str, Any] = {
        "sources": entries or None,
        "out": out,
        "instruct.to": to,
        "instruct.task_files": list(task_files) or None,
        "instruct.tasks": list(only) or None,
        "instruct.mix": _mix(mix),
        "instruct.samples": samples,
        "instruct.split": None if split is None else shares(split),
        "instruct.by": by,
        "instruct.leakage.against": list(against) or None,
        "instruct.leakage.found": "refuse" if refuse_leaks else None,
        "instruct.estimated": estimated or None,
        "instruct.audio": audio,
        "instruct.samples_per_part": samples_per_part,
        "instruct.seed": seed,
        "voices.engines": {name: {} for name in voices} or None,
        "observe.asr.model": asr,
    }
    with uncollected():
        recipe = load_recipe(machine, settings)
    if test and recipe.instruct.eval is None:
        from llaso_data.recipe import EvalSet

        recipe = recipe.model_copy(update={"instruct": recipe.instruct.model_copy(update={"eval": EvalSet()})})
    if dry_run or check:
        from llaso_data.pipeline.instruct.preview import preview
        from llaso_data.pipeline.instruct.show import print_preview

        print_preview(preview(recipe, whole=check))
        return
    if recipe.out is None:
        raise LLaSOError("name the folder to write to with --out")
    from llaso_data.pipeline.convert.show import warn_of_estimates
    from llaso_data.pipeline.instruct.progress import ShownProgress
    from llaso_data.pipeline.instruct.run import build_instruct as run
    from llaso_data.pipeline.instruct.show import print_summary

    with ShownProgress() as progress:
        summary = run(recipe, overwrite=overwrite, progress=progress)
    print_summary(summary)
    warn_of_estimates(summary.not_carried, summary.to)


def _mix(text: str | None) -> str | dict[str, float] | None:
    """``natural``, ``balanced``, or weights. Raises LLaSOError where it is none of them."""
    if text is None or text in ("natural", "balanced"):
        return text
    try:
        pairs = [piece.split("=") for piece in text.split(",")]
        return {name.strip(): float(weight) for name, weight in pairs}
    except ValueError:
        raise LLaSOError(f"--mix {text}: natural, balanced, or weights such as asr=2,paralinguistic=1") from None
