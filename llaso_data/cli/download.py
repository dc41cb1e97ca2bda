"""The command ``llaso-data download``."""

from __future__ import annotations

from typing import Any

import click

from llaso_data.commands import fail


@click.command()
@click.argument("repo", metavar="REPO")
@click.option("--out", metavar="URI", help="Folder to write to. The same command continues a killed run.")
@click.option("--include", multiple=True, metavar="PATTERN", help="Only files whose path matches: data/*.zip.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="No files whose path matches.")
@click.option("--revision", metavar="NAME", help="A branch, tag or commit. Default: the main branch.")
@click.option("--repo-type", type=click.Choice(["dataset", "model"]), help="What OWNER/NAME is. Default: dataset.")
@click.option("--workers", type=click.IntRange(1, 64), help="Files that come at the same time. Default: 8.")
@click.option("--overwrite", is_flag=True, help="Replace files in --out that have other content.")
@click.option("--verify", is_flag=True, help="Compare all files in --out, also those that were compared before.")
@click.option("--dry-run", is_flag=True, help="Print how much there is, and what of it is there already.")
@click.option("--links", metavar="FILE", help="Write addresses and sums for aria2c instead; - prints them.")
def download(
    repo: str,
    out: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    revision: str | None,
    repo_type: str | None,
    workers: int | None,
    overwrite: bool,
    verify: bool,
    dry_run: bool,
    links: str | None,
) -> None:
    """Download a repository of a hub, and compare the sum of every file.

    REPO is OWNER/NAME on the Hugging Face hub, hf://datasets/OWNER/NAME or ms://OWNER/NAME (ModelScope), with
    @REVISION and /FOLDER where wanted.
    """
    from llaso_data.pipeline.download.plan import address

    if out is None and not (dry_run or links):
        raise click.UsageError("Missing option '--out': where to?")
    uri = address(repo, repo_type or "dataset", revision)
    if dry_run or links:
        _look(uri, out, include, exclude, verify, links if not dry_run else None)
        return
    from llaso_data.pipeline.download.run import WORKERS
    from llaso_data.pipeline.download.run import download as run
    from llaso_data.pipeline.download.show import DownloadProgress, print_summary

    options: dict[str, Any] = {"include": include, "exclude": exclude, "overwrite": overwrite, "verify": verify}
    with DownloadProgress() as progress:
        summary = run(
            uri, str(out), **options, workers=workers or WORKERS, started=progress.start, progress=progress.moved
        )
    print_summary(summary)
    if summary.failed:
        fail(f"{len(summary.failed)} of {summary.files} files failed; the same command tries them again")


def _look(
    uri: str, out: str | None, include: tuple[str, ...], exclude: tuple[str, ...], verify: bool, links: str | None
) -> None:
    """What a download would do, or addresses for another program; --out stays as it is."""
    from llaso_data.io import outputs, storage
    from llaso_data.io.hub_requests import Traffic
    from llaso_data.pipeline.download import licence
    from llaso_data.pipeline.download.folder import Notes
    from llaso_data.pipeline.download.links import aria2_input, is_aria2_input
    from llaso_data.pipeline.download.plan import plan, wanted
    from llaso_data.pipeline.download.show import print_dry_run

    traffic = Traffic()
    chosen = wanted(uri, include, exclude, traffic)
    place = None if out is None else storage.absolute(out)
    seen = None if place is None else plan(chosen, place, Notes(place), verify)
    if links is None:
        print_dry_run(chosen, seen, licence.stated(chosen.tree, traffic))
        return
    text = "".join(f"{line}\n" for line in aria2_input(chosen.tree, chosen.files if seen is None else seen.to_fetch))
    if links == "-":
        click.echo(text, nl=False)
    else:
        outputs.refuse(links, "llaso-data download --links", is_aria2_input, "--links")
        storage.write_bytes(storage.absolute(links), text.encode())
        click.echo(f"written to {links}", err=True)
