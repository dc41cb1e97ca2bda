"""uvicorn with this server's manners: idle connections are closed, and SIGTERM lets requests end first."""

from __future__ import annotations

import asyncio
import logging
import socket
from types import FrameType

import uvicorn

from llaso_data.report.asgi import patient
from llaso_model.serve.app import application
from llaso_model.serve.gate import Gate
from llaso_model.serve.service import Service
from llaso_model.serve.settings import Keys

log = logging.getLogger(__name__)
_PATIENCE_S = 60.0  # of a connection on which nothing happens and nothing is answered
_KEEP_ALIVE_S = 30
_LOOK_EVERY_S = 0.1
_FRAME_BYTES = 16 << 20  # the longest WebSocket message: OpenAI's own bound is 15 MiB of audio
_PONG_S = 300.0  # a client's pong waits behind the audio that it has sent and that is not read yet


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
                http=patient(_PATIENCE_S),
                ws="websockets-sansio",
                ws_max_size=_FRAME_BYTES,
                ws_ping_timeout=_PONG_S,
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
