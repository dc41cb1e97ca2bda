"""The command ``llaso-data``. Everything heavy is imported inside the commands, so ``--help`` is instant."""

from __future__ import annotations

import os
import sys

import click

from llaso_data import __version__
from llaso_data.cli import (
    build,
    calibrate,
    convert,
    demo,
    download,
    instruct,
    leakage,
    push,
    report,
    shards,
    stream,
    tasks,
)
from llaso_data.commands import Commands, explained


@click.group(
    "llaso-data",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=explained("SOURCE", "ALIGN", "SHARDS", "TARS", "MIXTURE", "URI"),
)
@click.version_option(__version__, prog_name="llaso-data")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Make training shards of speech."""
    # A recipe may name a stage in the current folder, which `python -m` would search too.
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


for _command in (
    download.download,
    build.build_align,
    calibrate.calibrate,
    build.shard,
    convert.convert,
    instruct.build_instruct,
    shards.validate,
    shards.stats,
    shards.index,
    shards.remove,
    leakage.leakage,
    push.push,
    stream.plan,
    report.card,
    report.audit,
    report.rejections,
    report.words,
    tasks.tasks,
    demo.demo,
    demo.recipes,
):
    main.add_command(_command)
