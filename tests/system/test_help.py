"""What ``--help`` says: whole sentences, one word for one thing, at once."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

import llaso_data.cli
import llaso_model.cli
from llaso_data.formats import LAYOUTS
from tests.llaso_data.test_cli import HEAVY, environment

PROGRAMS = {"llaso-data": llaso_data.cli.main, "llaso-model": llaso_model.cli.main}
METAVARS = {
    "ADDRESS", "ALIGN", "BUDGET", "CODE", "CONDITION", "FIELD=TEMPLATE", "FILE", "FOLDER", "HOST", "JUDGE", "KEY=VALUE",
    "ENGINE", "LOW:HIGH:STEP", "MIX", "MIXTURE", "MODEL", "NAME", "NOISE", "PATTERN", "PREDICTIONS", "RECIPE", "REPO",
    "AUDIO", "SCORES", "SHARDS", "SHARE", "SHARES", "SIZE", "SOURCE", "TARS", "TASK",
    "RUN", "TEXT", "URI",
}  # fmt: skip
FOLDERS_AND_FILES = {
    "--export": "FILE", "--figure": "FILE", "--import": "FILE", "--tasks": "FILE", "--audio": "FOLDER",
    "--data": ("SHARDS", "SOURCE"), "--validation": "SHARDS", "--language": "CODE", "--set": ("KEY=VALUE", "NAME"),
    "--budget": "BUDGET", "--address": "ADDRESS", "--title": "TEXT", "--recipe": "RECIPE", "--config": "RECIPE",
}  # fmt: skip


def commands() -> Iterator[tuple[str, str, click.Command]]:
    for program, group in PROGRAMS.items():
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield program, name, command


def described(command: click.Command) -> Iterator[tuple[str, str]]:
    """The texts of a command and its options, each with a name for messages."""
    yield "", command.help or ""
    for option in command.params:
        if isinstance(option, click.Option):
            yield option.opts[0], option.help or ""


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_sentence_is_cut(width: int) -> None:
    for program, group in PROGRAMS.items():
        listed = CliRunner().invoke(group, ["--help"], terminal_width=width).output
        assert "..." not in listed.replace("[ARGS]...", "") and "…" not in listed
        for _, name, command in (one for one in commands() if one[0] == program):
            summary = group.summary(click.Context(group), name)
            assert summary in " ".join(listed.split()), (program, name)
            if program == "llaso-model":
                assert " ".join((command.help or "").split()).startswith(summary)


def test_every_option_is_explained_in_sentences() -> None:
    for program, name, command in commands():
        for option, text in described(command):
            sentence = text.strip().partition("  [")[0]
            assert re.match(r"[A-Z0-9`]", sentence) and sentence.endswith("."), (program, name, option, text)
            assert not re.search(r"; default|\be\.g\.|…", sentence), (program, name, option, text)


def test_a_metavar_is_one_word_for_one_thing() -> None:
    for program, name, command in commands():
        for option in command.params:
            words = re.findall(r"[A-Za-z:=|]+", option.metavar or "")
            assert (option.metavar or "").startswith("[NAME=]") or set(words) <= METAVARS, (program, name, words)
            known = FOLDERS_AND_FILES.get(option.opts[0])
            if isinstance(option, click.Option) and known is not None and not isinstance(option.type, click.Choice):
                assert option.metavar in known if isinstance(known, tuple) else option.metavar == known, (name, option)


def test_layouts_are_listed_without_being_imported() -> None:
    code = (
        "import sys, llaso_data.cli.build; print(llaso_data.cli.build.layouts(), 'llaso_data.formats' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == f"{LAYOUTS.choices()} False"


def test_help_imports_nothing_heavy() -> None:
    """So every command's answers in a fraction of a second, whatever the machine does meanwhile."""
    code = (
        "import sys\n"
        "from importlib import import_module\n"
        "program, *words = sys.argv[1:]\n"
        "try: import_module(program).main([*words, '--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {(*HEAVY, 'llaso_data.formats')!r} if name in sys.modules], file=sys.stderr)\n"
    )
    for program, name in [
        ("data", "build-align"),
        ("model", "train"),
        ("model", "score"),
    ]:
        ran = subprocess.run(
            [sys.executable, "-c", code, f"llaso_{program}.cli", name],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Usage:" in ran.stdout and ran.stderr.strip() == "[]", (program, name, ran.stderr)
