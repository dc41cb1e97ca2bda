"""The process that the decode worker starts. It reads requests, decodes, and writes frames until its parent is gone.

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
from llaso_data.audio.decoders import SNDFILE_MALLOC_FAILED, open_track
from llaso_data.audio.tracks import Block
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.io import storage

_FLUSH_BYTES = 1 << 18
_READ_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1


class FrameWriter:
    """Writes frames to the parent: many at once, unless the parent waits for a sign of life.

    Attributes:
        tick_s: seconds of work after which the parent gets a tick.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pending: list[bytes] = []
        self._bytes = 0
        self.tick_s = 1.0
        self._written_s = 0.0

    def begin(self, tick_s: float) -> None:
        """Begin the answer to a request, with a tick every ``tick_s`` seconds."""
        self.tick_s = tick_s
        self._written_s = time.monotonic()

    def add(self, kind: bytes, *data: bytes) -> None:
        """Add a frame whose content is ``data``, one piece after the other."""
        size = sum(map(len, data))
        self._pending += [FRAME.pack(kind, size), *data]
        self._bytes += FRAME.size + size
        if self._bytes > _FLUSH_BYTES:
            self.flush()

    def progress(self) -> None:
        """Take note of progress; once in ``tick_s`` seconds the parent is told."""
        if time.monotonic() - self._written_s > self.tick_s:
            self.add(TICK)
            self.flush()

    def flush(self) -> None:
        """Write all frames that wait.

        Raises:
            BrokenPipeError: where the parent is gone.
        """
        data = memoryview(b"".join(self._pending))
        self._pending.clear()
        self._bytes = 0
        while data:
            data = data[os.write(self._descriptor, data) :]
        self._written_s = time.monotonic()


class ProgressFile:
    """A file that reports its reading. Only what was not read before is progress: a decoder may read in circles."""

    def __init__(self, file: BinaryIO, pipe: FrameWriter, remote: bool) -> None:
        self._file = file
        self._pipe = pipe
        self._remote = remote
        self._furthest = 0
        self.seek = file.seek
        self.tell = file.tell

    def read(self, count: int = -1) -> bytes:
        """Read as a file does; of a remote file the parent learns when the store is asked and when it has answered."""
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
    """Answer requests on standard input with frames on standard output, until the parent is gone."""
    parent, memory_mb = int(sys.argv[1]), int(sys.argv[2])
    requests, answers = _own_pipes()
    _exit_with_parent(parent, requests)
    pipe = FrameWriter(answers)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _import_decoders()
    _limit_memory(memory_mb)
    pipe.add(READY)
    with suppress(BrokenPipeError):
        pipe.flush()
        while request := _read_request(requests):
            result = answer(request, pipe)
            pipe.add(RESULT, json.dumps(result).encode())
            pipe.flush()
            if result.get("memory") or "crash" in result:  # what such a decoder left behind is unknown
                break


def answer(request: list[Any], pipe: FrameWriter) -> dict[str, Any]:
    """Decode what a request asks for, and send the PCM.

    Args:
        request: uri, member, spans, ``max_duration_s``, seconds between ticks, and the file's bytes or None.
        pipe: to the parent.

    Returns:
        What the parent gets last: ``faults`` (span to reason and detail) and ``probe``; or why nothing came out:
        ``memory``, ``audio``, ``store``, ``error`` or ``crash``.

    Raises:
        BrokenPipeError: where the parent is gone.
    """
    uri, member, spans, max_duration_s, tick_s, data = request
    pipe.begin(tick_s)
    try:
        faults, probe = _decode(uri, member, spans, max_duration_s, data, pipe)
    except BrokenPipeError:
        raise
    except Exception as error:
        return _error_result(error)
    if any(fault is not None and _out_of_memory(fault) for fault in faults):
        return {"memory": True}
    fault_fields = {str(span): [fault.reason, fault.detail] for span, fault in enumerate(faults) if fault is not None}
    probe_fields = [probe.duration_s, probe.sampling_rate_hz, probe.channels, probe.codec, probe.taken]
    return {"faults": fault_fields, "probe": probe_fields}


def _decode(
    uri: str,
    member: str | None,
    spans: list[audio.Span],
    max_duration_s: float | None,
    data: bytes | None,
    pipe: FrameWriter,
) -> tuple[list[AudioError | None], audio.Probe]:
    label = audio.name_of(uri, member)
    remote = data is None and not storage.is_local(uri)
    opening = audio.open_audio(uri, member) if data is None else nullcontext(cast(BinaryIO, io.BytesIO(data)))

    def take(span: int, part: Pcm) -> None:
        pipe.add(PCM, SPAN.pack(span), part.astype("<i2", copy=False).tobytes())

    def with_progress(blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            if len(block):
                pipe.progress()
            yield block

    with opening as file:
        if remote:
            pipe.add(DECODER)
            pipe.flush()
        with open_track(cast(BinaryIO, ProgressFile(file, pipe, remote)), label) as track:
            track.blocks = with_progress(track.blocks)
            return audio.decode_pass(track, label, spans, max_duration_s, take)


def _error_result(error: Exception) -> dict[str, Any]:
    if _out_of_memory(error):
        return {"memory": True}
    if isinstance(error, AudioError):
        return {"audio": [error.reason, error.detail]}
    if isinstance(error, storage.StoreError):
        return {"store": str(error)}
    if isinstance(error, LLaSOError | OSError | ImportError):  # not the file's fault
        return {"error": str(error)}
    return {"crash": f"{type(error).__name__}: {error}"[:1000]}


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether an error comes from a lack of memory, which decoders report in many ways."""
    while error is not None:
        lacked = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
        if lacked or getattr(error, "code", None) == SNDFILE_MALLOC_FAILED:
            return True
        error = error.__cause__ or error.__context__
    return False


def _read_request(requests: int) -> list[Any] | None:
    size = _read(requests, SPAN.size)
    text = b"" if size is None else _read(requests, SPAN.unpack(size)[0])
    if not text:
        return None
    request: list[Any] = json.loads(text)
    if request[-1] is not None:
        request[-1] = _read(requests, request[-1])
    return request


def _read(descriptor: int, count: int) -> bytes | None:
    """Read ``count`` bytes; None where the parent is gone."""
    data = bytearray()
    while len(data) < count:
        more = os.read(descriptor, min(count - len(data), _READ_BYTES))
        if not more:
            return None
        data += more
    return bytes(data)


def _own_pipes() -> tuple[int, int]:
    """Move standard input and output to descriptors of our own: what a library prints goes to standard error."""
    requests, answers = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return requests, answers


def _exit_with_parent(parent: int, requests: int) -> None:
    """End when the parent ends, even within a decoder: Linux sends a signal; elsewhere a thread sees the pipe close."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before we asked for the signal
            os._exit(1)
    threading.Thread(target=_watch_parent, args=(requests,), daemon=True).start()


def _watch_parent(requests: int) -> None:
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


def _limit_memory(memory_mb: int) -> None:
    """Limit the memory that can be written, beyond what we have now. Libraries and reserved addresses do not count."""
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
