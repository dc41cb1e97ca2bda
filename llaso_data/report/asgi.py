"""What all servers of the project do: headers of every reply, and an end to connections on which nothing happens."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

POLICY = "Content-Security-Policy"
_HEADERS = {
    POLICY: "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",  # the address may have the key
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def guarded(send: Send) -> Send:
    """Sends with the headers of every reply; a page comes with its own policy."""

    async def guard(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return guard


def patient(patience_s: float) -> type[H11Protocol]:
    """uvicorn's protocol that closes a connection on which nothing happens.

    uvicorn alone waits without end for the first request of a connection, and for a client that reads nothing.

    Args:
        patience_s: How long a client may take to say what it asks, and to take a part of the answer.
    """

    class Patient(H11Protocol):
        """Closes idle connections: without a whole request head, or with an answer that the client does not read.

        One that has become a WebSocket has pings of its own.
        """

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._check_progress(None)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._next_check.cancel()

        def _check_progress(self, before: tuple[Any, ...] | None) -> None:
            """Closes the connection where nothing changed since the last check, and the server is not at work."""
            if self.transport.get_protocol() is not self:
                return
            unread = self.transport.get_write_buffer_size()
            state = (self.cycle, unread)
            is_answering = self.cycle is not None and not self.cycle.response_complete
            if state == before and (unread or not is_answering):
                self.transport.abort()
            else:
                self._next_check = self.loop.call_later(patience_s, self._check_progress, state)

    return Patient
