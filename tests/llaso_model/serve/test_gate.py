"""The gate by itself, as what runs ASGI applications calls it."""

from __future__ import annotations

import asyncio
from typing import Any

from llaso_model.serve.gate import Gate
from llaso_model.serve.metrics import Metrics
from llaso_model.serve.settings import Keys, ServeLimits
from tests.support.served import KEY


def test_a_request_that_its_caller_cancels_counts_as_one_whose_client_left() -> None:
    began = asyncio.Event()
    path = "/v1/models"

    async def answers(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        raise AssertionError("nothing is answered")

    async def ask(gate: Gate) -> None:
        headers = [(b"authorization", f"Bearer {KEY}".encode())]
        asked = asyncio.ensure_future(gate({"type": "http", "path": path, "headers": headers}, receive, send))
        await began.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

    gate = Gate(answers, Keys({"one": KEY}), ServeLimits(), Metrics(), frozenset({path}))
    asyncio.run(ask(gate))
    assert gate.metrics.value("llaso_requests_total", path=path, status="499") == 1 and not gate.open
