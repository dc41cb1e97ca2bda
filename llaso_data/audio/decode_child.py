"""The process that the decode worker starts: reads requests, decodes, writes frames, until its parent is gone.

    python -m llaso_data.audio.decode_child PARENT_PID MEMORY_MB

It imports the decoders and nothing that is slow to import.
"""

from __future__ import annotations

import ctypes
import errno
import io
import json
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from llaso_data import audio
from llaso_data.audio import Pcm
from llaso_data.audio.decode_worker import DECODER, FRAME, PCM, READY, RESULT, SPAN, STORE, TICK
from llaso_data.audio.decoders import SNDFILE_MALLOC_FAILED, Block, open_track
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.io import storage

_FLUSH_BYTES = 1 << 18
_READ_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1


class Pipe:
    """Frames to the parent. PCM is gathered into large ones, unless the parent waits for a sign of life."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: list[bytes] = []
        self._bytes = 0
        self.tick_s = 1.0
        self._said_s = 0.0

    def begin(self, tick_s: float) -> None:
        self.tick_s = tick_s
        self._said_s = time.monotonic()

    def add(self, kind: bytes, *data: bytes) -> None:
        size = sum(map(len, data))
        self._waiting += [FRAME.pack(kind, size), *data]
        self._bytes += FRAME.size + size
        if self._bytes > _FLUSH_BYTES:
            self.flush()

    def progress(self) -> None:
        """To be called whenever there is some; says so from time to time."""
        if time.monotonic() - self._said_s > self.tick_s:
            self.add(TICK)
            self.flush()

    def flush(self) -> None:
        data = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._bytes = 0
        while data:
            data = data[os.write(self._descriptor, data) :]
        self._said_s = time.monotonic()


class Watched:
    """A file whose reading is seen: progress is what was not read before, so a decoder that reads in circles hangs."""

    def __init__(self, file: BinaryIO, pipe: Pipe, remote: bool) -> None:
        self._file = file
        self._pipe = pipe
        self._remote = remote
        self._furthest = 0
        self.seek = file.seek
        self.tell = file.tell

    def read(self, count: int = -1) -> bytes:
        if self._remote:
            self._pipe.add(STORE)
            self._pipe.flush()
        try:
            data = self._file.read(count)
        finally:
            if self._remote:
                self._pipe.add(DECODER)
                self._pipe.flush()
        position = self._file.tell()
        if position > self._furthest:
            self._furthest = position
            self._pipe.progress()
        return data


def main() -> None:
    parent, memory_mb = int(sys.argv[1]), int(sys.argv[2])
    requests, answers = _own_pipes()
    _end_with(parent, requests)
    pipe = Pipe(answers)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _import_decoders()
    _limit(memory_mb)
    pipe.add(READY)
    with suppress(BrokenPipeError):
        pipe.flush()
        while request := _request(requests):
            told = answer(request, pipe)
            pipe.add(RESULT, json.dumps(told).encode())
            pipe.flush()
            if told.get("memory") or "crash" in told:  # nobody knows what it left behind
                break


def answer(request: list[Any], pipe: Pipe) -> dict[str, Any]:
    """What the parent is told at the end; the PCM has gone before."""
    uri, member, spans, max_duration_s, tick_s, data = request
    pipe.begin(tick_s)
    try:
        faults, probe = _decode(uri, member, spans, max_duration_s, data, pipe)
    except BrokenPipeError:
        raise
    except Exception as error:
        return _told(error)
    if any(fault is not None and _lacked_memory(fault) for fault in faults):
        return {"memory": True}
    named = {str(span): [fault.reason, fault.detail] for span, fault in enumerate(faults) if fault is not None}
    said = [probe.duration_s, probe.sampling_rate_hz, probe.channels, probe.codec, probe.taken]
    return {"faults": named, "probe": said}


def _decode(
    uri: str,
    member: str | None,
    spans: list[audio.Span],
    max_duration_s: float | None,
    data: bytes | None,
    pipe: Pipe,
) -> tuple[list[AudioError | None], audio.Probe]:
    label = audio.name_of(uri, member)
    remote = data is None and not storage.is_local(uri)
    opened = audio.open_audio(uri, member) if data is None else nullcontext(cast(BinaryIO, io.BytesIO(data)))

    def take(span: int, part: Pcm) -> None:
        pipe.add(PCM, SPAN.pack(span), part.astype("<i2", copy=False).tobytes())

    def seen(blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            if len(block):
                pipe.progress()
            yield block

    with opened as file:
        if remote:
            pipe.add(DECODER)
            pipe.flush()
        with open_track(cast(BinaryIO, Watched(file, pipe, remote)), label) as track:
            track.blocks = seen(track.blocks)
            return audio.pass_spans(track, label, spans, max_duration_s, take)


def _told(error: Exception) -> dict[str, Any]:
    if _lacked_memory(error):
        return {"memory": True}
    if isinstance(error, AudioError):
        return {"audio": [error.reason, error.detail]}
    if isinstance(error, storage.StoreError):
        return {"store": str(error)}
    if isinstance(error, LLaSOError | OSError | ImportError):  # nothing of the file's
        return {"error": str(error)}
    return {"crash": f"{type(error).__name__}: {error}"[:1000]}


def _lacked_memory(error: BaseException | None) -> bool:
    """Whether memory is at the bottom of it: decoders say so in many ways."""
    while error is not None:
        lacked = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
        if lacked or getattr(error, "code", None) == SNDFILE_MALLOC_FAILED:
            return True
        error = error.__cause__ or error.__context__
    return False


def _request(requests: int) -> list[Any] | None:
    size = _read(requests, SPAN.size)
    text = b"" if size is None else _read(requests, SPAN.unpack(size)[0])
    if not text:
        return None
    request: list[Any] = json.loads(text)
    if request[-1] is not None:
        request[-1] = _read(requests, request[-1])
    return request


def _read(descriptor: int, count: int) -> bytes | None:
    """So many bytes; None where the parent is gone."""
    data = bytearray()
    while len(data) < count:
        more = os.read(descriptor, min(count - len(data), _READ_BYTES))
        if not more:
            return None
        data += more
    return bytes(data)


def _own_pipes() -> tuple[int, int]:
    """Standard input and output for us alone: what a library prints goes to standard error."""
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return requests, answers


def _end_with(parent: int, requests: int) -> None:
    """Die when the parent does, at whatever we are: Linux sends a signal; elsewhere a thread sees the pipe close."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it was faster
            os._exit(1)
    threading.Thread(target=_watch, args=(requests,), daemon=True).start()


def _watch(requests: int) -> None:
    poll = select.poll()
    poll.register(requests, select.POLLHUP)
    while not any(event & select.POLLHUP for _, event in poll.poll()):
        time.sleep(1)
    os._exit(1)


def _import_decoders() -> None:
    import av
    import soundfile
    import soxr

    assert av and soundfile and soxr
    np.zeros(1)


def _limit(memory_mb: int) -> None:
    """What may be written to, beyond what we have now. Libraries and reserved addresses do not count."""
    used = 0
    with suppress(FileNotFoundError):  # not Linux
        status = Path("/proc/self/status").read_text()
        used = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
    limit = used + memory_mb * 1024 * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit if hard == resource.RLIM_INFINITY else min(hard, limit)))


if __name__ == "__main__":
    main()
