"""What ``llaso-data`` and ``llaso-model`` share: how commands end, and options that name entries of tables."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from llaso_data import extras
from llaso_data.errors import LLaSOError
from llaso_data.io import interrupts
from llaso_data.uris import masked


def explained(*places: str) -> str:
    """The end of a program's help: what may be given for the words in capitals that name places."""
    words = f"{', '.join(places[:-1])} and {places[-1]}"
    return (
        f"{words} are each a path on this machine or an address such as s3://bucket/folder. FOLDER is a path on this "
        "machine. COMMAND --help explains a command."
    )


def fail(message: str) -> None:
    """End with exit code 1: the command ran, and its result is bad. Exit code 2 means that it could not run.

    Args:
        message: What is bad, for the user. The name of the program is put before it.
    """
    context = click.get_current_context()
    click.echo(f"{context.find_root().command.name}: {message}", err=True)
    context.exit(1)


@contextmanager
def uncollected() -> Iterator[None]:
    """For a command's imports: the garbage collector does not run meanwhile, and leaves alone what was made.

    Modules stay for good, and looking through them takes a tenth of the time of their import.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


class TableChoice(click.Choice):  # type: ignore[type-arg]  # generic from click 8.2 on
    """An option that names an entry of a table. The table is read when the option is used or explained, not before."""

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        """Make one of a function that gives the names; it may import heavy packages."""
        self._names = names
        super().__init__([])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name as it is. ``NAME:KIND`` is taken where there is such a name; whoever uses it checks the kind."""
        base, colon, kind = value.partition(":") if isinstance(value, str) else ("", "", "")
        if colon and kind and base in self.choices:
            return value
        return super().convert(value, param, ctx)

    @property
    def choices(self) -> tuple[str, ...]:
        """The names of the table."""
        return tuple(self._names())

    @choices.setter
    def choices(self, choices: object) -> None:
        """Ignore the choices that click sets; the table has them."""


class Commands(click.Group):
    """A group of commands. Errors are one message, with a traceback only after ``--debug``; no help is cut."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run as the program of this process. What is still there at its end goes with it, without a collection."""
        try:
            return super().__call__(*args, **options)
        finally:
            gc.freeze()

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are defined, which is that of the work."""
        return list(self.commands)

    def summary(self, ctx: click.Context, name: str) -> str:
        """What ``--help`` says of a command: the first sentence of its docstring, whole."""
        command = self.get_command(ctx, name)
        sentence = "" if command is None else " ".join((command.help or "").partition("\n\n")[0].split())
        return sentence.partition(". ")[0].rstrip(".") + "."

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A line or several for each command; click itself would cut sentences to one line."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summary(ctx, name)) for name in self.list_commands(ctx)])

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command. After a signal the exit code is 128 plus its number, where click alone may give 1."""
        try:
            interrupts.listen()
            return super().main(*args, **options)
        except (KeyboardInterrupt, SystemExit) as error:
            if not interrupts.caught() or (isinstance(error, SystemExit) and error.code in (0, None)):
                raise
            interrupts.end_at_once()
            sys.exit(interrupts.exit_code())

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand. SIGTERM ends it as Ctrl-C does: workers stop, temporary files go, a message is printed."""
        try:
            return self._invoke(ctx)
        except BaseException as error:
            # A library may have turned the interrupt into an error of its own.
            if not interrupts.caught() and not isinstance(error, KeyboardInterrupt):
                raise
            interrupts.end_at_once()
            click.echo(f"{self.name}: stopped; what is finished is kept, the same command goes on from there", err=True)
            ctx.exit(interrupts.exit_code())

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LLaSOError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"{self.name}: {error}", err=True)
            ctx.exit(2)
        except ImportError as error:
            missing_package = extras.missing(error)
            if missing_package is None or ctx.params.get("debug"):
                raise
            click.echo(f"{self.name}: {missing_package}", err=True)
            ctx.exit(2)
        except OSError as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            click.echo(f"{self.name}: {masked(str(error))}; {self.name} --debug … shows where", err=True)
            ctx.exit(2)
