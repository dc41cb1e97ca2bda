"""Decode in a child process: a file that makes a decoder hang, crash or take all memory costs that file only.

:func:`decode_spans` gives what :func:`llaso_data.audio.decode_spans` gives, bit for bit. The child process stays for
the next file. A child that hangs or takes too much memory is killed, and another one is started. The child sends PCM
through a pipe as it decodes, so that an hour of sound audio is never taken for a hang.
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
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

from llaso_data import audio
from llaso_data.audio import Pcm, Probe, Span, child_process
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.io import storage

# A frame: its kind, the length of its content in bytes, its content. The child sends nothing but frames.
FRAME = struct.Struct("<cI")
SPAN = struct.Struct("<I")
READY, TICK, STORE, DECODER, PCM, RESULT = b"a", b"t", b"s", b"d", b"p", b"r"

STUCK, TOO_MUCH_MEMORY, CRASHED = "stuck", "too_much_memory", "crashed"

_START_TIMEOUT_S = 120.0  # for the child's imports, on a disk that everybody reads
_STORE_TIMEOUT_S = 900.0  # stores end a request by themselves; a request without an end is given up
_POLL_S = 1.0  # a wait that took longer does not count: the machine slept, or Ctrl-Z stopped both processes
_READ_BYTES = 1 << 20
_PCM_BYTES = 1 << 23  # the longest content of a frame of PCM
_RESULT_BYTES = 1 << 16  # the longest result without errors, and the longest error of a span in it


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
    """Decode as :func:`llaso_data.audio.decode_spans` does, within limits of time and memory.

    What only this process can open (``memory://``, a file system that was registered by code) is decoded in it, without
    limits.

    Args:
        uri: the file, or the tar that it lies in.
        member: the tar's member; None for the file itself.
        spans: start and end in seconds and channels, as :func:`llaso_data.audio.decode` takes them.
        max_duration_s: the most that may come out of a span.
        stall_s: seconds without any progress after which the decoder is given up. Progress is decoded audio, or a part
            of the file that was not read before.
        memory_mb: MiB that the decoder may take.
        data: the file's content, where it is in memory already. ``uri`` and ``member`` then only name it.
        as_mixed: average channels that cancel all the same, as older versions did.

    Returns:
        For each span its PCM, int16 of shape (samples,) at 16 kHz, or its own AudioError; and what the file states of
        itself.

    Raises:
        AudioError: where the file cannot be opened; with the reason ``stuck`` after ``stall_s``; with
            ``too_much_memory`` or ``crashed`` where a fresh process came to the same end. (The first one may have ended
            because of its earlier files, or have been killed.)
        StoreError: where a remote store fails.
        LLaSOError: where no process can be started.
    """
    if data is None and not _child_opens(uri):
        return audio.decode_spans(uri, member, spans, max_duration_s, as_mixed=as_mixed)

    def decode_once(chosen: Sequence[Span]) -> tuple[list[Pcm | AudioError], Probe]:
        return _ask_child(_Request(uri, member, list(chosen), max_duration_s, stall_s, data), memory_mb)

    return decode_once(spans) if as_mixed else audio.decode_uncancelled(decode_once, spans)


def _ask_child(request: _Request, memory_mb: int) -> tuple[list[Pcm | AudioError], Probe]:
    """Have a child decode, and a fresh one where the first came to an end."""
    child = _child(memory_mb, request)
    try:
        return child.decode(request)
    except _EndedError as end:
        if end.reason == TOO_MUCH_MEMORY and child.served == 1:
            raise end.as_audio_error(request) from None
    try:
        return _child(memory_mb, request).decode(request)
    except _EndedError as end:
        raise end.as_audio_error(request) from None


def _child_opens(uri: str) -> bool:
    """Whether the child can open an address: it does not share our memory, nor what our code registered."""
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
        """The request as the child reads it. The child sends ticks several times within ``stall_s``."""
        size = None if self.data is None else len(self.data)
        fields = [self.uri, self.member, self.spans, self.max_duration_s, min(_POLL_S, self.stall_s / 4), size]
        text = json.dumps(fields).encode()
        return b"".join((SPAN.pack(len(text)), text, self.data or b""))


class _EndedError(Exception):
    """The child came to an end, and perhaps not because of this file."""

    def __init__(self, reason: str, how: str) -> None:
        super().__init__(how)
        self.reason = reason
        self.how = how

    def as_audio_error(self, request: _Request) -> AudioError:
        return AudioError(self.reason, f"{request.label}: {self.how}; take it out, or convert it with another program")


_per_thread = threading.local()
"""Every thread has its own child: the kernel kills a child when the thread that started it ends."""


def _child(memory_mb: int, request: _Request) -> _Child:
    child: _Child | None = getattr(_per_thread, "child", None)
    if child is None or not child.usable(memory_mb, request):
        if child is not None:
            child.close()
        child = _per_thread.child = _Child(memory_mb)
    return child


@dataclass
class _Clock:
    """How long nothing came: of the decoder, or of the store while the child waits for it.

    Attributes:
        stall_s: the limit of the decoder.
        reading: whether the child waits for a store.
        stalled_s: since the decoder's last progress.
        waited_s: since the store was asked.
        last_s: when time was last counted, by ``time.monotonic``.
    """

    stall_s: float
    reading: bool
    stalled_s: float = 0.0
    waited_s: float = 0.0
    last_s: float = field(default_factory=time.monotonic)

    def advance(self) -> float:
        """Count the time since the last call. Returns the seconds that are left of the limit.

        A call counts two polls at most: a longer pause means that the machine slept or we were stopped.
        """
        now_s = time.monotonic()
        elapsed_s, self.last_s = min(now_s - self.last_s, 2 * _POLL_S), now_s
        if self.reading:
            self.waited_s += elapsed_s
            return _STORE_TIMEOUT_S - self.waited_s
        self.stalled_s += elapsed_s
        return self.stall_s - self.stalled_s

    def note_frame(self, kind: bytes) -> None:
        """Start the count again after a tick or PCM; change sides after a frame that says who is waited for."""
        self.advance()
        if kind in (STORE, DECODER):
            self.reading, self.waited_s = kind == STORE, 0.0
        else:
            self.stalled_s = self.waited_s = 0.0


class _Child:
    """A running decoding process and the pipes to it. ``served`` counts the requests that it got."""

    def __init__(self, memory_mb: int) -> None:
        self.memory_mb = memory_mb
        self.served = 0
        self._owner = os.getpid()
        self._environment = dict(os.environ)
        self._buffer = bytearray()
        self._read_buffer = memoryview(bytearray(_READ_BYTES))
        self._process = child_process.start(memory_mb)
        self._stdin: IO[bytes] = self._process.stdin  # type: ignore[assignment]
        self._stdout: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        os.set_blocking(self._stdin.fileno(), False)
        with suppress(AttributeError, OSError):  # only Linux has it, and refuses above the user's share of such pages
            fcntl.fcntl(self._stdout, fcntl.F_SETPIPE_SZ, _READ_BYTES)
        self._stdout_poll = select.poll()
        self._stdout_poll.register(self._stdout, select.POLLIN)
        self._stdin_poll = select.poll()
        self._stdin_poll.register(self._stdin, select.POLLOUT)
        self.close = weakref.finalize(self, child_process.terminate, self._process, self._owner)
        try:
            self._read_frame(_Clock(_START_TIMEOUT_S, False), 0)
        except (_EndedError, _StalledError) as error:
            self.close()
            raise LLaSOError(
                f"the decoding process does not start: {error}; `{child_process.COMMAND}` may say more"
            ) from error

    def usable(self, memory_mb: int, request: _Request) -> bool:
        """Whether this child can take a request.

        False where it has another limit of memory, has ended, or belongs to the process whose fork we are. For a file
        on a store also False after a change of the environment, which has the store's keys and address.
        """
        ours = self._owner == os.getpid() and self.close.alive
        ours = ours and (not request.remote or self._environment == dict(os.environ))
        return ours and self.memory_mb == memory_mb and self._process.poll() is None

    def decode(self, request: _Request) -> tuple[list[Pcm | AudioError], Probe]:
        """Send a request and read all of its answer. A child whose answer may be half read is ended."""
        self.served += 1
        try:
            return self._decode(request)
        except (AudioError, storage.StoreError):
            raise
        except _StalledError as stalled:
            self.close()
            if stalled.reading:
                waited = f"the store has sent nothing for {_STORE_TIMEOUT_S:g} s"
                raise storage.StoreError(f"{request.label}: {waited}; run the command again") from None
            detail = f"nothing came of it for {request.stall_s:g} s; take it out, or raise observe.decode.stall_s"
            raise AudioError(STUCK, f"{request.label}: {detail}") from None
        except BaseException:  # also Ctrl-C: an answer may be half read
            self.close()
            raise

    def _decode(self, request: _Request) -> tuple[list[Pcm | AudioError], Probe]:
        clock = _Clock(request.stall_s, request.remote)
        self._send(request.encoded(), clock)
        buffers = [bytearray() for _ in request.spans]
        max_bytes = None if request.max_duration_s is None else 2 * request.max_duration_s * audio.SAMPLE_RATE_HZ
        result_limit = _RESULT_BYTES * (1 + len(request.spans))
        while True:
            kind, data = self._read_frame(clock, max(result_limit, _PCM_BYTES))
            if kind == PCM:
                (span,) = SPAN.unpack_from(data)
                if span >= len(buffers):
                    raise _protocol_error()
                buffers[span] += memoryview(data)[SPAN.size :]
                if max_bytes is not None and len(buffers[span]) > max_bytes:
                    raise _protocol_error()
            elif kind == RESULT:
                break
        try:
            return _decoded(json.loads(data), buffers, self.memory_mb)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise _protocol_error() from None

    def _send(self, data: bytes, clock: _Clock) -> None:
        """Write all of ``data``. A full pipe, whose reader may be stopped, must not block us for good."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._stdin.fileno(), rest) :]
            except BlockingIOError:
                self._wait(self._stdin_poll, clock)
            except BrokenPipeError:
                raise self._exit_error() from None

    def _read_frame(self, clock: _Clock, limit: int) -> tuple[bytes, bytearray]:
        """The next frame: its kind and its content, of at most ``limit`` bytes."""
        self._fill_buffer(FRAME.size, clock)
        kind, size = FRAME.unpack_from(self._buffer)
        if size > limit:
            raise _protocol_error()
        self._fill_buffer(FRAME.size + size, clock)
        data = self._buffer[FRAME.size : FRAME.size + size]
        del self._buffer[: FRAME.size + size]
        clock.note_frame(kind)
        return kind, data

    def _fill_buffer(self, count: int, clock: _Clock) -> None:
        while len(self._buffer) < count:
            self._wait(self._stdout_poll, clock)
            size = os.readv(self._stdout.fileno(), [self._read_buffer])
            if not size:
                raise self._exit_error()
            self._buffer += self._read_buffer[:size]

    def _wait(self, poll: select.poll, clock: _Clock) -> None:
        while not poll.poll(1000 * _POLL_S if clock.stall_s > _POLL_S else 1000 * clock.stall_s / 4):
            if clock.advance() <= 0:
                raise _StalledError(clock)

    def _exit_error(self) -> _EndedError:
        """How the child ended, after it has closed its end of the pipe."""
        code = child_process.reap(self._process)
        self.close()
        if code < 0:
            return _EndedError(CRASHED, f"the decoder was killed by {signal.Signals(-code).name}")
        return _EndedError(CRASHED, f"the decoder ended by itself (code {code})")


class _StalledError(Exception):
    def __init__(self, clock: _Clock) -> None:
        super().__init__("it does not answer")
        self.reading = clock.reading


def _protocol_error() -> _EndedError:
    return _EndedError(CRASHED, "the decoder does not answer as it should")


def _memory_error(memory_mb: int) -> _EndedError:
    return _EndedError(TOO_MUCH_MEMORY, f"its decoder wants more than {memory_mb} MiB (observe.decode.memory_mb)")


def _decoded(result: Any, buffers: list[bytearray], memory_mb: int) -> tuple[list[Pcm | AudioError], Probe]:
    """The spans and the probe of the child's result, whose keys :func:`llaso_data.audio.decode_child.answer` sets."""
    if result.get("memory"):
        raise _memory_error(memory_mb)
    if "crash" in result:
        raise _EndedError(CRASHED, f"the decoder failed ({_text(result['crash'])})")
    if "store" in result:
        raise storage.StoreError(_text(result["store"]))
    if "error" in result:
        raise LLaSOError(_text(result["error"]))
    if "audio" in result:
        raise _audio_error(result["audio"])
    faults = {int(span): _audio_error(fault) for span, fault in result["faults"].items()}
    duration_s, rate_hz, channels, codec, taken = result["probe"]
    chosen = tuple(None if channel is None else int(channel) for channel in taken)
    probe = Probe(None if duration_s is None else float(duration_s), int(rate_hz), int(channels), _text(codec), chosen)
    # The arrays share the memory of the buffers.
    pcm = (np.frombuffer(data, "<i2").astype(np.int16, copy=False) for data in buffers)
    return [faults.get(span) or samples for span, samples in enumerate(pcm)], probe


def _audio_error(fields: Any) -> AudioError:
    reason, detail = fields
    if not re.fullmatch("[a-z_]{1,40}", reason):
        raise ValueError(reason)
    return AudioError(reason, _text(detail))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(type(value))
    return value
