"""The addresses of a server, as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import WebSocketRoute

from llaso_data import __version__
from llaso_data.errors import LLaSOError
from llaso_data.pipeline import memory
from llaso_model.serve import chat, page, realtime, speech, transcriptions
from llaso_model.serve.chat_request import ChatBody
from llaso_model.serve.errors import ApiError, api_error
from llaso_model.serve.gate import LEFT, Gate
from llaso_model.serve.service import Service
from llaso_model.serve.settings import Keys
from llaso_model.serve.speech import SpeechBody

log = logging.getLogger(__name__)
_TICK_S = 1.0
_RELEASE_S = 10.0


def application(service: Service, keys: Keys) -> Gate:
    """The addresses behind their gate.

    Args:
        service: Its engine is started with the application, and ended with it.
        keys: Who may ask.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        ticking = asyncio.ensure_future(_tick(service))
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.get_running_loop().run_in_executor(None, service.close)

    app = FastAPI(
        title="LLaSO",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
        exception_handlers={
            ApiError: _refused,
            LLaSOError: _failed,
            ClientDisconnect: _left,
            HTTPException: _no_address,
            Exception: _failed,
        },
    )
    app.state.service = service
    _add_routes(app)
    known = frozenset(getattr(route, "path", "") for route in app.routes)
    gate = Gate(app, keys, service.limits, service.metrics, known)
    app.state.gate = gate
    return gate


def _add_routes(app: FastAPI) -> None:
    json_body = {"required": True}
    for path, answer, body in (
        ("/v1/chat/completions", chat.completions, ChatBody),
        ("/v1/audio/speech", speech.speech_of_text, SpeechBody),
    ):
        content = {"application/json": {"schema": body.model_json_schema()}}
        app.post(path, openapi_extra={"requestBody": {**json_body, "content": content}})(answer)
    for path, answer in (
        ("/v1/audio/transcriptions", transcriptions.transcriptions),
        ("/v1/audio/translations", transcriptions.translations),
    ):
        content = {"multipart/form-data": {"schema": transcriptions.SCHEMA}}
        app.post(path, openapi_extra={"requestBody": {**json_body, "content": content}})(answer)
    app.get("/v1/models")(_models)
    app.get("/v1/models/{name:path}")(_model)
    app.get("/v1/audio/voices")(_voices)
    app.get("/metrics")(_metrics)
    app.get("/health")(_health)
    app.get("/ready")(_ready)
    app.get("/", include_in_schema=False)(page.page)
    for name in page.FILES:
        app.get(f"/{name}", include_in_schema=False)(page.file)
    app.router.routes.append(WebSocketRoute("/v1/realtime", realtime.session))


async def _tick(service: Service) -> None:
    """Counts tokens every second, and gives freed memory back to the system every so often where some was used.

    What many threads allocate for recordings of all lengths leaves holes, and the C library keeps them.
    """
    released_at, released = time.monotonic(), 0
    while True:
        counts = service.served.engine.counts
        service.metrics.count_tokens(counts.tokens)
        if counts.steps != released and time.monotonic() - released_at > _RELEASE_S:
            released = counts.steps
            await asyncio.to_thread(memory.release)
            released_at = time.monotonic()
        await asyncio.sleep(_TICK_S)


def _model_of(service: Service, name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": service.created, "owned_by": "llaso"}


async def _models(request: Request) -> Response:
    """The names of the model."""
    service: Service = request.app.state.service
    return JSONResponse({"object": "list", "data": [_model_of(service, name) for name in service.served.names]})


async def _model(request: Request) -> Response:
    """The model of a name."""
    service: Service = request.app.state.service
    service.check_model(request.path_params["name"])
    return JSONResponse(_model_of(service, request.path_params["name"]))


async def _voices(request: Request) -> Response:
    """The names of the voices."""
    speaker = request.app.state.service.served.speaker
    return JSONResponse({"object": "list", "data": [{"id": name} for name in speaker.names] if speaker else []})


async def _metrics(request: Request) -> Response:
    """Counts, as Prometheus reads them."""
    service: Service = request.app.state.service
    return PlainTextResponse(service.metrics.text(service.measured()), media_type="text/plain; version=0.0.4")


async def _health(request: Request) -> Response:
    """200 as long as the engine works; else 503: the process should be started again."""
    is_dead = request.app.state.service.served.engine.closed
    return JSONResponse({"status": "failed" if is_dead else "ok"}, 503 if is_dead else 200)


async def _ready(request: Request) -> Response:
    """200 where further requests are welcome; 503 where the server ends, or has as many as it takes."""
    service: Service = request.app.state.service
    gate: Gate = request.app.state.gate
    engine = service.served.engine
    is_full = gate.open >= service.limits.open_requests or engine.waiting >= engine.limits.waiting
    if gate.draining or engine.closed or is_full:
        return JSONResponse({"status": "draining" if gate.draining else "busy"}, 503)
    return JSONResponse({"status": "ready"})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.status, error.headers)


async def _no_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    found = {404: "there is no such address", 405: "this address is not asked with this method"}
    message = f"{request.method} {request.url.path[:100]}: {found.get(error.status_code, error.detail)}"
    return JSONResponse(ApiError(error.status_code, message, code="not_found").body(), error.status_code)


async def _left(request: Request, error: Exception) -> Response:
    """Nobody reads it."""
    return PlainTextResponse("", LEFT)


async def _failed(request: Request, error: Exception) -> Response:
    refused = api_error(error)
    if refused.status == 500:
        log.error("%s has failed", request.url.path, exc_info=error)
    return JSONResponse(refused.body(), refused.status, refused.headers)
