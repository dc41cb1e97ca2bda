"""The command ``llaso-data convert``."""

from __future__ import annotations

from typing import Any

import click

from llaso_data.cli.build import layouts, load_recipe, machine_options, refuse_both, shares
from llaso_data.commands import TableChoice, fail, uncollected
from llaso_data.errors import LLaSOError


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--out", metavar="URI", help="Folder to write to. The same command continues a killed run.")
@click.option("--to", metavar="NAME", help="What is written: shards, samples, or a layout. Default: shards.")
@click.option("--from", "layout", type=TableChoice(layouts), help="Layout of the sources. Default: auto.")
@click.option("--root", metavar="URI", help="Folder that {data_root} in tables of SpeechBrain stands for.")
@click.option("--language", metavar="CODE", help="The language of all sources, where they have one: en, hsb, nan-TW.")
@click.option("--corpus", metavar="NAME", help="Name of the corpus in the records. Default: the last part of SOURCE.")
@click.option(
    "--map", "maps", multiple=True, metavar="FIELD=TEMPLATE", help="A value made of columns: text={sentence}."
)
@click.option("--filter", "condition", metavar="CONDITION", help="Only samples for which it holds: duration_s < 20.")
@click.option("--text", type=click.Choice(["given", "clean", "hypotheses"]), help="Which transcripts. Default: given.")
@click.option(
    "--audio",
    type=click.Choice(["keep", "flac", "wav", "opus"]),
    help="Format of the audio. Default: flac, or keep where a layout points to files.",
)
@click.option("--split", metavar="SHARES", help="Write splits to folders: train=0.98,validation=0.01,test=0.01.")
@click.option("--by", type=click.Choice(["speaker", "recording", "text"]), help="What splits do not share.")
@click.option(
    "--estimated", is_flag=True, help="Split by estimated speakers, too; else by recording where nobody says."
)
@click.option(
    "--group-by",
    type=click.Choice(["parts", "split"]),
    help="Write samples of other kinds of parts apart, or those of each split that the source names.",
)
@click.option("--limit", type=int, help="Convert only the first samples of each source.")
@click.option("--samples-per-part", type=int, help="Samples in each shard or part. Default: 1000.")
@click.option("--seed", type=int, help="Seed of the order of samples and of their instructions. Default: 0.")
@click.option("--disk-budget", metavar="SIZE", help="What fetched archives may take of the disk: 100GB.")
@click.option("--scratch", metavar="FOLDER", help="Folder for fetched archives. Default: that of temporary files.")
@click.option("--overwrite", is_flag=True, help="Replace an older conversion in --out.")
@click.option("--append", is_flag=True, help="Add what is new to a finished conversion, as parts of its own.")
@click.option("--dry-run", is_flag=True, help="Read a few rows, and print what would become of them.")
@click.option("--check", is_flag=True, help="Read all rows, and print what would become of them. Nothing is written.")
@machine_options
def convert(
    sources: tuple[str, ...],
    out: str | None,
    to: str | None,
    layout: str | None,
    root: str | None,
    language: str | None,
    corpus: str | None,
    maps: tuple[str, ...],
    condition: str | None,
    text: str | None,
    audio: str | None,
    split: str | None,
    by: str | None,
    estimated: bool,
    group_by: str | None,
    limit: int | None,
    samples_per_part: int | None,
    seed: int | None,
    disk_budget: str | None,
    scratch: str | None,
    overwrite: bool,
    append: bool,
    dry_run: bool,
    check: bool,
    **machine: Any,
) -> None:
    """Convert any speech data to shards or to another layout, without a model.

    SOURCE is a corpus or conversations in any layout, the output of build-align, or shards.
    """
    refuse_both(overwrite, append)
    stated: dict[str, Any] = {"language": language, "corpus": corpus, "type": layout, "root": root}
    stated |= {"limit": limit, "map": field_map(maps) or None}
    entries = [
        {"path": path, **{name: value for name, value in stated.items() if value is not None}} for path in sources
    ]
    settings = {
        "sources": entries or None,
        "out": out,
        "convert.to": to,
        "convert.filter": condition,
        "convert.text": text,
        "convert.audio": audio,
        "convert.split": None if split is None else shares(split),
        "convert.by": by,
        "convert.estimated": estimated or None,
        "convert.group_by_parts": group_by == "parts" or None,
        "convert.group_by_split": group_by == "split" or None,
        "convert.samples_per_part": samples_per_part,
        "convert.seed": seed,
        "run.disk_budget": disk_budget,
        "run.scratch": scratch,
    }
    with uncollected():
        recipe = load_recipe(machine, settings)
        from llaso_data.pipeline.convert.run import convert as run
        from llaso_data.pipeline.convert.show import ConvertProgress, print_summary, warn_of_estimates
    if dry_run or check:
        _preview(recipe, whole=check)
        return

    with ConvertProgress() as progress:
        summary = run(recipe, overwrite=overwrite, append=append, progress=progress.part_done, started=progress.start)
    print_summary(summary)
    warn_of_estimates(summary.not_carried, summary.to)
    if summary.exit_code:
        fail(
            f"{len(summary.not_fetched)} archives could not be fetched; what is written is whole without them: run the "
            "same command again, and it adds them"
        )


def _preview(recipe: Any, whole: bool) -> None:
    from llaso_data.pipeline.convert.preview import preview
    from llaso_data.pipeline.convert.show import print_preview

    print_preview(preview(recipe, whole=whole))


def field_map(settings: tuple[str, ...]) -> dict[str, str]:
    """``FIELD=TEMPLATE`` as a mapping. Raises LLaSOError where there is no sign of equality."""
    pairs = [setting.partition("=") for setting in settings]
    wrong = [setting for setting, (_, sign, _) in zip(settings, pairs, strict=True) if not sign]
    if wrong:
        raise LLaSOError(f"--map {wrong[0]}: write FIELD=TEMPLATE, such as text={{sentence|trim}}")
    return {name.strip(): template for name, _, template in pairs}
