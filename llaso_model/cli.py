"""The command ``llaso-model``. A subcommand is a line in :data:`COMMANDS`; its module is imported when it is called.

So ``--help`` is instant, and a new command changes no other module.
"""

from __future__ import annotations

import importlib
import os

import click

from llaso_data import __version__
from llaso_data.commands import Commands, explained

# Threads that wait by spinning slow each other down where cores are shared. torch reads this when it is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("llaso_model.train.commands:train", "Train one stage from shards."),
    "recipes": ("llaso_model.train.commands:recipes", "List the training recipes that ship with LLaSO, or print one."),
    "fit": ("llaso_model.train.commands:fit", "Find the largest budget of a micro-batch that fits in memory."),
    "plot": ("llaso_model.train.commands:plot", "Draw the curves of runs."),
    "merge": ("llaso_model.train.commands:merge", "Write the whole model of a run, with its adapters folded in."),
    "export": ("llaso_model.export.commands:export", "Write a model in the format of another program."),
    "generate": ("llaso_model.answer.commands:generate", "Transcribe recordings with a model, or ask it about them."),
    "speak": ("llaso_model.voice.commands:speak", "Let a model answer aloud."),
    "serve": ("llaso_model.serve.commands:serve", "Serve a model at OpenAI's addresses."),
    "evaluate": ("llaso_model.evaluate.commands:evaluate", "Ask a model evaluation data, and score its answers."),
    "score": ("llaso_model.evaluate.commands:score", "Score existing predictions. No model is needed."),
    "report": ("llaso_model.evaluate.commands:report", "Make one HTML page, and JSON, of scores."),
    "rate": ("llaso_model.evaluate.commands:rate", "Let people rate answers blindly in the browser."),
    "demo": ("llaso_model.demo:demo", "Train for a few minutes on the shards of the demo."),
}
"""Name: (module and attribute of the click command, its line in ``--help``)."""


class _Table(Commands):
    """Imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def summary(self, ctx: click.Context, name: str) -> str:
        return COMMANDS[name][1]


@click.group(
    "llaso-model",
    cls=_Table,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=explained("AUDIO", "SHARDS", "SOURCE", "SCORES", "URI"),
)
@click.version_option(__version__, prog_name="llaso-model")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Train, evaluate and compare speech-language models."""


if __name__ == "__main__":
    main()
