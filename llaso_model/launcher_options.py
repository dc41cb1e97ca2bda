"""The options of commands that run in several processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def launcher_options(command: F) -> F:
    """Gives a command ``--launcher``, ``--num-workers`` and ``--address``, which say who starts its processes."""
    for option in reversed(
        [
            click.option(
                "--launcher",
                type=click.Choice(["none", "ray"]),
                default="none",
                show_default=True,
                help="What starts the processes. With torchrun: none.",
            ),
            click.option(
                "--num-workers",
                type=int,
                default=1,
                show_default=True,
                help="Processes of --launcher ray, one for each GPU.",
            ),
            click.option("--address", metavar="ADDRESS", help="Join a Ray cluster: auto or ray://host:10001."),
        ]
    ):
        command = option(command)
    return command
