"""What the commands ``llaso-data`` and ``llaso-model`` share: how they end, and options that name entries of tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from llaso_data import extras
from llaso_data.errors import LLaSOError
from llaso_data.io import interrupts
from llaso_data.uris import masked


class TableChoice(click.Choice):  # type: ignore[type-arg]  # generic from click 8.2 on
    """An option that names an entry of a table. The table is asked when the option is used or explained, not before."""

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        """``names`` gives the names that may be chosen; it may import what is heavy."""
        self._names = names
        super().__init__([])

    @property
    def choices(self) -> tuple[str, ...]:
        """The names of the table."""
        return tuple(self._names())

    @choices.setter
    def choices(self, choices: object) -> None:
        """Click sets what it was made with; the table decides."""


class Commands(click.Group):
    """Our own errors are printed as one message, without a traceback unless ``--debug``."""

    def main(self, *args: Any, **options: Any) -> Any:
        """A signal's exit code is 128 and its number, however many came and wherever: click says 1 of some."""
        try:
            interrupts.listen()
            return super().main(*args, **options)
        except (KeyboardInterrupt, SystemExit) as error:
            if not interrupts.caught() or (isinstance(error, SystemExit) and error.code in (0, None)):
                raise
            interrupts.end_at_once()
            sys.exit(interrupts.exit_code())

    def invoke(self, ctx: click.Context) -> Any:
        """SIGTERM ends a run as Ctrl-C does: workers stopped, temporary files removed, a message."""
        try:
            return self._invoke(ctx)
        except BaseException as error:
            # A library may have made an error of its own of the interrupt that broke into it.
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
            told = extras.missing(error)
            if told is None or ctx.params.get("debug"):
                raise
            click.echo(f"{self.name}: {told}", err=True)
            ctx.exit(2)
        except OSError as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            click.echo(f"{self.name}: {masked(str(error))}; {self.name} --debug … shows where", err=True)
            ctx.exit(2)
