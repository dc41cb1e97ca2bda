"""Worker processes: forks of a process with one thread, and a killed one ends the run with an error that says so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, threading
from llaso_data.errors import LLaSOError
from llaso_data.io import interrupts
from llaso_data.pipeline import process_pool

def told(task):
    if task < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid(), os.getppid(), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "written_here" in globals()

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
    assert len(answers) == 3 and all(plain and pid != os.getpid() for pid, _, plain, _ in answers), answers
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
