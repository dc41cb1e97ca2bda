"""The rating page on loopback. It answers its own address only; a rating is on the disk before it is confirmed."""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_data.report import page as pages
from llaso_model.evaluate import rate
from llaso_model.evaluate.rows import Row

_MOST_BYTES = 10_000  # of a request's body
_HOSTS = ("localhost", "127.0.0.1", "[::1]", "::1")


class RateServer:
    """Serves the items of one draw to any number of raters; a context manager that holds the socket."""

    def __init__(self, folder: str, items: Sequence[Row], audio_root: str | None = None, port: int = 0) -> None:
        """Raises LLaSOError where the port is taken."""
        self.folder = folder
        self.items = list(items)
        self.audio_root = audio_root
        self.token = secrets.token_urlsafe(16)
        self._rows = {rate.item_id(row): row for row in self.items}
        self._lock = threading.Lock()
        try:
            self._http = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        except OSError as error:
            raise LLaSOError(
                f"127.0.0.1:{port} cannot be listened at ({error.strerror}); pass another --port"
            ) from error
        self._http.daemon_threads = True
        self.port = int(self._http.server_address[1])

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/{self.token}/"

    def serve(self) -> None:
        """Answers requests until :meth:`stop`, or an interrupt."""
        self._http.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        self._http.shutdown()

    def __enter__(self) -> RateServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.server_close()

    def page(self) -> tuple[str, str]:
        """(the page, its Content-Security-Policy)."""
        own = __package__
        scripts = [pages.asset("common.js") + pages.asset("rate.js", own)]
        policy = pages.policy(scripts, "connect-src 'self'")
        html = pages.render(
            "rate.html.j2",
            scripts,
            package=own,
            css=pages.asset("common.css") + pages.asset("rate.css", own),
            policy=policy,
            aspects=rate.ASPECTS,
            count=len(self.items),
            payload=pages.as_json({"aspects": list(rate.ASPECTS), "items": [self._shown(row) for row in self.items]}),
        )
        return html, policy

    def begin(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a rater said so far."""
        name = rate.clean_name(str(request.get("rater", "")))
        said = rate.read(self.folder, name)
        return {"rater": name, "ratings": {item: given for item, given in said.items() if item in self._rows}}

    def say(self, request: dict[str, Any]) -> dict[str, Any]:
        """Saves a rating of one item; no aspects takes it back."""
        name, item = rate.clean_name(str(request.get("rater", ""))), str(request.get("item"))
        if item not in self._rows:
            raise LLaSOError("no such item")
        given = rate.checked(dict(request.get("rating") or {}))
        with self._lock:
            said = rate.read(self.folder, name)
            said.pop(item, None)
            if given:
                said[item] = given
            rate.write(self.folder, name, said, {key: row.prediction.system for key, row in self._rows.items()})
        return {"saved": item}

    def sound(self, item: str) -> bytes | None:
        """The item's sound as Ogg Opus; None where there is none."""
        row = self._rows.get(item)
        if row is None or self.audio_root is None or not row.prediction.audio:
            return None
        root = os.path.realpath(self.audio_root)
        path = os.path.realpath(os.path.join(root, row.prediction.audio[0]))
        if not path.startswith(root + os.sep) or not os.path.isfile(path):
            return None
        try:
            pcm, _ = audio.decode(path, None)
        except LLaSOError:
            return None
        return audio.encode(pcm, "opus")

    def _shown(self, row: Row) -> dict[str, Any]:
        """An item without its system, and without what was extracted: raters judge the answer."""
        one = row.prediction
        has_sound = self.audio_root is not None and bool(one.audio)
        return {
            "id": rate.item_id(row),
            "prompt": one.prompt,
            "reference": one.reference,
            "answer": one.answer,
            "sound": has_sound,
        }


def _handler(server: RateServer) -> type[BaseHTTPRequestHandler]:
    posts = {"begin": server.begin, "rate": server.say}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "llaso-model"
        sys_version = ""
        timeout = 30

        def do_GET(self) -> None:
            path = self._allowed()
            if path == "":
                text, policy = server.page()
                self._send(HTTPStatus.OK, text.encode(), "text/html; charset=utf-8", policy)
            elif path is not None and path.startswith("sound/"):
                data = server.sound(unquote(path.removeprefix("sound/")))
                status = HTTPStatus.NOT_FOUND if data is None else HTTPStatus.OK
                self._send(status, data or b"", "audio/ogg")
            elif path is not None:
                self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

        def do_POST(self) -> None:
            body = self._body()
            path = None if body is None else self._allowed()
            if path is None or body is None:
                return  # which was said
            origin = self.headers.get("Origin")
            if origin is not None and urlsplit(origin).netloc != self.headers.get("Host"):
                self._refuse(HTTPStatus.FORBIDDEN, "a page of another site asked")
            elif path not in posts or self.headers.get_content_type() != "application/json":
                self._refuse(HTTPStatus.NOT_FOUND, "there is no such page, or it is asked in JSON")
            else:
                self._answer(path, body)

        def _answer(self, path: str, body: bytes) -> None:
            try:
                request = json.loads(body)
                if not isinstance(request, dict):
                    raise LLaSOError("not a JSON object")
                said, status = posts[path](request), HTTPStatus.OK
            except (LLaSOError, ValueError, TypeError) as error:
                said, status = {"error": str(error)}, HTTPStatus.CONFLICT
            self._send(status, json.dumps(said).encode(), "application/json")

        def _allowed(self) -> str | None:
            """The path behind the token; None where the request was refused (another name means DNS rebinding)."""
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
            token, slash, path = urlsplit(self.path).path.removeprefix("/").partition("/")
            if name not in _HOSTS:
                self._refuse(HTTPStatus.FORBIDDEN, "this server is asked by its own name only")
            elif not slash or not secrets.compare_digest(token.encode(), server.token.encode()):
                self._refuse(HTTPStatus.FORBIDDEN, "use the address that llaso-model rate printed")
            else:
                return path
            return None

        def _body(self) -> bytes | None:
            size = self.headers.get("Content-Length", "")
            if not size.isdigit() or int(size) > _MOST_BYTES:
                self.close_connection = True
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too much")
                return None
            return self.rfile.read(int(size))

        def _refuse(self, status: HTTPStatus, why: str) -> None:
            self._send(status, why.encode(), "text/plain; charset=utf-8")

        def _send(self, status: HTTPStatus, data: bytes, kind: str, policy: str = "default-src 'none'") -> None:
            self.send_response(status)
            for name, value in {
                "Content-Type": kind,
                "Content-Length": str(len(data)),
                "Content-Security-Policy": f"{policy}; frame-ancestors 'none'",
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",  # the address is the key
                "Cross-Origin-Resource-Policy": "same-origin",
                "Cache-Control": "no-store",
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the terminal shows what matters."""

    return Handler
