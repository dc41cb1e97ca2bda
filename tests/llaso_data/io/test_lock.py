"""One run per output: the second is told who is first, and a killed run leaves no lock that holds."""

from __future__ import annotations

import datetime
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.io import lock, storage
from tests.conftest import Clip
from tests.support.corpora import english, files

HOLD = """
import sys, time
from llaso_data.io import lock
with lock.exclusive(sys.argv[1], "build-align"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds ``tmp_path / "out"``."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_is_told_who_is_first(folder: str) -> None:
    with lock.exclusive(folder, "build-align"):
        with pytest.raises(lock.LockedError) as caught, lock.exclusive(folder, "shard"):
            pass
        said = str(caught.value)
        assert said.startswith(f"{folder}: another run writes there: build-align, process {os.getpid()} on ")
        assert sys.argv[0] in said
    with lock.exclusive(folder, "shard"):
        pass


def test_the_lock_is_no_part_of_the_output_and_leaves_nothing(folder: str) -> None:
    with lock.exclusive(folder, "shard"):
        assert storage.listing(folder) == []
        storage.write_bytes(storage.join(folder, "a"), b"a")
    fs, path = storage.filesystem(folder)
    assert [name.rpartition("/")[2] for name in fs.find(path)] == ["a"]


def test_a_folder_that_stayed_empty_is_not_left(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.exclusive(str(tmp_path / "a" / "b"), "shard"):
        assert (tmp_path / "a" / "b").is_dir()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_holds_no_more(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    with pytest.raises(lock.LockedError, match=f"process {holder.pid} "), lock.exclusive(out, "shard"):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock.exclusive(out, "shard"):
        pass
    assert os.listdir(out) == [] if os.path.exists(out) else True


def test_a_child_that_outlives_its_run_does_not_keep_the_lock(tmp_path: Path) -> None:
    out, fork = str(tmp_path / "out"), ["import os", "if os.fork(): os._exit(0)", "print('forked', flush=True)"]
    code = HOLD.replace("    time.sleep", "".join(f"    {line}\n" for line in fork) + "    time.sleep")
    process = subprocess.Popen([sys.executable, "-c", code, out], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        assert process.stdout.readline() == b"forked\n"  # the child runs, so it has dropped what it shall not keep
        assert process.wait(60) == 0  # it ended without a word; its child sleeps on
        with lock.exclusive(out, "shard"):
            pass
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout is not None
        process.stdout.close()


def test_the_command_says_so_and_touches_nothing(
    holder: subprocess.Popen[str], tmp_path: Path, clips: list[Clip], tiny_en: Path
) -> None:
    corpus = english(tmp_path / "corpus", clips, (1.0,))
    (tmp_path / "out" / "kept").write_text("as it was")
    for words in (
        ["build-align", str(corpus), "--asr", str(tiny_en), "--engine", "local"],
        ["shard", str(tmp_path / "nothing"), "--engine", "local"],
    ):
        result = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out")])
        assert result.exit_code == 2 and f"process {holder.pid} on" in result.output
        assert result.output.count("llaso-data: ") == 1 and "Traceback" not in result.output
    assert files(tmp_path / "out") == {"kept": b"as it was"}


def _write(memory: str, holder: lock.Holder, age_s: float) -> str:
    """A lock object as another run would have written it some time ago."""
    uri = storage.join(memory, lock.LOCK)
    storage.write_bytes(uri, holder.dump())
    fs, path = storage.filesystem(uri)
    fs.store[path].modified = fs.store[path].created = datetime.datetime.now(
        datetime.timezone.utc
    ) - datetime.timedelta(seconds=age_s)
    return uri


def _elsewhere() -> lock.Holder:
    said = json.loads(lock.Holder.me("build-align").dump())
    found = lock.Holder.read(json.dumps({**said, "host": "node-7", "space": "another machine"}).encode())
    assert found is not None
    return found


def test_on_a_store_a_young_lock_of_another_machine_holds_and_says_until_when(memory: str) -> None:
    uri = _write(memory, _elsewhere(), 20)
    with pytest.raises(lock.LockedError, match=r"on node-7 .* ends by itself (99|100) s from now") as caught:
        lock.exclusive(memory, "shard").__enter__()
    assert f"remove {uri}" in str(caught.value) and storage.exists(uri)


def test_on_a_store_an_old_lock_is_taken_over(memory: str) -> None:
    _write(memory, _elsewhere(), lock.EXPIRY_S + 1)
    with lock.exclusive(memory, "shard") as held:
        held.confirm()


def test_on_a_store_the_lock_of_a_process_that_is_seen_to_be_dead_is_taken_over_at_once(memory: str) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    said = {**json.loads(lock.Holder.me("shard").dump()), "pid": dead.pid}
    holder = lock.Holder.read(json.dumps(said).encode())
    assert holder is not None
    _write(memory, holder, 1)
    with lock.exclusive(memory, "shard"):
        pass


def test_whoever_lost_its_lock_notices_before_the_end(memory: str) -> None:
    with lock.exclusive(memory, "shard") as held:
        held.confirm()
        _write(memory, _elsewhere(), 0)
        with pytest.raises(lock.LockedError, match=r"another run has taken over: .* on node-7"):
            held.confirm()
        with pytest.raises(lock.LockedError):  # and does not forget it
            held.check()
    assert storage.exists(storage.join(memory, lock.LOCK))  # the other's stays


def test_the_holder_keeps_its_lock_young_and_notices_by_itself(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "BEAT_S", 0.02)
    fs = fsspec.filesystem("memory")
    path = storage.join(memory, lock.LOCK).removeprefix("memory:/")
    with lock.exclusive(memory, "shard") as held:
        first = fs.modified(path)
        while fs.modified(path) == first:
            time.sleep(0.01)
        held.check()
        _write(memory, _elsewhere(), 0)
        with pytest.raises(lock.LockedError, match="taken over"):
            while True:
                held.check()
                time.sleep(0.01)


def test_a_disk_without_flock_is_locked_as_a_store_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")  # Lustre mounted without it says so

    monkeypatch.setattr(fcntl, "flock", flock)
    out = str(tmp_path / "out")
    with lock.exclusive(out, "build-align"):
        with pytest.raises(lock.LockedError, match=f"process {os.getpid()} .* ends by itself"):
            lock.exclusive(out, "shard").__enter__()
        storage.write_bytes(storage.join(out, "a"), b"a")
    assert os.listdir(out) == ["a"]


def test_a_worker_of_a_run_that_is_over_writes_nothing(folder: str) -> None:
    with lock.exclusive(folder, "shard") as first:
        lock.refuse_orphans(folder, first.token)
    with pytest.raises(lock.LockedError, match="is over"):
        lock.refuse_orphans(folder, first.token)
    with lock.exclusive(folder, "shard"), pytest.raises(lock.LockedError, match="is over"):
        lock.refuse_orphans(folder, first.token)


@pytest.mark.parametrize("uri", ["https://example.org/out", "hf://datasets/me/out"])
def test_what_cannot_be_a_target_is_refused(uri: str) -> None:
    with pytest.raises(LLaSOError, match="cannot be written to"):
        lock.exclusive(uri, "shard").__enter__()
