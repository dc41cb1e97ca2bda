"""Worker processes: forks of a process with one thread, and a killed one ends the run with an error that says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.fault_injection import processes

PROGRAM = """
import os, signal, sys, threading
from llaso_data.errors import LLaSOError
from llaso_data.io import interrupts
from llaso_data.pipeline import process_pool

def told(task):
    if task < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    own = signal.getsignal(signal.SIGTERM) is process_pool._stop
    return os.getpid(), os.getppid(), own, "written_here" in globals()

if __name__ == "__main__":
    interrupts.listen()
    written_here = True
    if "thread" in sys.argv:
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    tasks = [1, 2, -1] if "kill" in sys.argv else [1, 2, 3]
    try:
        answers = list(process_pool.map_unordered(told, tasks, 2))
    except LLaSOError as error:
        sys.exit(str(error))
    assert len(answers) == 3 and all(own and pid != os.getpid() for pid, _, own, _ in answers), answers
    forked = {parent == os.getpid() and same_memory for _, parent, _, same_memory in answers}
    print(forked)
"""


def run(tmp_path: os.PathLike[str], *words: str) -> subprocess.CompletedProcess[str]:
    path = os.path.join(tmp_path, "program.py")
    with open(path, "w", encoding="utf-8") as file:
        file.write(PROGRAM)
    return subprocess.run([sys.executable, path, *words], capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(sys.platform != "linux" or sys.version_info < (3, 11), reason="workers are forked on Linux")
def test_workers_are_forks_only_where_there_is_no_other_thread(tmp_path: os.PathLike[str]) -> None:
    assert run(tmp_path).stdout == "{True}\n"
    assert run(tmp_path, "thread").stdout == "{False}\n"


@pytest.mark.parametrize("words", [("kill",), ("kill", "thread")])
def test_a_killed_worker_ends_the_run_with_an_error(tmp_path: os.PathLike[str], words: tuple[str, ...]) -> None:
    ended = run(tmp_path, *words)
    assert ended.returncode == 1
    assert "a worker process was killed" in ended.stderr and "Traceback" not in ended.stderr


LONG = """
import os, pathlib, subprocess, sys, threading, time
from llaso_data.io import interrupts
from llaso_data.pipeline import process_pool

FOLDER = pathlib.Path(sys.argv[1])

def work(task):
    if task == "done":
        (FOLDER / "committed").touch()
        return task
    while True:
        try:
            (FOLDER / f"{task}.pid").write_text(str(os.getpid()))
            if task == "asks":
                subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])
            time.sleep(600)
        except KeyboardInterrupt:
            time.sleep(0.3)  # cleaning up takes a while; meanwhile the pool misses the workers that have ended
            (FOLDER / f"{task}.interrupted").touch()
            if task != "deaf":
                raise

def consume(results):
    for _ in results:
        if sys.argv[2] == "consumer":
            time.sleep(600)

if __name__ == "__main__":
    interrupts.listen()
    if sys.argv[3] == "thread":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    results = process_pool.map_unordered(work, ["done", "long", "asks", "deaf"], 3)
    try:
        consume(results)
    except KeyboardInterrupt:
        print("stopped", flush=True)
        sys.exit(interrupts.exit_code())
"""


@pytest.mark.parametrize(
    ("number", "where", "how"),
    [
        (signal.SIGTERM, "waits", "fork"),
        (signal.SIGTERM, "consumer", "thread"),
        (signal.SIGINT, "consumer", "fork"),
    ],
    ids=["SIGTERM", "SIGTERM while a result is used, workers not forked", "SIGINT while a result is used"],
)
def test_a_signal_ends_long_tasks_and_all_workers(tmp_path: Path, number: signal.Signals, where: str, how: str) -> None:
    """To the driver alone, as a scheduler sends it; also where a task has a child, or does not hear the interrupt."""
    (tmp_path / "program.py").write_text(LONG)
    words = [sys.executable, str(tmp_path / "program.py"), str(tmp_path), where, how]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        tasks = ("long", "asks", "deaf")
        until = time.monotonic() + 60
        while not all((tmp_path / f"{task}.pid").exists() for task in tasks) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.3)  # the child of a task has started
        run.send_signal(number)
        said, told = run.communicate(timeout=20)
        assert (run.returncode, said) == (128 + number, "stopped\n") and "Traceback" not in told, told
        assert (tmp_path / "committed").exists()
        assert all((tmp_path / f"{task}.interrupted").exists() for task in tasks)
        until = time.monotonic() + 10  # what has ended stays listed until init has taken note
        while (left := [one for one in processes() if one.session == run.pid]) and time.monotonic() < until:
            time.sleep(0.05)
        assert left == []
    finally:
        for one in processes():
            if one.session == run.pid:
                os.kill(one.pid, signal.SIGKILL)
        run.wait()
