"""The command that shows tasks: ``llaso-data tasks``."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--check", "path", metavar="FILE", help="Check tasks of your own, and show instructions of them.")
@click.option("--count", default=3, show_default=True, help="Number of instructions in each language that are shown.")
def tasks(name: str | None, path: str | None, count: int) -> None:
    """List the tasks of instruction data and what they need, or show one.

    Of a task, or of those of a file, instructions of rows that are made up are shown.
    """
    from llaso_data.errors import LLaSOError
    from llaso_data.instruct import lint, listing
    from llaso_data.instruct.tasks import all_tasks

    known = all_tasks()
    declared = lint.load(path) if path else known
    own = [one for one in declared.build if one not in known.build]
    if name is not None and name not in declared.build:
        raise LLaSOError(f"there is no task {name}; there are {', '.join(declared.build)}")
    shown = [name] if name else own
    for one in shown or declared.build:
        build = declared.build[one]
        click.echo(f"{one}: {declared.tasks[one].title}")
        click.echo(f"  needs      {', '.join(listing.needs_of(build))}")
        click.echo(f"  answers    {listing.answer_of(declared, one)}")
        click.echo(f"  asked as   {', '.join(build.modalities)}")
        for example in listing.examples_of(declared, one, count) if one in shown else ():
            answer = "(audio)" if example.answer is None else example.answer
            text = example.text.replace("\n", "\n    ")
            click.echo(f"\n  {example.template}\n    {text}\n    → {answer}")
    if path:
        click.echo(f"\n{path}: no problems")
