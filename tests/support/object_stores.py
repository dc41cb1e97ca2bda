"""A real S3 server for the tests, and a gateway before it that fails on demand."""

from __future__ import annotations

import http.client
import http.server
import logging
import os
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from llaso_data.io import storage

BUCKET = "s3://speech"

Rule = Callable[[str, str], "int | str | None"]
"""(method, path) → None: pass on; a status: answer with it; ``cut``: break the answer off; ``hang``: never answer."""


@contextmanager
def s3_server() -> Iterator[str]:
    """A moto server with the bucket :data:`BUCKET`; botocore finds it by environment variables, in any process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    url = "http://{}:{}".format(*running.get_host_and_port())
    # What an earlier server of this process stored would still be there.
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"), timeout=60).close()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_CONFIG_FILE", os.devnull)
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
            with endpoint(url):
                storage.filesystem(BUCKET)[0].mkdir("speech")
                yield url
    finally:
        running.stop()


@contextmanager
def endpoint(url: str) -> Iterator[None]:
    """Another address for the store; connections are kept by their settings, and the address is not among them."""
    import s3fs

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        s3fs.S3FileSystem.clear_instance_cache()
        yield
    s3fs.S3FileSystem.clear_instance_cache()


class Gateway:
    """An HTTP server that passes requests on to another and fails where ``rule`` says so; ``seen`` has them all."""

    def __init__(self, target: str) -> None:
        self.rule: Rule = lambda method, path: None
        self.seen: list[tuple[str, str]] = []
        self.stopped = threading.Event()
        self._target = urlsplit(target).netloc
        gateway = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def handle_any(self) -> None:
                with suppress(ConnectionError):
                    gateway.handle(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *arguments: object) -> None:
                pass  # a client that was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        if request.headers.get("Expect") == "100-continue":
            pass  # http.server has answered it
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.seen.append((request.command, request.path))
        verdict = self.rule(request.command, request.path)
        if self.stopped.is_set():
            request.close_connection = True
            return
        if verdict == "hang":
            self.stopped.wait(120)
            request.close_connection = True
            return
        if isinstance(verdict, int):
            self._answer(request, verdict, {}, b"")
            return
        onward = http.client.HTTPConnection(self._target, timeout=60)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "expect"}
        onward.request(request.command, request.path, body, headers)
        found = onward.getresponse()
        data = found.read()
        kept = {
            name: value
            for name, value in found.getheaders()
            if name.lower() not in ("connection", "transfer-encoding", "date", "server")
        }
        self._answer(request, found.status, kept, data, len(data) // 2 if verdict == "cut" else None)

    def _answer(
        self,
        request: http.server.BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        data: bytes,
        until: int | None = None,
    ) -> None:
        request.send_response(status)
        if not any(name.lower() == "content-length" for name in headers):
            headers = {**headers, "Content-Length": str(len(data))}
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(data[:until])
        if until is not None:
            request.close_connection = True

    def stop(self) -> None:
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def gateway(target: str) -> Iterator[Gateway]:
    """A gateway before the store, as the store's address while it lives."""
    made = Gateway(target)
    try:
        with endpoint(made.url):
            yield made
    finally:
        made.stop()


def upload(folder: Path, uri: str) -> str:
    """Every file below a folder, under a URI."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            storage.write_bytes(storage.join(uri, path.relative_to(folder).as_posix()), path.read_bytes())
    return uri
