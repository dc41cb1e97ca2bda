"""An address on loopback that speaks as OpenAI's ``/v1/audio/speech`` does, or fails in the ways that such have."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from llaso_data.audio.encoding import encode

RATE_HZ = 24_000
TONE = (8000 * np.sin(np.arange(RATE_HZ // 4) / 5)).astype(np.int16)
WAV = encode(TONE, "wav", RATE_HZ)
_RATE_AT, _SIZE_AT = 24, WAV.index(b"data") + 4
_LONG_S = 1000.0
LET_GO = threading.Event()  # what `held` waits for


def _with_number(at: int, number: int) -> bytes:
    """The file with another number in its header."""
    return WAV[:at] + struct.pack("<I", number) + WAV[at + 4 :]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with suppress(OSError):  # the client has left
            KINDS[self.path.split("/")[1]](self)

    def answer(self, data: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        """Answers with these bytes, whatever length is said."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def cut(self) -> None:
        self.answer(WAV[:2000], length=len(WAV))
        self.close_connection = True

    def drip(self) -> None:
        self.answer(WAV[:44], length=len(WAV))
        for at in range(44, len(WAV)):
            self.wfile.write(WAV[at : at + 1])
            time.sleep(0.05)

    def log_message(self, *parts: object) -> None:
        pass


KINDS: dict[str, Callable[[_Handler], None]] = {
    "good": lambda one: one.answer(WAV),
    "endless": lambda one: one.answer(_with_number(_SIZE_AT, 0xFFFFFFFF)),
    "unsaid": lambda one: one.answer(_with_number(_SIZE_AT, 0)),
    "html": lambda one: one.answer(b"<html><body>Welcome</body></html>", content_type="text/html"),
    "gateway": lambda one: one.answer(b"<html><body>502</body></html>", 502, content_type="text/html"),
    "nowhere": lambda one: one.answer(b"{}", 404),
    "busy": lambda one: one.answer(b"", 429, retry_after="30"),
    "cut": _Handler.cut,
    "zipped": lambda one: one.answer(WAV, content_encoding="gzip"),
    "slow": lambda one: time.sleep(_LONG_S),
    "held": lambda one: one.answer(WAV) if LET_GO.wait(_LONG_S) else None,
    "drip": _Handler.drip,
    "empty": lambda one: one.answer(encode(TONE[:0], "wav", RATE_HZ)),
    "long": lambda one: one.answer(encode(np.resize(TONE, 31 * RATE_HZ), "wav", RATE_HZ)),
    "rate": lambda one: one.answer(_with_number(_RATE_AT, 1)),
    "numbers": lambda one: one.answer(_floats(float("nan"))),
}
"""What the address does, by the first part of its path."""


def _floats(value: float) -> bytes:
    """A WAV file of 32-bit floats that all have one value."""
    samples = np.full(RATE_HZ, value, "<f4").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, RATE_HZ, 4 * RATE_HZ, 4, 32)
    chunks = b"WAVE" + form + struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI", b"RIFF", len(chunks)) + chunks


@contextmanager
def speaking() -> Iterator[str]:
    """The beginning of the addresses, to which a kind and ``/v1`` are added."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        listening.socket.close()  # and does not wait for what is slow
