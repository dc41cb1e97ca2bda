"""Serve pages: Starlette routes requests, uvicorn reads and writes, threads do what blocks.

Middleware, in this order: the headers of every reply, the host name of the request, the token in its address, the site
that it comes from. Only then the body is read, within limits of bytes and time.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import secrets
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.message import Message as Header
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from llaso_data.errors import LLaSOError
from llaso_data.report.asgi import POLICY, guarded, patient

if TYPE_CHECKING:
    from llaso_data.report.served import Json, Served

_MAX_BODY_BYTES = 1 << 16  # of a request's body
_KEEP_ALIVE_S = 30


class Server(uvicorn.Server):
    """Serves one command's pages; ``run(sockets=[…])`` until ``should_exit``, or a signal."""

    def __init__(self, served: Served) -> None:
        super().__init__(
            uvicorn.Config(
                application(served),
                loop="asyncio",
                http=patient(served.patience_s),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",  # the terminal shows what matters
                access_log=False,
                proxy_headers=False,
                server_header=False,
                limit_concurrency=served.most_connections,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=served.ending_s,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let signals end the server, and raise them again for the command's handlers; ignored signals stay ignored."""
        ignored = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) == signal.SIG_IGN]
        with super().capture_signals():
            for number in ignored if threading.current_thread() is threading.main_thread() else ():
                signal.signal(number, signal.SIG_IGN)
            yield


def application(served: Served) -> Starlette:
    """The pages of one command as an ASGI application, with the middleware that protects them."""

    async def page(_: Request) -> Response:
        return await _in(served.reading, _page, served)

    def getting(give: Callable[[str], Json]) -> Callable[[Request], Any]:
        async def get(request: Request) -> Response:
            return await _in(served.reading, _json, lambda: give(request.path_params["name"]))

        return get

    def posting(take: Callable[[Mapping[str, Any]], Json]) -> Callable[[Request], Any]:
        async def post(request: Request) -> Response:
            body = await _body(request, served.patience_s)
            if _content_type(request.headers) != "application/json":
                raise HTTPException(415, "send JSON")
            return await _in(served.saving, _json, lambda: take(_object(body)))

        return post

    app = Starlette(
        routes=[
            Route("/", page),
            *(Route(f"/{first}/{{name:path}}", getting(give)) for first, give in served.gets().items()),
            *(Route(f"/{path}", posting(take), methods=["POST"]) for path, take in served.posts().items()),
        ],
        middleware=[
            Middleware(_SecurityHeaders),
            Middleware(_OwnNames, served=served),
            Middleware(_TokenInAddress, served=served),
            Middleware(_SameSite),
        ],
        exception_handlers={404: _no_such_page},
    )
    app.router.redirect_slashes = False
    return app


# Middleware: who may ask.


class _SecurityHeaders:
    """The headers of every reply; a page comes with its own policy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, guarded(send))


class _OwnNames:
    """Refuses requests under a host name that is not this machine's."""

    def __init__(self, app: ASGIApp, served: Served) -> None:
        self.app, self.served = app, served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if not self.served.is_named(Headers(scope=scope).get("host", "")):
            app = _refusal(403, "this server is asked by its own name only")
        await app(scope, receive, send)


class _TokenInAddress:
    """Lets requests with the token pass, and takes it out of the path. A token that works once redirects to it."""

    def __init__(self, app: ASGIApp, served: Served) -> None:
        self.app, self.served = app, served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app, served = self.app, self.served
        token, slash, path = scope["path"].removeprefix("/").partition("/")
        if slash and not path and scope["method"] == "GET" and served.redeemed(token):
            app = RedirectResponse(f"/{served.token}/", 303)
        elif not slash or not secrets.compare_digest(token.encode(), served.token.encode()):
            app = _refusal(403, f"use the address that {served.command} printed; it is another every time")
        else:
            scope = {**scope, "root_path": f"/{token}"}
        await app(scope, receive, send)


class _SameSite:
    """Refuses POST requests from pages of other sites."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app, headers = self.app, Headers(scope=scope)
        origin = headers.get("origin")
        if scope["method"] == "POST" and origin is not None and urlsplit(origin).netloc != headers.get("host"):
            app = _refusal(403, "a page of another site asked")
        await app(scope, receive, send)


def _refusal(status: int, why: str) -> ASGIApp:
    return PlainTextResponse(why, status)


def _no_such_page(*_: Any) -> Response:
    return PlainTextResponse("there is no such page", 404)


# Requests and replies


async def _body(request: Request, patience_s: float) -> bytes:
    """Read a request's body.

    Raises:
        HTTPException: as soon as it is too long, or has taken too long.
    """
    if int(request.headers.get("content-length", 0)) > _MAX_BODY_BYTES:
        raise HTTPException(413, "too much")
    try:
        return await asyncio.wait_for(_read(request), patience_s)
    except asyncio.TimeoutError:
        raise HTTPException(408, "too slow", {"Connection": "close"}) from None
    except ClientDisconnect:  # nobody reads the answer
        raise HTTPException(400, "not all of it came") from None


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BODY_BYTES:
            raise HTTPException(413, "too much")
    return bytes(body)


def _content_type(headers: Headers) -> str:
    header = Header()
    header["Content-Type"] = headers.get("content-type", "")
    return header.get_content_type()


async def _in(threads: concurrent.futures.ThreadPoolExecutor, make: Callable[..., Response], *args: Any) -> Response:
    return await asyncio.get_running_loop().run_in_executor(threads, make, *args)


def _page(served: Served) -> Response:
    try:
        text, policy = served.page()
    except Exception as error:
        return PlainTextResponse(_trouble(error), 500)
    headers = {POLICY: f"{policy}; frame-ancestors 'none'"}
    return Response(text, 200, headers, "text/html; charset=utf-8")


def _json(answer: Callable[[], Json]) -> Response:
    """An answer as JSON, or the error."""
    try:
        content, status = answer(), 200
    except LLaSOError as error:
        content, status = {"error": str(error)}, 409
    except concurrent.futures.CancelledError:  # of a sound that was not decoded yet
        content, status = {"error": "the program is ending"}, 503
    except Exception as error:
        content, status = {"error": _trouble(error)}, 500
    return Response(json.dumps(content), status, media_type="application/json")


def _trouble(error: Exception) -> str:
    """The text of an error for the page; the traceback of an unexpected one goes to the terminal."""
    if isinstance(error, LLaSOError):
        return str(error)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise LLaSOError("not a JSON object")
    return value
