"""The commands that read shards: ``llaso-data validate``, ``stats`` and ``index``."""

from __future__ import annotations

from typing import Any

import click

from llaso_data.cli.build import layouts
from llaso_data.commands import TableChoice, fail


@click.command()
@click.argument("uri", metavar="URI")
def validate(uri: str) -> None:
    """Read every byte of shards, or every row and sound of your own JSON.

    Of shards, tars, checksums, counts, the schema and the audio are checked. Of JSON with messages and audios (a file,
    or a folder of files), the schema, tags, paths, languages, tasks and the audio are checked.
    """
    from llaso_data.pipeline.check_messages import check_messages, holds_messages
    from llaso_data.pipeline.progress import print_report
    from llaso_data.shards.validate import validate as check_shards

    report = check_messages(uri) if holds_messages(uri) else check_shards(uri)
    print_report(report.to_dict())
    if not report.ok:
        fail(f"{uri}: {len(report.problems)} problems")


@click.command()
@click.argument("uri", metavar="SHARDS")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(uri: str, as_json: bool) -> None:
    """Count hours, languages, durations and speakers of shards."""
    from llaso_data.shards.stats import stats as measure

    _show_stats(measure(uri).to_dict(), as_json)


@click.command()
@click.argument("uri", metavar="TARS")
@click.option("--out", metavar="URI", help="Folder for the index. Default: beside the tars.")
@click.option("--language", metavar="CODE", help="Language of samples whose JSON names none.")
@click.option("--task", metavar="NAME", help="Task of samples whose JSON names none.")
@click.option("--strict", is_flag=True, help="Refuse tars of which anything cannot be read, and name it.")
@click.option(
    "--layout",
    type=TableChoice(layouts),
    help="Layout of a set in tars, zips or tables: nemo_tarred, shar, hf_parquet. Default: WebDataset tars.",
)
@click.option("--checksums", is_flag=True, help="With --layout: read all audio, and store its checksums.")
@click.option("--num-workers", type=int, help="With --layout: number of worker processes. Default: 1.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all names.")
def index(
    uri: str, as_json: bool, layout: str | None, checksums: bool, num_workers: int | None, **options: Any
) -> None:
    """Index sets that were made elsewhere, so that they are streamed where they lie.

    TARS is a folder of WebDataset tars, or with --layout another set in tars, zips or tables. No audio is copied.
    """
    if layout in (None, "webdataset"):
        from llaso_data.shards.foreign import index_foreign

        _show_stats(index_foreign(uri, **options).to_dict(), as_json)
        return
    from llaso_data.pipeline.index_in_place import index_in_place
    from llaso_data.recipe import Run, SourceSpec

    if options["task"] or options["strict"]:
        raise click.UsageError("--task and --strict are for WebDataset tars; the layout says what a sample is")
    spec = SourceSpec(path=uri, type=layout, language=options["language"])
    run = Run(engine="local", num_workers=num_workers)
    summary = index_in_place(spec, options["out"], run=run, sums=checksums).to_dict()
    if not as_json:
        problems, notes = summary.pop("problems"), summary.pop("notes")
        examples = [detail for details in summary.pop("examples").values() for detail in details[:3]]
        summary |= {"not indexed": problems} if problems else {}
        del summary["layout"]
        for line in (*(f"{note} ({count:,})" for note, count in notes.items()), *examples):
            click.echo(line, err=True)
    _show_stats(summary, as_json)


@click.command()
@click.argument("uri", metavar="SHARDS")
@click.option("--speaker", "speakers", multiple=True, metavar="NAME", help="Id of a speaker. May be repeated.")
@click.option(
    "--list",
    "names",
    metavar="FILE",
    help="Ids of utterances, keys of samples or addresses of recordings, a line each.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def remove(uri: str, speakers: tuple[str, ...], names: str | None, as_json: bool) -> None:
    """Take speakers or recordings out of shards, and prove that nothing of them is left.

    The samples leave the index at once. The shards that hold them are written anew without them.
    """
    from llaso_data.shards.removal import Removed, listed
    from llaso_data.shards.removal import remove as run

    named = listed(names) if names else frozenset[str]()
    _show_stats(run(uri, Removed(speakers=frozenset(speakers), names=named)).to_dict(), as_json)


def _show_stats(values: dict[str, Any], as_json: bool) -> None:
    import json

    from llaso_data.pipeline.progress import print_stats

    if as_json:
        click.echo(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        print_stats(values)
