"""The kernel's lock on a file: one holder, given back when it is killed, and told apart from the file's name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from llaso_data.io import flock

HOLD = """import os, sys, time
from llaso_data.io import flock
with flock.locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_given_back_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        descriptor = os.open(path, os.O_RDWR)
        assert not flock.lock(descriptor, wait=False)
        holder.kill()
        assert flock.lock(descriptor, wait=True)
    os.close(descriptor)


def test_a_folder_is_locked_as_a_file_is(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    assert flock.lock(first, wait=False) and not flock.lock(second, wait=False)
    os.close(first)
    assert flock.lock(second, wait=False)
    os.close(second)


def test_a_file_that_got_another_name_is_no_longer_at_its_first(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        assert flock.is_at(path, file.fileno())
        path.rename(tmp_path / "b")
        assert not flock.is_at(path, file.fileno()) and flock.is_at(tmp_path / "b", file.fileno())
        path.touch()
        assert not flock.is_at(path, file.fileno())
