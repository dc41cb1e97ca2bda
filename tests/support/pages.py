"""The files and commands that a page of the documentation shows, for tests that follow it from top to bottom.

A fenced block with a title (```` ```csv title="calls.csv" ````) is a file, and is written under that name. A block
without a language that begins with one of our programs holds commands, a line each; ``\\`` goes on in the next line. A
block of Python is a program. Other blocks are only read.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from llaso_data import cli as data_cli
from llaso_model import cli as model_cli
from tests.support.paths import REPOSITORY

DOCS = REPOSITORY / "docs"
PROGRAMS = {"llaso-data": data_cli.main, "llaso-model": model_cli.main}
_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r'title="([^"]+)"')
_WITH_ENGINE = ("build-align", "shard", "convert")


@dataclass(frozen=True, slots=True)
class Step:
    """What a reader of a page does next: ``file`` (its name and text), ``command`` or ``python``."""

    kind: str
    text: str
    name: str = ""


def steps(page: Path) -> Iterator[Step]:
    """The steps of a page in its order."""
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        info, text = match[1].strip(), match[2]
        if title := _TITLE.search(info):
            yield Step("file", text, title[1])
        elif info == "python":
            yield Step("python", text)
        elif not info and text.split(maxsplit=1)[0] in PROGRAMS:
            for line in text.replace("\\\n", " ").splitlines():
                if line.strip():
                    yield Step("command", line)


def follow(page: Path, before: dict[str, Callable[[], None]] | None = None, home: str | None = None) -> list[str]:
    """Do what a page says in the current folder, within this process and with the local engine.

    Args:
        page: The page.
        before: What happens before the first command that contains a text.
        home: What files of the page call the current folder.

    Returns:
        What each command wrote to its standard output.
    """
    waiting = dict(before or {})
    outputs: list[str] = []
    for step in steps(page):
        if step.kind == "file":
            write(step, Path.cwd(), home)
            continue
        assert step.kind == "command", f"{page.name}: only follow_as_written runs {step.kind}"
        for text in [text for text in waiting if text in step.text]:
            waiting.pop(text)()
        program, *arguments = shlex.split(step.text, comments=True)
        if arguments[0] in _WITH_ENGINE and "--engine" not in arguments and "--dry-run" not in arguments:
            arguments += ["--engine", "local"]
        done = CliRunner().invoke(PROGRAMS[program], arguments)
        assert done.exit_code == 0, f"{page.name}: {step.text}\n{done.output}\n{done.exception!r}"
        outputs.append(done.stdout)
    assert not waiting, f"{page.name} has no command with {', '.join(waiting)}"
    return outputs


def follow_as_written(page: Path, folder: Path) -> list[str]:
    """Do what a page says in a folder as a person would: every command, and every program, in a process of its own."""
    outputs: list[str] = []
    for step in steps(page):
        if step.kind == "file":
            write(step, folder)
            continue
        words = shlex.split(step.text, comments=True)
        if step.kind == "command":
            command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
        else:
            command = [sys.executable, "-c", step.text]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{page.name}: {step.text}\n{done.stdout}\n{done.stderr}"
        outputs.append(done.stdout)
    return outputs


def write(step: Step, folder: Path, home: str | None = None) -> None:
    """Write a file that a page shows; the page may call the folder by another name."""
    path = folder / step.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(step.text if home is None else step.text.replace(home, str(folder)), encoding="utf-8")
