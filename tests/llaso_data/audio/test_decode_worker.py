"""Whatever a file does to its decoder, the worker goes on with the next one."""

from __future__ import annotations

import fcntl
import functools
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile

from llaso_data import audio
from llaso_data.audio import decode_worker
from llaso_data.errors import AudioError
from llaso_data.io import storage
from llaso_data.pipeline.build_align import build_align
from llaso_data.pipeline.observe import observing_digest
from llaso_data.shards.tar import BLOCK_BYTES
from tests.conftest import Clip
from tests.llaso_data.audio.test_audio import mux, sweep
from tests.support.corpora import english, observed, recipe
from tests.support.fault_injection import below, kill, processes, until
from tests.support.object_stores import s3_server

STALL_S = 20.0  # of a decoder that is well, on a busy machine
CHILD = "llaso_data.audio.decode_child"

Spans = list[tuple[float | None, float | None]]
WHOLE: Spans = [(None, None)]


def decode(
    path: Path | str,
    spans: Spans | None = None,
    stall_s: float = STALL_S,
    memory_mb: int = 2048,
    max_s: float | None = None,
) -> tuple[list[audio.Pcm | AudioError], audio.Probe]:
    return decode_worker.decode_spans(str(path), None, spans or WHOLE, max_s, stall_s=stall_s, memory_mb=memory_mb)


def heard(path: Path | str, span: tuple[float | None, float | None] = (None, None), **limits: Any) -> audio.Pcm:
    """One span, which is well."""
    (pcm,) = decode(path, [span], **limits)[0]
    assert isinstance(pcm, np.ndarray), pcm
    return pcm


def reason(path: Path | str, **limits: Any) -> str:
    with pytest.raises(AudioError) as caught:
        decode(path, **limits)
    assert str(path) in caught.value.detail
    return caught.value.reason


def children() -> list[int]:
    """The decoding processes of ours that run, zombies not counted."""
    return [process.pid for process in below({os.getpid()}) if CHILD in process.command]


def zombies() -> list[str]:
    states = [path.read_text().rpartition(")")[2].split()[:2] for path in Path("/proc").glob("[0-9]*/stat")]
    return [state for state, parent in states if state == "Z" and int(parent) == os.getpid()]


@pytest.fixture
def short(tmp_path: Path) -> Path:
    path = tmp_path / "short.wav"
    soundfile.write(path, sweep(1), 16_000)
    return path


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """Twenty minutes of silence at 768 kHz, which take seconds to decode and nothing on the disk."""
    path = tmp_path / "endless.wav"
    soundfile.write(path, np.zeros(1, np.int16), 768_000)
    head = bytearray(path.read_bytes()[:44])
    size = 20 * 60 * 768_000 * 2
    head[4:8], head[40:44] = (size + 36).to_bytes(4, "little"), size.to_bytes(4, "little")
    path.write_bytes(head)
    os.truncate(path, 44 + size)
    return path


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A thousand channels: one block of a decoder is 268 MB."""
    path = tmp_path / "wide.wav"
    soundfile.write(path, np.zeros((BLOCK_BYTES, 1024), np.int16), 16_000)
    os.truncate(path, path.stat().st_size)
    return path


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Something that is done in another thread while the body waits."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        thread.join()


# The same as in process


@pytest.mark.parametrize(
    "name", ["a.wav", "a.flac", "a.mp3", "a.opus", "a.m4a", "a.g722", "cut.flac", "none.wav", "text.mp3"]
)
def test_the_same_as_in_process(tmp_path: Path, name: str) -> None:
    path, pcm = tmp_path / name, sweep(20)
    if name == "cut.flac":
        path.write_bytes(audio.encode(pcm, "flac")[:200_000])
    elif name == "text.mp3":
        path.write_text("no sound\n" * 100)
    elif name in ("a.m4a", "a.g722"):
        mux(pcm, path, *{"a.m4a": ("mp4", "aac"), "a.g722": ("g722", "g722")}[name])
    elif name == "a.opus":
        path.write_bytes(audio.encode(pcm, "opus"))
    elif name != "none.wav":
        soundfile.write(path, sweep(20, 44_100), 44_100)
    spans: Spans = [
        (None, None),
        (1.0, 2.0),
        (0.5, 1.5),
        (12.25, None),
        (19, 19.5),
        (5, 3),
        (19, 30),
        (0.0, 11.0),
        (40, None),
    ]
    wanted: object
    try:
        wanted = audio.decode_spans(str(path), None, spans, 10.0)
    except AudioError as error:
        assert reason(path) == error.reason
        return
    pieces, probe = decode(path, spans, max_s=10.0)
    assert probe == wanted[1]
    for piece, other in zip(pieces, wanted[0], strict=True):
        if isinstance(other, AudioError):
            assert isinstance(piece, AudioError) and (piece.reason, piece.detail) == (other.reason, other.detail)
        else:
            assert isinstance(piece, np.ndarray) and piece.dtype == np.int16 and np.array_equal(piece, other)
            piece[:1] = 0  # stages may write to it


def test_real_speech_through_one_process(clips: list[Clip]) -> None:
    decode(clips[0].path)
    before = children()
    for clip in clips:
        assert np.array_equal(heard(clip.path), audio.decode(str(clip.path))[0])
    assert children() == before and len(before) == 1


def test_memory_urls_are_decoded_in_process(short: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/sandbox/a.wav", short.read_bytes())
    assert np.array_equal(heard("memory://sandbox/a.wav"), sweep(1))
    store.rm("/sandbox", recursive=True)


def test_long_audio_is_in_memory_once(tmp_path: Path) -> None:
    """An hour arrives in pieces: the child holds none of it, and a small limit is enough."""
    path = tmp_path / "hour.wav"
    soundfile.write(path, np.zeros(3600 * 16_000, np.int16), 16_000)
    assert len(heard(path, memory_mb=32)) == 3600 * 16_000


# What is cut off


def test_a_decoder_that_stops_is_killed_and_the_next_file_is_fine(short: Path, endless: Path) -> None:
    decode(short)
    (child,) = children()

    def stop() -> None:
        time.sleep(0.2)
        os.kill(child, signal.SIGSTOP)

    with meanwhile(stop):
        assert reason(endless, stall_s=1.0) == "stuck"
    assert np.array_equal(heard(short), sweep(1))
    assert len(children()) == 1 and children() != [child] and zombies() == []


@contextmanager
def leased(path: Path) -> Iterator[None]:
    """A lease as file servers hold them: whoever opens the file waits until it is given back."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with open(path, "r+b") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            yield
    except OSError as error:
        pytest.skip(f"no leases here: {error}")
    finally:
        signal.signal(signal.SIGIO, before)


def test_a_file_that_never_opens(short: Path, tmp_path: Path) -> None:
    held = tmp_path / "held.wav"
    soundfile.write(held, sweep(1), 16_000)
    with leased(held):
        assert reason(held, stall_s=0.5) == "stuck"
        assert len(heard(short)) == 16_000


@pytest.mark.slow
def test_a_long_file_is_not_taken_for_a_stuck_one(endless: Path) -> None:
    """It takes longer than the limit, and nothing of it is asked for until near its end."""
    started = time.monotonic()
    assert len(heard(endless, (590.0, 600.0), stall_s=2.0)) == 160_000
    print(f"\n{time.monotonic() - started:.1f} s")


def test_too_much_memory(wide: Path, short: Path) -> None:
    assert reason(wide, memory_mb=64) == "too_much_memory"
    assert np.array_equal(heard(short, memory_mb=64), sweep(1))
    assert len(heard(wide, memory_mb=1024)) == BLOCK_BYTES  # it was the limit


def test_one_crash_may_be_an_accident(short: Path, endless: Path) -> None:
    """A process killed from outside once: the file is decoded by the next."""
    decode(short)
    (child,) = children()

    def strike() -> None:
        time.sleep(0.2)
        kill(child)

    with meanwhile(strike):
        assert len(heard(endless, (190.0, 200.0))) == 160_000
    assert child not in children() and zombies() == []


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_two_crashes_are_the_files_fault(short: Path, endless: Path, number: int) -> None:
    decode(short)

    def strike() -> None:
        """Twice, while it decodes: a fresh process writes what it reads, before that it imports."""
        struck: list[int] = []
        while len(struck) < 2:
            for child in children():
                if child not in struck and any("endless" in link for link in opened(child)):
                    os.kill(child, number)
                    struck.append(child)

    with meanwhile(strike), pytest.raises(AudioError, match=signal.Signals(number).name) as caught:
        decode(endless)
    assert caught.value.reason == "crashed"
    assert np.array_equal(heard(short), sweep(1)) and zombies() == []


def opened(pid: int) -> list[str]:
    try:
        return [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return []


def test_pipes_sockets_and_devices_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket.wav"))
    names = [tmp_path / "pipe.wav", tmp_path / "socket.wav", Path("/dev/zero")]
    assert [reason(path) for path in names] == ["unreadable"] * 3
    listening.close()


def test_a_server_that_stops_half_way_is_not_held_against_the_audio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.flac", sweep(20), 16_000)
    data = (tmp_path / "a.flac").read_bytes()
    over = threading.Event()

    class Half(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            over.wait(60)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Half)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(decode_worker, "_STORE_TIMEOUT_S", 2.0)
    try:
        with pytest.raises(storage.StoreError, match="the store has sent nothing for 2 s"):
            decode(f"http://127.0.0.1:{server.server_port}/a.flac", stall_s=0.5)
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def test_a_child_knows_the_stores_that_we_know(short: Path) -> None:
    """Also where their addresses changed since it was started."""
    decode(short)
    with s3_server():
        storage.write_bytes("s3://speech/a.wav", short.read_bytes())
        assert np.array_equal(heard("s3://speech/a.wav"), sweep(1))
        assert reason("s3://speech/b.wav") == "missing"


# Processes


def test_no_child_outlives_its_parent(endless: Path, tmp_path: Path) -> None:
    """Also where the parent is killed while the child decodes, or the child is stopped."""
    code = (
        "import sys; from llaso_data.audio import decode_worker\n"
        "decode_worker.decode_spans(sys.argv[1], None, [(None, None)], stall_s=60, memory_mb=256)"
    )
    for stopped in (False, True):
        parent = subprocess.Popen([sys.executable, "-c", code, str(endless)])
        found: list[int] = []

        def decoding(parent: subprocess.Popen[bytes] = parent, found: list[int] = found) -> bool:
            found[:] = [p.pid for p in below({parent.pid}) if any("endless" in link for link in opened(p.pid))]
            return bool(found)

        assert until(decoding, 30)
        if stopped:
            os.kill(found[0], signal.SIGSTOP)
        parent.kill()
        parent.wait()
        assert until(functools.partial(gone, found[0]), 5)


def gone(pid: int) -> bool:
    return all(process.pid != pid for process in processes())


def test_ctrl_c_prints_nothing_of_the_child(endless: Path, tmp_path: Path) -> None:
    """In a terminal the signal reaches every process of the group."""
    code = (
        "import sys; from llaso_data.audio import decode_worker\n"
        "try: decode_worker.decode_spans(sys.argv[1], None, [(None, None)], stall_s=60, memory_mb=256)\n"
        "except KeyboardInterrupt: print('stopped')"
    )
    with open(tmp_path / "log", "wb") as log:
        parent = subprocess.Popen(
            [sys.executable, "-c", code, str(endless)], stdout=log, stderr=log, start_new_session=True
        )
    assert until(lambda: any(opened(p.pid) for p in below({parent.pid}) if CHILD in p.command), 30)
    time.sleep(0.2)
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.wait(10) == 0
    assert (tmp_path / "log").read_text() == "stopped\n"
    assert until(lambda: not any(p.session == parent.pid for p in processes()), 5)


def test_a_thread_takes_its_child_with_it(short: Path) -> None:
    decode(short)
    before = children()
    thread = threading.Thread(target=lambda: decode(short))
    thread.start()
    thread.join()
    assert until(lambda: children() == before, 5) and zombies() == []
    assert np.array_equal(heard(short), sweep(1))


def test_a_fork_asks_a_child_of_its_own(short: Path) -> None:
    decode(short)
    before = children()
    pid = os.fork()
    if pid == 0:
        same = np.array_equal(heard(short), sweep(1))
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert np.array_equal(heard(short), sweep(1)) and children() == before


# A whole run


def test_hostile_files_are_counted_and_the_others_accepted(
    clips: list[Clip], tiny_en: Path, tmp_path: Path, wide: Path
) -> None:
    corpus = english(tmp_path / "corpus", clips, (0.7,))
    good = len(list(corpus.glob("*.wav")))
    soundfile.write(corpus / "held.wav", sweep(1), 16_000)
    os.rename(wide, corpus / "wide.wav")
    os.mkfifo(corpus / "pipe.wav")
    limits = {"observe__decode__stall_s": 1.0, "observe__decode__memory_mb": 64, "blocks__clips": 256}
    lenient = {"judge__consistency__cer_max": 99.0, "judge__max_failures": 1.0}
    with leased(corpus / "held.wav"):
        summary = build_align(recipe(tiny_en, tmp_path / "out", corpus, **limits, **lenient))
    failures = {Path(u.source.uri).name: u.failure.reason for u in observed(tmp_path / "out") if u.failure}
    assert failures == {"held.wav": "stuck", "wide.wav": "too_much_memory", "pipe.wav": "unreadable"}
    assert summary.counts["inputs"] == good + 3 and summary.counts["failed"] == 3
    assert summary.counts["accepted"] == good and summary.exit_code == 0


def test_limits_do_not_observe_again(tiny_en: Path, tmp_path: Path) -> None:
    one = recipe(tiny_en, tmp_path).observe
    other = recipe(tiny_en, tmp_path, observe__decode__stall_s=1.0, observe__decode__memory_mb=64).observe
    shorter = recipe(tiny_en, tmp_path, observe__decode__max_duration_s=60.0).observe
    assert observing_digest(one, ["w"]) == observing_digest(other, ["w"]) != observing_digest(shorter, ["w"])
