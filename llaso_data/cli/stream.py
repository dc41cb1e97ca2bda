"""The command that simulates training on shards: ``llaso-data plan``."""

from __future__ import annotations

from typing import Any

import click


@click.command()
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
