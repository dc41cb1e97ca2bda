"""Signals: one ends a command tidily, and more of them change neither its exit code nor what it says."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.support.paths import REPOSITORY

SLOW_TO_END = """
import sys, time, click
from llaso_data.commands import Commands
@click.group("llaso-data", cls=Commands)
def main(): pass
@main.command()
def work():
    print("ready", flush=True)
    try:
        time.sleep(60)
    finally:
        print("tidying", flush=True)
        time.sleep(1.0)
main(["work"])
"""


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
@pytest.mark.parametrize("numbers", [[signal.SIGINT] * 2, [signal.SIGINT] * 50, [signal.SIGTERM, signal.SIGINT]])
def test_more_signals_change_nothing(numbers: list[signal.Signals], pause_s: float) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", SLOW_TO_END],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    for number in numbers:
        run.send_signal(number)
        time.sleep(pause_s)
    _, said = run.communicate(timeout=20)
    first = numbers[:1] if pause_s else numbers  # of signals that come together nobody knows which was first
    assert run.returncode in {128 + number for number in first}
    assert "Traceback" not in said and "Aborted" not in said
