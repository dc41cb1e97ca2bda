"""The command ``llaso-model``. A subcommand is a line in :data:`COMMANDS`; its module is imported when it is called.

So ``--help`` is instant, and adding a command touches no other one.
"""

from __future__ import annotations

import importlib
import signal
from typing import Any

import click

from llaso_data import __version__, stopping
from llaso_data.errors import LLaSOError

COMMANDS: dict[str, tuple[str, str]] = {
    "score": ("llaso_model.evaluate.commands:score", "Score existing predictions; no model is needed."),
    "report": ("llaso_model.evaluate.commands:report", "Make one HTML page and JSON of scores."),
    "rate": ("llaso_model.evaluate.commands:rate", "Let people rate answers blindly in the browser."),
}
"""Name: (module and attribute of the click command, what ``--help`` says of it)."""


class _Group(click.Group):
    """Imports a command when it is called; prints our own errors as one message, without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, said) for name, (_, said) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """SIGTERM ends a run as Ctrl-C does, with a message."""
        stopping.listen()
        try:
            return super().invoke(ctx)
        except (LLaSOError, OSError) as error:
            if ctx.params.get("debug") or isinstance(error, BrokenPipeError):
                raise
            more = "" if isinstance(error, LLaSOError) else "; llaso-model --debug … shows where"
            click.echo(f"llaso-model: {error}{more}", err=True)
            ctx.exit(2)
        except ModuleNotFoundError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"llaso-model: {error.name} is not installed; pip install 'llaso[evaluate]' brings it", err=True)
            ctx.exit(2)
        except BaseException as error:
            # A library may have made an error of its own of the interrupt that broke into it.
            if not stopping.caught() and not isinstance(error, KeyboardInterrupt):
                raise
            click.echo("llaso-model: stopped", err=True)
            ctx.exit(128 + (stopping.caught() or signal.SIGINT))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="llaso-model")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def main(debug: bool) -> None:
    """Train, evaluate and compare speech-language models."""
