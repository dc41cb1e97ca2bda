"""Who may ask, how much and how long: an ASGI application around the addresses.

A request needs a key, unless its address is open. Its body is bounded in bytes and time. A client that leaves, and a
request that takes too long, cancel the task that answers; that frees its slots before the engine's next step.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llaso_data.report.asgi import guarded
from llaso_model.serve.errors import ApiError, busy
from llaso_model.serve.metrics import Metrics
from llaso_model.serve.page import FILES
from llaso_model.serve.settings import Keys, ServeLimits

OPEN = frozenset({"/", "/health", "/ready", "/openapi.json", *(f"/{name}" for name in FILES)})
"""Addresses that need no key: they say nothing of what is asked."""
KEY_PROTOCOL = "openai-insecure-api-key."
"""Before the key in a WebSocket's subprotocols: browsers can set no header there."""
_DISCARDED_BYTES = 256 << 20  # of a refused body, which is read so that the client gets to read the refusal
_DISCARDED_S = 30.0
LEFT = 499
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Gate:
    """The ASGI application.

    Attributes:
        app: The addresses.
        keys: Who may ask.
        limits: How much.
        metrics: Counts requests.
        known: Paths that metrics name; others are counted together.
        draining: Whether new requests are refused, because the server ends.
        open_by_key: Requests that are being answered, by the name of their key.
        held_bytes: Of their bodies.
    """

    app: ASGIApp
    keys: Keys
    limits: ServeLimits
    metrics: Metrics
    known: frozenset[str]
    draining: bool = False
    open_by_key: Counter[str] = field(default_factory=Counter)
    held_bytes: int = 0

    @property
    def open(self) -> int:
        """How many requests are being answered."""
        return self.open_by_key.total()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        started, path = time.monotonic(), scope["path"]
        send = guarded(send)
        if path in OPEN and scope["type"] == "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            name = self._admitted(scope)
        except ApiError as error:
            await _Body(receive, self, scope).discard()
            await answer.refuse(scope, error)
            self._count(scope, answer.status, started)
            return
        self.open_by_key[name] += 1
        self.metrics.add("llaso_requests_open")
        scope.setdefault("state", {})["key"] = name
        try:
            if scope["type"] == "http":
                await self._answered(scope, receive, answer)
            else:
                await self.app(scope, receive, answer.send)
        finally:
            self.open_by_key[name] -= 1
            self.metrics.add("llaso_requests_open", -1)
            self._count(scope, answer.status, started)

    async def _answered(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """Answers a request, unless its client leaves or its time is over."""
        body = answer.body = _Body(receive, self, scope)
        work = asyncio.ensure_future(self.app(scope, body.receive, answer.send))
        leaving = asyncio.ensure_future(body.left())
        try:
            done, _ = await asyncio.wait(
                {work, leaving}, timeout=self.limits.timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if work in done:
                self._note_end(work, answer)
            elif leaving in done:
                answer.status = LEFT
            else:
                await _cancelled(work)
                await answer.time_is_over(scope, self.limits.timeout_s)
        finally:
            await _cancelled(work)
            await _cancelled(leaving)
            self.held_bytes -= body.held

    @staticmethod
    def _note_end(work: asyncio.Future[None], answer: _Answer) -> None:
        """Looks at how the application ended. It answers its own errors, and logs them."""
        error = work.exception()
        if isinstance(error, ClientDisconnect):
            answer.status = LEFT
        elif error is not None and answer.status and not answer.is_whole:
            log.error("an answer has ended in the middle", exc_info=error)
            raise _BrokenAnswer from error

    def _admitted(self, scope: Scope) -> str:
        """The name of the key that a request comes with. Raises ApiError where it may not be answered now."""
        headers = Headers(scope=scope)
        name = self.keys.name_of(_token(scope, headers))
        if name is None:
            raise ApiError(
                401,
                "no valid key: send it as `Authorization: Bearer KEY` (the client's api_key); the server prints it "
                "at its start, unless it was given one",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if self.draining:
            raise ApiError(503, "the server is ending", code="shutting_down", headers={"Retry-After": "5"})
        if self.open_by_key[name] >= self.limits.per_key:
            raise busy(f"this key has {self.limits.per_key} requests at once already")
        if self.open >= self.limits.open_requests:
            raise busy(f"{self.limits.open_requests} requests are being answered already")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.limits.body_bytes:
            raise too_large(self.limits)
        return name

    def _count(self, scope: Scope, status: int, started: float) -> None:
        status = status or LEFT  # what runs this application may cancel it where a client leaves
        path = scope["path"] if scope["path"] in self.known else "other"
        self.metrics.add("llaso_requests_total", path=path, status=str(status))
        self.metrics.observe("llaso_request_seconds", time.monotonic() - started, path=path)


class _BrokenAnswer(Exception):
    """An answer that ends in the middle: the server closes the connection, so that the client does not take it for
    whole."""


def too_large(limits: ServeLimits) -> ApiError:
    """The refusal of a body with too many bytes."""
    most = limits.body_bytes / (1 << 20)
    return ApiError(413, f"a request of more than {most:g} MiB: send shorter or compressed audio", code="too_large")


@dataclass(slots=True)
class _Answer:
    """What is sent back, as far as it has come."""

    _send: Send
    body: _Body | None = None
    status: int = 0
    kind: str = ""
    is_whole: bool = False

    async def send(self, message: Message) -> None:
        """Passes a message on. A body that nobody read is read to its end first, else its sender may read nothing."""
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            if self.body is not None:
                await self.body.discard()
            self.status = message["status"]
            self.kind = Headers(raw=message["headers"]).get("content-type", "")
        elif message["type"] == "websocket.accept":
            self.status = 101
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_whole = True
        await self._send(message)

    async def refuse(self, scope: Scope, error: ApiError) -> None:
        """Answers with an error."""
        prefix = "websocket.http" if scope["type"] == "websocket" else "http"
        if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
            await self._send({"type": "websocket.close", "code": 1008, "reason": error.message[:100]})
            return
        content = json.dumps(error.body()).encode()
        headers = {"content-type": "application/json", "content-length": str(len(content)), **error.headers}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self.send({"type": f"{prefix}.response.start", "status": error.status, "headers": raw})
        await self.send({"type": f"{prefix}.response.body", "body": content})

    async def time_is_over(self, scope: Scope, timeout_s: float) -> None:
        """Ends an answer that took too long: with 504, with an event, or by closing the connection."""
        error = ApiError(504, f"not answered within {timeout_s:g} s: send less", code="timeout")
        if not self.status:
            await self.refuse(scope, error)
        elif not self.is_whole and self.kind.startswith("text/event-stream"):
            event = f"data: {json.dumps(error.body())}\n\n".encode()
            await self.send({"type": "http.response.body", "body": event})


class _Body:
    """The body of a request, within limits of bytes and time; and whether its client has left."""

    def __init__(self, receive: Receive, gate: Gate, scope: Scope) -> None:
        self._receive, self._gate, self._limits = receive, gate, gate.limits
        self.held = self._bytes = 0
        self._is_slow = False
        self._deadline = time.monotonic() + gate.limits.upload_s
        self._is_whole, self._has_left = asyncio.Event(), asyncio.Event()
        if scope["type"] != "http":
            self._is_whole.set()

    async def receive(self) -> Message:
        """The next message. Raises ApiError where the body is too long, or too slow."""
        if self._is_whole.is_set():
            await self._has_left.wait()
            return {"type": "http.disconnect"}
        message = await self._next(min(self._limits.idle_s, self._deadline - time.monotonic()))
        if self._bytes > self._limits.body_bytes:
            raise too_large(self._limits)
        size = len(message.get("body", b""))
        if self._gate.held_bytes + size > self._limits.held_bytes:
            raise busy("the server holds as many bytes of requests as it takes")
        self.held += size
        self._gate.held_bytes += size
        return message

    async def left(self) -> None:
        """Returns when the client has left, after its whole body has come."""
        await self._is_whole.wait()
        while not self._has_left.is_set():
            self._note(await self._receive())

    async def discard(self) -> None:
        """Reads the rest of the body, if it comes in a while and is not endless."""
        deadline, most = time.monotonic() + _DISCARDED_S, self._bytes + _DISCARDED_BYTES
        while not (self._is_whole.is_set() or self._is_slow) and self._bytes < most:
            with suppress(ApiError):
                await self._next(deadline - time.monotonic())
                continue
            return

    async def _next(self, timeout_s: float) -> Message:
        try:
            message = await asyncio.wait_for(self._receive(), max(timeout_s, 0.001))
        except (asyncio.TimeoutError, TimeoutError):
            self._is_slow = True
            raise ApiError(408, "the request came too slowly", code="too_slow") from None
        self._note(message)
        return message

    def _note(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self._has_left.set()
            self._is_whole.set()
        elif message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            if not message.get("more_body", False):
                self._is_whole.set()


def _token(scope: Scope, headers: Headers) -> str:
    """The key that a request comes with, or an empty text."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    protocols: list[str] = scope.get("subprotocols", [])
    return next((one[len(KEY_PROTOCOL) :] for one in protocols if one.startswith(KEY_PROTOCOL)), "")


async def _cancelled(work: asyncio.Future[Any]) -> None:
    """Cancels what is not done yet, and waits for its end."""
    if not work.done():
        work.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await work
