"""Room on a disk is shared by all processes: nobody has too much or waits for ever, and the dead give back."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.io.disk_budget import parse_size, room, temporary_files_in


def test_sizes_are_read_with_their_units() -> None:
    assert [parse_size(text) for text in ("100GB", "1.5 TiB", "2000000", "7 kb")] == [10**11, 3 << 39, 2000000, 7000]
    for text in ("", "GB", "0GB", "100 parsecs", "-1GB", "1e9"):
        with pytest.raises(LLaSOError, match="is no size"):
            parse_size(text)


def test_a_room_is_a_folder_that_is_gone_afterwards(tmp_path: Path) -> None:
    with room(str(tmp_path), 60, 100) as first, temporary_files_in(first.folder):
        assert Path(tempfile.mkstemp()[1]).parent == Path(first.folder)
        with room(str(tmp_path), 40, 100) as second:
            assert (first.in_use_bytes, second.in_use_bytes) == (60, 100)
    assert not Path(first.folder).exists() and tempfile.gettempdir() != first.folder
    with (
        pytest.raises(LLaSOError, match=r"101 bytes of scratch are needed, and the disk budget is 100"),
        room(str(tmp_path), 101, 100),
    ):
        pass


def test_a_large_request_is_not_passed_by_small_ones(tmp_path: Path) -> None:
    order: list[str] = []

    def ask(name: str, size_bytes: int) -> None:
        with room(str(tmp_path), size_bytes, 100):
            order.append(name)

    with room(str(tmp_path), 50, 100):
        waiting = []
        for number, (name, size_bytes) in enumerate((("large", 90), ("small", 10), ("tiny", 1))):
            waiting.append(threading.Thread(target=ask, args=(name, size_bytes)))
            waiting[-1].start()
            while len(list(tmp_path.glob("llaso-disk-*/ticket-*"))) <= number:
                time.sleep(0.01)
        assert order == []
    for thread in waiting:
        thread.join()
    assert order == ["large", "small", "tiny"]


def test_what_a_killed_process_had_is_given_on(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with room(str(tmp_path), 100, 100) as held:
            (Path(held.folder) / "half.zip").write_bytes(bytes(50))
            os.write(writing, b"x")
            time.sleep(60)
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with room(str(tmp_path), 100, 100) as given:
        assert [path.name for path in tmp_path.glob("llaso-disk-*/room-*")] == [Path(given.folder).name]
