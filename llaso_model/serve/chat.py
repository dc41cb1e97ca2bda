"""``/v1/chat/completions``: text and audio in, text out, and audio where a voice is there."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from llaso_model.engine.requests import Answer, Request, Sampling
from llaso_model.serve.answering import Asked
from llaso_model.serve.bodies import json_of
from llaso_model.serve.chat_request import REFUSED, ChatBody, conversation_of, sampling_of
from llaso_model.serve.errors import ApiError, unsupported
from llaso_model.serve.events import EventStream
from llaso_model.serve.service import Service
from llaso_model.serve.spoken import EXPIRES_S, SpokenAnswer, spoken_answer

_FINISH = {"stop": "stop", "length": "length", "cancelled": "length"}


async def completions(http: HttpRequest) -> Response:
    """Answers to a conversation."""
    service: Service = http.app.state.service
    body = await json_of(http, ChatBody, REFUSED)
    service.check_model(body.model)
    if body.wants_audio:
        _check_voice(service, body)
    conversation = await conversation_of(service, body)
    refusal = service.served.refusal(conversation) if service.served.refusal is not None else None
    if refusal is not None:
        raise ApiError(400, f"messages: {refusal}", "messages", "invalid_value")
    sampling = sampling_of(body, service.served.max_new_tokens)
    completion = _Completion(service, body, f"chatcmpl-{uuid.uuid4().hex}", service.served.names[0])
    stack = AsyncExitStack()
    try:
        asked = [
            await stack.enter_async_context(service.answering.ask(Request(conversation, one)))
            for one in _choices(sampling, body.n)
        ]
        if body.stream:
            events = completion.chunks(asked, stack)
            return EventStream(events, "[DONE]")
        whole = await completion.whole(asked)
    except BaseException:
        await stack.aclose()
        raise
    await stack.aclose()
    return JSONResponse(whole)


@dataclass(slots=True)
class _Completion:
    """What the responses of one request share."""

    service: Service
    body: ChatBody
    id: str
    model: str
    started: float = 0.0

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    async def whole(self, asked: list[Asked]) -> dict[str, Any]:
        """The response without streaming."""
        choices = await asyncio.gather(*(self._choice(number, one) for number, one in enumerate(asked)))
        answers = [await one.result() for one in asked]
        return {
            "id": self.id,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": choices,
            "usage": _usage(answers),
        }

    async def _choice(self, number: int, asked: Asked) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        if self.body.wants_audio:
            spoken = self._spoken()
            data = b"".join([part async for _, part in spoken.of(asked)])
            message["audio"] = spoken.whole(data)
        else:
            message["content"] = (await asked.result()).text
        answer = await asked.result()
        finish = _FINISH[answer.finish_reason]
        return {"index": number, "message": message, "finish_reason": finish, "logprobs": None}

    async def chunks(self, asked: list[Asked], stack: AsyncExitStack) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a stream, those of several choices as they come."""
        deltas: asyncio.Queue[tuple[int, dict[str, Any] | Exception | None]] = asyncio.Queue()

        async def read(number: int, one: Asked) -> None:
            try:
                async for delta in self._deltas(one):
                    deltas.put_nowait((number, delta))
                deltas.put_nowait((number, None))
            except Exception as error:
                deltas.put_nowait((number, error))

        async with stack:
            reading = [asyncio.ensure_future(read(number, one)) for number, one in enumerate(asked)]
            try:
                for number in range(len(asked)):
                    yield self._chunk(number, {"role": "assistant", "content": "", "refusal": None})
                going, is_first = len(asked), True
                while going:
                    number, delta = await deltas.get()
                    if isinstance(delta, Exception):
                        raise delta
                    if delta is None:
                        going -= 1
                        answer = await asked[number].result()
                        yield self._chunk(number, {}, _FINISH[answer.finish_reason])
                        continue
                    if is_first:
                        self.service.metrics.observe("llaso_first_text_seconds", time.monotonic() - self.started)
                        is_first = False
                    yield self._chunk(number, delta)
                if self.body.includes_usage:
                    yield {**self._head(), "choices": [], "usage": _usage([await one.result() for one in asked])}
            finally:
                for task in reading:
                    task.cancel()

    async def _deltas(self, asked: Asked) -> AsyncIterator[dict[str, Any]]:
        if not self.body.wants_audio:
            async for piece in asked:
                yield {"content": piece}
            return
        spoken = self._spoken()
        async for text, data in spoken.of(asked):
            if text:
                yield {"audio": {"id": spoken.id, "transcript": text}}
            if data:
                yield {"audio": {"id": spoken.id, "data": spoken.base64(data)}}
        yield {"audio": {"id": spoken.id, "expires_at": int(time.time()) + EXPIRES_S, **spoken.told()}}

    def _spoken(self) -> SpokenAnswer:
        assert self.body.audio is not None
        return spoken_answer(self.service, self.body.audio.voice_name, self.body.audio.form, self.body.stream)

    def _head(self) -> dict[str, Any]:
        created = int(time.time())
        return {"id": self.id, "object": "chat.completion.chunk", "created": created, "model": self.model}

    def _chunk(self, number: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": number, "delta": delta, "finish_reason": finish, "logprobs": None}
        usage = {"usage": None} if self.body.includes_usage else {}
        return {**self._head(), "choices": [choice], **usage}


def _choices(sampling: Sampling, count: int) -> list[Sampling]:
    """The parameters of each choice: with a seed, each has a seed of its own."""
    if sampling.seed is None:
        return [sampling] * count
    return [replace(sampling, seed=(sampling.seed + number) % 2**63) for number in range(count)]


def _usage(answers: list[Answer]) -> dict[str, int]:
    read = answers[0].prompt_tokens if answers else 0
    wrote = sum(len(one.tokens) for one in answers)
    return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}


def _check_voice(service: Service, body: ChatBody) -> None:
    """Raises ApiError where an answer cannot be spoken as it is asked for."""
    if service.served.speaker is None:
        raise unsupported("modalities", "this server has no voice: pip install 'llaso[voices]', and restart it")
    if body.audio is None:
        raise ApiError(
            400, "audio: say {voice, format} for an answer with audio", "audio", "missing_required_parameter"
        )
    service.check_voice(body.audio.voice_name, "audio.voice")
