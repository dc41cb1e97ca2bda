"""The audit's page: a small server for this machine, sounds decoded when they are asked for, answers saved at once.

The address has a token that is drawn for every run, so neither another user of the machine nor a page of another site
can ask for anything. The server hands out this sample's items and takes answers; it knows no other files.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import secrets
import socket
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from llaso_data.errors import LLaSOError
from llaso_data.filters.acceptance import ANSWERS
from llaso_data.report import answers, audit_page
from llaso_data.report.answers import Auditor
from llaso_data.report.audit import Item, Sample, Status, settle

LOOPBACK = "127.0.0.1"

_MOST_BYTES = 1 << 16  # of a request
_KEPT_ITEMS = 32  # decoded, of about 150 kB
_TIMEOUT_S = 60.0


class AuditServer:
    """Serves the audit of a sample until it is closed; a context manager. ``url`` is the page's address.

    `languages` are those to be heard, empty for all. `auditor` is the name that the page begins with. Raises
    LLaSOError where the address is taken, or the auditor is at work elsewhere.
    """

    def __init__(
        self,
        sample: Sample,
        *,
        auditor: str | None = None,
        languages: tuple[str, ...] = (),
        host: str = LOOPBACK,
        port: int = 0,
        title: str | None = None,
    ) -> None:
        self.sample = sample
        self.title = title
        self.auditor = None if auditor is None else answers.clean_name(auditor)
        self.items = [item for item in sample.items if not languages or item.stratum[0] in languages]
        if not self.items:
            raise LLaSOError(f"nothing of the sample is in {', '.join(languages)}")
        self.token = secrets.token_urlsafe(16)
        self._known = {item.utterance.id: item for item in self.items}
        self._lock = threading.Lock()
        self._open = contextlib.ExitStack()  # the auditors' files
        self._auditors: dict[str, Auditor] = {}
        self._sounds: OrderedDict[str, Future[dict[str, Any]]] = OrderedDict()
        self._decoder = ThreadPoolExecutor(1)  # a thread that stays: the decoding process ends with it
        try:
            self._http = _Server((host, port), _handler(self))
        except OSError as error:
            raise LLaSOError(f"{host}:{port}: cannot be listened at ({error.strerror}); pass another --port") from error
        self.host, self.port = host, int(self._http.server_address[1])
        self._names = {"localhost", socket.gethostname().lower(), host.lower()}

    @property
    def url(self) -> str:
        shown = "localhost" if self.host in ("", "0.0.0.0", "::") else self.host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self.port}/{self.token}/"

    def serve(self) -> None:
        """Answers requests until :meth:`stop`, or an interrupt."""
        self._http.serve_forever(poll_interval=0.1)

    def stop(self) -> None:
        self._http.shutdown()

    def __enter__(self) -> AuditServer:
        self._sound(self.items[0])  # the decoder starts while the page is read
        if self.auditor is not None:
            try:
                self.at_work(self.auditor)
            except LLaSOError:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._http.server_close()
        self._decoder.shutdown(cancel_futures=True)
        self._open.close()

    def at_work(self, name: str) -> Auditor:
        """The auditor of that name; their file is this server's until it is closed."""
        name = answers.clean_name(name)
        with self._lock:
            if name not in self._auditors:
                work = answers.at_work(self.sample.align, self.sample.verdicts, name)
                self._auditors[name] = self._open.enter_context(work)
            return self._auditors[name]

    def begin(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """What the auditor said so far, oldest first."""
        work = self.at_work(str(request.get("auditor", "")))
        said = [
            [id_, given.answer]
            for id_, given in work.answers.items()
            if id_ in self._known and given.heard == self._known[id_].heard
        ]
        return {"auditor": work.name, "answers": said}

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Saves one answer, or with null takes it back. It is on the disk when this returns."""
        id_, said = request.get("id"), request.get("answer")
        if id_ not in self._known or said not in (*ANSWERS, None):
            raise LLaSOError("no such item or answer")
        work = self.at_work(str(request.get("auditor", "")))
        with self._lock:
            work.say([(id_, self._known[id_].heard, said)])
            settle(self.sample)
        return {"saved": id_}

    def result(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Where the audit stands, for those who have judged all of their own: nobody is to know before."""
        work = self.at_work(str(request.get("auditor", "")))
        mine = work.answers
        left = [id_ for id_, item in self._known.items() if id_ not in mine or mine[id_].heard != item.heard]
        return {"open": len(left)} if left else audit_page.result(self.status())

    def status(self) -> Status:
        with self._lock:
            return settle(self.sample)

    def item(self, id_: str) -> dict[str, Any]:
        """One item with its sound. Decoded once; the last ones are kept."""
        if id_ not in self._known:
            raise LLaSOError("no such item")
        future = self._sound(self._known[id_])
        try:
            found = future.result()
        except Exception:
            found = None
        if found is None or found["trouble"]:  # the file may come back
            with self._lock:
                self._sounds.pop(id_, None)
        return future.result() if found is None else found

    def _sound(self, item: Item) -> Future[dict[str, Any]]:
        with self._lock:
            id_ = item.utterance.id
            future = self._sounds.get(id_)
            if future is None:
                future = self._sounds[id_] = self._decoder.submit(audit_page.item, item)
            self._sounds.move_to_end(id_)
            while len(self._sounds) > _KEPT_ITEMS:
                self._sounds.popitem(last=False)
            return future

    def page(self) -> tuple[str, str]:
        """(the page, its policy)."""
        return audit_page.page(self.sample, self.items, self.auditor, self.title, self.status())

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


def _handler(audit: AuditServer) -> type[BaseHTTPRequestHandler]:
    posts: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "begin": audit.begin,
        "answer": audit.answer,
        "result": audit.result,
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "llaso-data"
        sys_version = ""
        timeout = _TIMEOUT_S

        def do_GET(self) -> None:
            path = self._allowed()
            if path == "":
                try:
                    text, policy = audit.page()
                except LLaSOError as error:
                    return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
                self._send(HTTPStatus.OK, text.encode(), "text/html; charset=utf-8", policy)
            elif path is not None and path.startswith("item/"):
                self._say(lambda: audit.item(unquote(path.removeprefix("item/"))))
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
            elif path not in posts:
                self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")
            elif self.headers.get_content_type() != "application/json":
                self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON")
            else:
                self._say(lambda: posts[path](_object(body)))

        def _allowed(self) -> str | None:
            """The path behind the token; None where the request was refused."""
            if not audit.is_named(self.headers.get("Host", "")):
                self._refuse(HTTPStatus.FORBIDDEN, "this server is asked by its own name only")
                return None
            token, slash, path = urlsplit(self.path).path.removeprefix("/").partition("/")
            if not slash or not secrets.compare_digest(token.encode(), audit.token.encode()):
                self._refuse(
                    HTTPStatus.FORBIDDEN, "use the address that llaso-data audit printed; it is another every time"
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

        def _say(self, answer: Callable[[], dict[str, Any]]) -> None:
            try:
                said, status = answer(), HTTPStatus.OK
            except LLaSOError as error:
                said, status = {"error": str(error)}, HTTPStatus.CONFLICT
            except Exception as error:
                traceback.print_exc()
                said, status = {"error": f"{type(error).__name__}: {error}"}, HTTPStatus.INTERNAL_SERVER_ERROR
            self._send(status, json.dumps(said).encode(), "application/json")

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


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise LLaSOError("not a JSON object")
    return said
