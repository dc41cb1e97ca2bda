"""Server-sent events: JSON objects as they come, an error as one of them."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from starlette.responses import StreamingResponse

from llaso_model.serve.errors import api_error

log = logging.getLogger(__name__)


class EventStream(StreamingResponse):
    """A response of events.

    Args:
        events: JSON objects. An error that it raises is the last event, in OpenAI's shape.
        ends_with: The data of one more event, such as ``[DONE]``; None: none.
    """

    def __init__(self, events: AsyncIterator[dict[str, Any]], ends_with: str | None = None) -> None:
        super().__init__(_lines(events, ends_with), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _lines(events: AsyncIterator[dict[str, Any]], ends_with: str | None) -> AsyncIterator[str]:
    async with aclosing(events) as closing:  # type: ignore[type-var]  # an asynchronous generator
        try:
            async for event in closing:
                yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
        except Exception as error:
            refused = api_error(error)
            if refused.status == 500:
                log.exception("a stream has failed")
            yield f"data: {json.dumps(refused.body())}\n\n"
            return
    if ends_with is not None:
        yield f"data: {ends_with}\n\n"
