"""The commands to start with: ``llaso-data demo`` and ``recipes``."""

from __future__ import annotations

import click

from llaso_data.shipped import listing, text_of


@click.command()
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


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
def recipes(name: str | None) -> None:
    """List the recipes that ship with LLaSO, or print one."""
    commands = ("build-align", "shard")
    click.echo(listing(*commands) if name is None else text_of(name, *commands), nl=name is None)
