"""The real command in a process of its own, and what to do to it: for tests/system/test_kills.py."""

from __future__ import annotations

import functools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LONG_S = 600.0  # a run that takes longer hangs


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    session: int
    command: str


def processes() -> list[Process]:
    """All processes that run (no zombies)."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                state, parent, _, session = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:4]
                command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if state != "Z":
                found.append(Process(int(entry), int(parent), int(session), command.strip()))
    return found


def below(roots: set[int]) -> list[Process]:
    """The descendants of some processes."""
    everything, found = processes(), []
    while more := [p for p in everything if p.parent in roots and p not in found]:
        found += more
        roots = roots | {p.pid for p in more}
    return found


class Command:
    """``llaso-data`` at work, in a session of its own, so that whatever it starts can be found after its death."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        command = [str(Path(sys.executable).with_name("llaso-data")), *arguments]
        with open(log, "ab") as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=file, start_new_session=True, preexec_fn=_hears_sigint
            )
        self.log = log

    def wait(self) -> int:
        return self.process.wait(LONG_S)

    def reached(self, condition: Callable[[], bool]) -> bool:
        """Waits until the condition holds or the run has ended; True where it still runs."""
        until(lambda: condition() or self.process.poll() is not None)
        return self.process.poll() is None

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def remains(self) -> list[Process]:
        """What it started and what still runs, itself included."""
        return [p for p in processes() if p.session == self.process.pid]

    def end(self) -> None:
        """For a test that failed: nothing may outlive it."""
        for left in self.remains():
            kill(left.pid)
        self.process.wait()


def _hears_sigint() -> None:
    """A shell starts what runs in its background deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], bool], limit_s: float = LONG_S) -> bool:
    """True as soon as the condition holds; False where it did not within the limit."""
    end_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.005)
    return True


@dataclass(frozen=True)
class Strike:
    """Whom to hit, and when: ``committed`` results are there, and then so many seconds have passed."""

    target: str
    committed: int
    delay_s: float

    def __str__(self) -> str:
        return f"{self.target}, {self.delay_s:.2f} s after result {self.committed}"


def strikes(seed: int, targets: Sequence[tuple[str, int, float]]) -> list[Strike]:
    """A delay below the given one for each (target, results committed)."""
    draw = random.Random(seed)
    return [Strike(target, committed, round(draw.uniform(0, up_to_s), 3)) for target, committed, up_to_s in targets]


def survive(
    start: Callable[[], Command],
    plan: Sequence[Strike],
    committed: Callable[[], int],
    hit: Callable[[Command, str], bool] = lambda run, target: False,
) -> list[str]:
    """Run a command under all the strikes to its end, again where its driver was struck; gives what came of each.

    ``hit`` strikes another target than the driver and says whether there was any; that the run must survive.
    """
    story = []
    run = start()
    try:
        for strike in plan:
            run.reached(functools.partial(_reached, committed, strike.committed))
            time.sleep(strike.delay_s)
            there = committed()
            if run.process.poll() is not None:
                assert run.process.returncode == 0, run.log.read_text()
                story.append(f"{strike}: too late, it had ended")
                run = start()
            elif strike.target == "driver":
                run.send(signal.SIGKILL)
                assert run.wait() == -signal.SIGKILL
                story.append(f"{strike}: {there} results there; started again")
                run = start()
            else:
                assert hit(run, strike.target), f"{strike}: nobody to hit"
                story.append(f"{strike}: {there} results there; the run went on")
        assert run.wait() == 0, run.log.read_text()
    finally:
        run.end()
    return story


def _reached(committed: Callable[[], int], wanted: int) -> bool:
    return committed() >= wanted
