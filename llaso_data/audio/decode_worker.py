"""Decoding in a process of its own: a file that hangs a decoder, eats memory or crashes it costs that file only.

:func:`decode_spans` gives what :func:`llaso_data.audio.decode_spans` gives, bit for bit. It asks a child process,
which stays for the next file; one that stops, or grows too large, is killed and another one started. The child keeps
none of the PCM: it comes through a pipe as it is decoded, so an hour of honest audio is never taken for a hang.
This keeps broken files from our memory. It is no jail: the child has all rights of the user.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

from llaso_data import audio
from llaso_data.audio import Pcm, Probe, Span
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.io import storage

# A frame is its kind, the length of what follows, and that. The parent reads nothing but these.
FRAME = struct.Struct("<cI")
SPAN = struct.Struct("<I")
READY, TICK, STORE, DECODER, PCM, RESULT = b"a", b"t", b"s", b"d", b"p", b"r"

STUCK, TOO_MUCH_MEMORY, CRASHED = "stuck", "too_much_memory", "crashed"

_START_S = 120.0  # for the child's imports, on a disk that everybody reads
_STORE_S = 900.0  # stores end a request by themselves; one that does not is given up
_SLICE_S = 1.0  # a longer wait was no wait: the machine slept, or Ctrl-Z stopped us both
_DYING_S = 1.0  # from the end of its pipe to its own
_END_S = 10.0  # for a killed process to be gone
_READ_BYTES = 1 << 20
_PCM_BYTES = 1 << 23  # of one frame
_RESULT_BYTES = 1 << 16  # of one frame, and of every span's error in it
_BLAS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # nothing here multiplies matrices


def decode_spans(
    uri: str,
    member: str | None,
    spans: Sequence[Span],
    max_duration_s: float | None = None,
    *,
    stall_s: float,
    memory_mb: int,
    data: bytes | None = None,
    as_mixed: bool = False,
) -> tuple[list[Pcm | AudioError], Probe]:
    """As :func:`llaso_data.audio.decode_spans`, within limits of time and memory.

    ``data`` is a file's content that is in memory already; ``uri`` and ``member`` are then its name, for messages.

    Raises AudioError also with the reasons ``stuck`` (neither was anything decoded nor more of the file read for
    ``stall_s``), ``too_much_memory`` (the decoder wanted more than ``memory_mb`` MiB) and ``crashed``. The last two
    only where a fresh process came to the same end: the first may have died of its earlier files, or of a kill.
    What only this process can open (``memory://``, a file system that was registered by code) is decoded in it.
    """
    if data is None and not _reachable(uri):
        return audio.decode_spans(uri, member, spans, max_duration_s, as_mixed=as_mixed)

    def once(some: Sequence[Span]) -> tuple[list[Pcm | AudioError], Probe]:
        return _asked(_Request(uri, member, list(some), max_duration_s, stall_s, data), memory_mb)

    return once(spans) if as_mixed else audio.uncancelled(once, spans)


def _asked(request: _Request, memory_mb: int) -> tuple[list[Pcm | AudioError], Probe]:
    """What a child answers, or a fresh one where that came to an end."""
    child = _child(memory_mb, request)
    try:
        return child.decode(request)
    except _EndedError as ended:
        if ended.reason == TOO_MUCH_MEMORY and child.served == 1:
            raise ended.told(request) from None
    try:
        return _child(memory_mb, request).decode(request)
    except _EndedError as ended:
        raise ended.told(request) from None


def _reachable(uri: str) -> bool:
    from fsspec.registry import known_implementations

    kind = storage.scheme(uri)
    return kind != "memory" and kind in known_implementations


@dataclass(frozen=True)
class _Request:
    uri: str
    member: str | None
    spans: list[Span]
    max_duration_s: float | None
    stall_s: float
    data: bytes | None

    @property
    def label(self) -> str:
        return audio.name_of(self.uri, self.member)

    @property
    def remote(self) -> bool:
        return self.data is None and not storage.is_local(self.uri)

    def encoded(self) -> bytes:
        """Ticks come several times within the limit."""
        size = None if self.data is None else len(self.data)
        asked = [self.uri, self.member, self.spans, self.max_duration_s, min(_SLICE_S, self.stall_s / 4), size]
        text = json.dumps(asked).encode()
        return b"".join((SPAN.pack(len(text)), text, self.data or b""))


class _EndedError(Exception):
    """The child came to an end, and perhaps not by this file's fault."""

    def __init__(self, reason: str, how: str) -> None:
        super().__init__(how)
        self.reason = reason
        self.how = how

    def told(self, request: _Request) -> AudioError:
        return AudioError(self.reason, f"{request.label}: {self.how}; take it out, or convert it with another program")


_here = threading.local()
"""A child for every thread: the kernel kills it when the thread that started it ends."""


def _child(memory_mb: int, request: _Request) -> _Child:
    child: _Child | None = getattr(_here, "child", None)
    if child is None or not child.usable(memory_mb, request):
        if child is not None:
            child.close()
        child = _here.child = _Child(memory_mb)
    return child


@dataclass
class _Clock:
    """How long nothing came, by turns of the store and of the decoder."""

    stall_s: float
    reading: bool
    stalled_s: float = 0.0
    waited_s: float = 0.0
    last_s: float = field(default_factory=time.monotonic)

    def look(self) -> float:
        """Take note of the time that went by; gives the seconds that are left, at least one slice's."""
        now_s = time.monotonic()
        passed_s, self.last_s = min(now_s - self.last_s, 2 * _SLICE_S), now_s
        if self.reading:
            self.waited_s += passed_s
            return _STORE_S - self.waited_s
        self.stalled_s += passed_s
        return self.stall_s - self.stalled_s

    def heard(self, kind: bytes) -> None:
        """A tick or PCM is progress; that the store was asked, or has answered, is none of the decoder's."""
        self.look()
        if kind in (STORE, DECODER):
            self.reading, self.waited_s = kind == STORE, 0.0
        else:
            self.stalled_s = self.waited_s = 0.0


class _Child:
    """A running decoder and the pipes to it. ``served`` counts the files that it was asked for."""

    def __init__(self, memory_mb: int) -> None:
        self.memory_mb = memory_mb
        self.served = 0
        self._owner = os.getpid()
        self._environment = dict(os.environ)
        self._buffer = bytearray()
        self._room = memoryview(bytearray(_READ_BYTES))
        self._process = _start(memory_mb)
        self._stdin: IO[bytes] = self._process.stdin  # type: ignore[assignment]
        self._stdout: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        os.set_blocking(self._stdin.fileno(), False)
        with suppress(AttributeError, OSError):  # Linux; above the user's share of such pages it is refused
            fcntl.fcntl(self._stdout, fcntl.F_SETPIPE_SZ, _READ_BYTES)
        self._hear = select.poll()
        self._hear.register(self._stdout, select.POLLIN)
        self._say = select.poll()
        self._say.register(self._stdin, select.POLLOUT)
        self.close = weakref.finalize(self, _end, self._process, self._owner)
        try:
            self._frame(_Clock(_START_S, False), 0)
        except (_EndedError, _StalledError) as error:
            self.close()
            raise LLaSOError(f"the decoding process does not start: {error}; `{_COMMAND}` may say more") from error

    def usable(self, memory_mb: int, request: _Request) -> bool:
        """False for one with another limit, one that has ended, and another process's, of whom we are the fork.

        For a store also one of other variables: its keys and address are among them. A disk does not pay for that look.
        """
        mine = self._owner == os.getpid() and self.close.alive
        mine = mine and (not request.remote or self._environment == dict(os.environ))
        return mine and self.memory_mb == memory_mb and self._process.poll() is None

    def decode(self, request: _Request) -> tuple[list[Pcm | AudioError], Probe]:
        self.served += 1
        try:
            return self._decode(request)
        except (AudioError, storage.StoreError):
            raise
        except _StalledError as stalled:
            self.close()
            if stalled.reading:
                said = f"{request.label}: the store has sent nothing for {_STORE_S:g} s; run the command again"
                raise storage.StoreError(said) from None
            detail = f"nothing came of it for {request.stall_s:g} s; take it out, or raise observe.decode.stall_s"
            raise AudioError(STUCK, f"{request.label}: {detail}") from None
        except BaseException:  # also Ctrl-C: an answer may be half read
            self.close()
            raise

    def _decode(self, request: _Request) -> tuple[list[Pcm | AudioError], Probe]:
        clock = _Clock(request.stall_s, request.remote)
        self._send(request.encoded(), clock)
        found = [bytearray() for _ in request.spans]
        most = None if request.max_duration_s is None else 2 * request.max_duration_s * audio.SAMPLE_RATE_HZ
        limit = _RESULT_BYTES * (1 + len(request.spans))
        while True:
            kind, data = self._frame(clock, max(limit, _PCM_BYTES))
            if kind == PCM:
                (span,) = SPAN.unpack_from(data)
                if span >= len(found) or (most is not None and len(found[span]) + len(data) - SPAN.size > most):
                    raise _babble()
                found[span] += memoryview(data)[SPAN.size :]
            elif kind == RESULT:
                break
        try:
            return _answer(json.loads(data), found, self.memory_mb)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise _babble() from None

    def _send(self, data: bytes, clock: _Clock) -> None:
        """The child may be stopped; a pipe that is full must not stop us."""
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._stdin.fileno(), left) :]
            except BlockingIOError:
                self._wait(self._say, clock)
            except BrokenPipeError:
                raise self._ended() from None

    def _frame(self, clock: _Clock, limit: int) -> tuple[bytes, bytearray]:
        """The next frame: its kind, and at most ``limit`` bytes."""
        self._fill(FRAME.size, clock)
        kind, size = FRAME.unpack_from(self._buffer)
        if size > limit:
            raise _babble()
        self._fill(FRAME.size + size, clock)
        data = self._buffer[FRAME.size : FRAME.size + size]
        del self._buffer[: FRAME.size + size]
        clock.heard(kind)
        return kind, data

    def _fill(self, count: int, clock: _Clock) -> None:
        while len(self._buffer) < count:
            self._wait(self._hear, clock)
            size = os.readv(self._stdout.fileno(), [self._room])
            if not size:
                raise self._ended()
            self._buffer += self._room[:size]

    def _wait(self, poll: select.poll, clock: _Clock) -> None:
        while not poll.poll(1000 * _SLICE_S if clock.stall_s > _SLICE_S else 1000 * clock.stall_s / 4):
            if clock.look() <= 0:
                raise _StalledError(clock)

    def _ended(self) -> _EndedError:
        """How the child died: it has closed its end of the pipe."""
        code = _reaped(self._process)
        self.close()
        if code < 0:
            return _EndedError(CRASHED, f"the decoder was killed by {signal.Signals(-code).name}")
        return _EndedError(CRASHED, f"the decoder ended by itself (code {code})")


class _StalledError(Exception):
    def __init__(self, clock: _Clock) -> None:
        super().__init__("it says nothing")
        self.reading = clock.reading


def _babble() -> _EndedError:
    return _EndedError(CRASHED, "the decoder does not answer as it should")


def _too_much(memory_mb: int) -> _EndedError:
    return _EndedError(TOO_MUCH_MEMORY, f"its decoder wants more than {memory_mb} MiB (observe.decode.memory_mb)")


def _answer(told: Any, found: list[bytearray], memory_mb: int) -> tuple[list[Pcm | AudioError], Probe]:
    """What the child's last frame says; its keys are those of :func:`llaso_data.audio.decode_child.answer`."""
    if told.get("memory"):
        raise _too_much(memory_mb)
    if "crash" in told:
        raise _EndedError(CRASHED, f"the decoder failed ({_text(told['crash'])})")
    if "store" in told:
        raise storage.StoreError(_text(told["store"]))
    if "error" in told:
        raise LLaSOError(_text(told["error"]))
    if "audio" in told:
        raise _audio_error(told["audio"])
    faults = {int(span): _audio_error(fault) for span, fault in told["faults"].items()}
    duration_s, rate_hz, channels, codec, taken = told["probe"]
    chosen = tuple(None if channel is None else int(channel) for channel in taken)
    probe = Probe(None if duration_s is None else float(duration_s), int(rate_hz), int(channels), _text(codec), chosen)
    # The arrays take the buffers over: nothing is there twice.
    pcm = (np.frombuffer(data, "<i2").astype(np.int16, copy=False) for data in found)
    return [faults.get(span) or samples for span, samples in enumerate(pcm)], probe


def _audio_error(fault: Any) -> AudioError:
    reason, detail = fault
    if not re.fullmatch("[a-z_]{1,40}", reason):
        raise ValueError(reason)
    return AudioError(reason, _text(detail))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value))
    return value


# the process

_MODULE = "llaso_data.audio.decode_child"
_COMMAND = f"{os.path.basename(sys.executable)} -m {_MODULE}"


def _start(memory_mb: int) -> subprocess.Popen[bytes]:
    """A new interpreter, not a fork: we have threads. It finds its modules where we find ours."""
    environment = {**os.environ, **dict.fromkeys(_BLAS, "1"), "PYTHONSAFEPATH": "1", "MALLOC_ARENA_MAX": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    command = [sys.executable, "-m", _MODULE, str(os.getpid()), str(memory_mb)]
    # Ctrl-C reaches all of a terminal's processes; this one ends with its parent. Masks are inherited, also by threads.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0, close_fds=True
        )
    except OSError as error:
        raise LLaSOError(f"the decoding process cannot be started: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _reaped(process: subprocess.Popen[bytes]) -> int:
    """Collect a process that has ended, or is killed for it; its exit code as ``subprocess`` counts.

    One that the kernel cannot end, because it waits for a disk, is left behind; ``subprocess`` collects it later.
    """
    with suppress(subprocess.TimeoutExpired):
        return process.wait(_DYING_S)
    process.kill()
    with suppress(subprocess.TimeoutExpired):
        return process.wait(_END_S)
    return -signal.SIGKILL


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    """Kill it, leave no zombie."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
    if owner == os.getpid() and process.returncode is None:
        with suppress(OSError):
            process.kill()
        _reaped(process)
