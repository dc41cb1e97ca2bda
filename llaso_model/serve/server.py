"""uvicorn with this server's manners: idle connections are closed, and SIGTERM lets requests end first."""

from __future__ import annotations

import asyncio
import logging
import socket
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from llaso_data.errors import LLaSOError
from llaso_model.serve.app import application
from llaso_model.serve.gate import Gate
from llaso_model.serve.service import Service
from llaso_model.serve.settings import Keys

log = logging.getLogger(__name__)
_PATIENCE_S = 60.0  # of a connection on which nothing happens and nothing is answered
_KEEP_ALIVE_S = 30
_LOOK_EVERY_S = 0.1
_FRAME_BYTES = 16 << 20  # the longest WebSocket message: OpenAI's own bound is 15 MiB of audio


class Server(uvicorn.Server):
    """Serves a service's addresses on a socket.

    The first SIGTERM or SIGINT ends new requests (503) and waits for those that are being answered; the second ends
    at once.
    """

    def __init__(self, service: Service, keys: Keys, listener: socket.socket) -> None:
        self.gate: Gate = application(service, keys)
        self._service, self._listener = service, listener
        self._draining: asyncio.Task[None] | None = None
        super().__init__(
            uvicorn.Config(
                self.gate,
                loop="asyncio",
                http=_Patient,
                ws="websockets-sansio",
                ws_max_size=_FRAME_BYTES,
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=5,
            )
        )

    def serve_forever(self) -> None:
        """Serves until a signal, or :meth:`stop`. Returns after the drain."""
        self.run(sockets=[self._listener])

    def stop(self) -> None:
        """Begins the drain. It is to be called in the event loop."""
        if self._draining is not None:
            self.should_exit = self.force_exit = True
            return
        self.gate.draining = True
        log.info("ending: %d requests are answered first", self.gate.open)
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    def stop_soon(self) -> None:
        """Calls :meth:`stop` in the event loop. From any thread."""
        self._loop.call_soon_threadsafe(self.stop)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins the drain at the first signal, and ends at once at the second."""
        self.stop_soon()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts the engine, then answers."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def _drain(self) -> None:
        deadline = asyncio.get_running_loop().time() + self._service.limits.drain_s
        for session in list(self._service.sessions):
            session.end()
        while self.gate.open and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_LOOK_EVERY_S)
        if self.gate.open:
            log.warning("%d requests have not ended in time", self.gate.open)
        self.should_exit = True


class _Patient(H11Protocol):
    """Closes idle connections: without a whole request head, or with an answer that the client does not read.

    uvicorn alone waits without end for the first request of a connection, and for a client that reads nothing.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._check_progress(None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._next_check.cancel()

    def _check_progress(self, before: tuple[Any, ...] | None) -> None:
        """Closes the connection where nothing changed since the last check, and the server is not at work."""
        unread = self.transport.get_write_buffer_size()
        state = (self.cycle, unread)
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if state == before and (unread or not is_answering):
            self.transport.abort()
        else:
            self._next_check = self.loop.call_later(_PATIENCE_S, self._check_progress, state)


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections. Raises LLaSOError where the address is taken, or there is none such."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise LLaSOError(f"{host}:{port}: cannot serve there ({reason}); pass another --port or --host") from error
    return listener
