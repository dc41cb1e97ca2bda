"""Pages that a person works in: a small server for this machine, for as long as the work takes.

The address has a token that is drawn for every run, and is answered under this machine's names only; so neither another
user of the machine nor a page of another site can ask for anything.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from llaso_data.errors import LLaSOError
from llaso_data.loopback import LOOPBACK, is_loopback

_MOST_BYTES = 1 << 16  # of a request
_TIMEOUT_S = 60.0


S = TypeVar("S", bound="Served")


class Reply(NamedTuple):
    data: bytes
    kind: str
    status: HTTPStatus = HTTPStatus.OK
    policy: str = "default-src 'none'"
    location: str | None = None


class Served:
    """What one command serves until it is closed; a context manager. ``url`` is the page's address.

    Raises LLaSOError where the address is taken.
    """

    command: str  # that printed the address

    def __init__(self, host: str = LOOPBACK, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(16)
        self._once: list[str] = []
        try:
            self._http = _Server((host, port), _handler(self))
        except OSError as error:
            raise LLaSOError(f"{host}:{port}: cannot be listened at ({error.strerror}); pass another --port") from error
        self.host, self.port = host, int(self._http.server_address[1])
        self._names = {"localhost", socket.gethostname().lower(), host.lower()}

    @property
    def url(self) -> str:
        return self._url(self.token)

    def once(self) -> str:
        """An address that leads to the page one time: a browser's command line is seen by all users of the machine."""
        self._once.append(secrets.token_urlsafe(16))
        return self._url(self._once[-1])

    def redeemed(self, token: str) -> bool:
        """Whether a token is one of :meth:`once` that nobody came with before."""
        try:
            self._once.remove(token)
        except ValueError:
            return False
        return True

    @property
    def exposure(self) -> str | None:
        """What it means to listen elsewhere than on loopback; None there."""
        if is_loopback(self.host):
            return None
        return (
            f"listening at {self.host or '0.0.0.0'}, for other machines too: whoever has the address reads and "
            "answers, and it crosses the network in clear"
        )

    def _url(self, token: str) -> str:
        shown = "localhost" if self.host in ("", "0.0.0.0", "::") else self.host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/{token}/"

    def serve(self) -> None:
        """Answers requests until :meth:`stop`, or an interrupt."""
        self._http.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        self._http.shutdown()

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.server_close()

    def page(self) -> tuple[str, str]:
        """(the page, its policy)."""
        raise NotImplementedError

    def get(self, path: str) -> Reply | None:
        """What else there is behind the token; None where there is no such thing."""
        raise NotImplementedError

    def posts(self) -> Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]:
        """By path, what takes a JSON object and gives one."""
        raise NotImplementedError

    def is_named(self, host: str) -> bool:
        """Whether a Host header means this machine and not a name that was made to point here (DNS rebinding).

        Any port will do: it may come through a tunnel.
        """
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
            return True
        except ValueError:
            return name in self._names


def said(answer: Callable[[], dict[str, Any]]) -> Reply:
    """An answer in JSON, or why there is none."""
    try:
        found, status = answer(), HTTPStatus.OK
    except LLaSOError as error:
        found, status = {"error": str(error)}, HTTPStatus.CONFLICT
    except Exception as error:
        traceback.print_exc()
        found, status = {"error": f"{type(error).__name__}: {error}"}, HTTPStatus.INTERNAL_SERVER_ERROR
    return Reply(json.dumps(found).encode(), "application/json", status)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is no news."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _handler(served: Served) -> type[BaseHTTPRequestHandler]:
    posts = served.posts()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "llaso"
        sys_version = ""
        timeout = _TIMEOUT_S

        def do_GET(self) -> None:
            path = self._allowed()
            if path == "":
                try:
                    text, policy = served.page()
                except LLaSOError as error:
                    return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
                self._send(Reply(text.encode(), "text/html; charset=utf-8", policy=policy))
            elif path is not None:
                reply = served.get(path)
                if reply is None:
                    return self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
                self._send(reply)

        def do_POST(self) -> None:
            body = self._body()
            path = None if body is None else self._allowed()
            if path is None or body is None:
                return  # which was said
            origin = self.headers.get("Origin")
            if origin is not None and urlsplit(origin).netloc != self.headers.get("Host"):
                self._refuse(HTTPStatus.FORBIDDEN, "a page of another site asked")
            elif path not in posts:
                self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
            elif self.headers.get_content_type() != "application/json":
                self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON")
            else:
                self._send(said(lambda: posts[path](_object(body))))

        def _allowed(self) -> str | None:
            """The path behind the token; None where the request was refused."""
            if not served.is_named(self.headers.get("Host", "")):
                self._refuse(HTTPStatus.FORBIDDEN, "this server is asked by its own name only")
                return None
            token, slash, path = urlsplit(self.path).path.removeprefix("/").partition("/")
            if slash and not path and self.command == "GET" and served.redeemed(token):
                self._send(Reply(b"", "text/plain", HTTPStatus.SEE_OTHER, location=f"/{served.token}/"))
                return None
            if not slash or not secrets.compare_digest(token.encode(), served.token.encode()):
                self._refuse(
                    HTTPStatus.FORBIDDEN, f"use the address that {served.command} printed; it is another every time"
                )
                return None
            return path

        def _body(self) -> bytes | None:
            try:
                size = int(self.headers.get("Content-Length", ""))
            except ValueError:
                size = -1
            if not 0 <= size <= _MOST_BYTES:
                self.close_connection = True
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too much")
                return None
            return self.rfile.read(size)

        def _refuse(self, status: HTTPStatus, why: str) -> None:
            self._send(Reply(why.encode(), "text/plain; charset=utf-8", status))

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in {
                "Content-Type": reply.kind,
                "Content-Length": str(len(reply.data)),
                "Content-Security-Policy": f"{reply.policy}; frame-ancestors 'none'",
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",  # the address is the key
                "Cross-Origin-Resource-Policy": "same-origin",
                "Cache-Control": "no-store",
            }.items():
                self.send_header(name, value)
            if reply.location is not None:
                self.send_header("Location", reply.location)
            self.end_headers()
            self.wfile.write(reply.data)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the terminal shows what matters."""

    return Handler


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise LLaSOError("not a JSON object")
    return found
