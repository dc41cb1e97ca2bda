"""The command ``llaso-data push``."""

from __future__ import annotations

import click


@click.command()
@click.argument("uri", metavar="SHARDS")
@click.argument("repo", metavar="REPO")
@click.option("--revision", metavar="NAME", default="main", show_default=True, help="Branch to publish to.")
@click.option("--public/--private", default=None, help="Who may see it. Default: as it is; a new one is private.")
@click.option("--message", metavar="TEXT", help="Message of the commits.")
@click.option("--card", metavar="FILE", help="Card to begin with. Default: README.md of SHARDS or of the repository.")
@click.option("--contact", metavar="TEXT", help="Whom the card names for removals. Default: the discussions.")
@click.option("--overwrite", is_flag=True, help="Replace other files of the same names, and other sets.")
@click.option("--dry-run", is_flag=True, help="Print the card and what would be sent. Nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def push(
    uri: str,
    repo: str,
    revision: str,
    public: bool | None,
    message: str | None,
    card: str | None,
    contact: str | None,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish shards as a dataset on the Hugging Face hub, with a card.

    REPO is OWNER/NAME. SHARDS is a set, or a folder of sets such as `convert --split` and `--group-by` write. Files
    that the repository has already are not sent again. Those of an earlier push that are gone from the set are removed.
    """
    import json

    from llaso_data.publish import push as publisher
    from llaso_data.publish import show

    if message is not None and not message.strip():
        raise click.UsageError("--message: a text is expected")
    options = publisher.PushOptions(
        revision=revision, public=public, message=message, card=card, contact=contact, overwrite=overwrite
    )
    if dry_run:
        decision = publisher.preview(uri, repo, options)
        if as_json:
            click.echo(json.dumps(decision.to_dict(), indent=2, ensure_ascii=False))
        else:
            show.print_preview(decision, repo)
        return
    with show.PushProgress() as progress:
        summary = publisher.push(uri, repo, options, progress.sent)
    if as_json:
        click.echo(json.dumps(summary.to_dict(), indent=2, ensure_ascii=False))
    else:
        show.print_summary(summary)
