"""``/v1/audio/speech``: text aloud."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from llaso_data.instruct.voices import SpeechError
from llaso_model.serve.bodies import json_of
from llaso_model.serve.errors import ApiError, unsupported
from llaso_model.serve.events import EventStream
from llaso_model.serve.service import Service
from llaso_model.serve.spoken import SpokenAnswer, speech
from llaso_model.voice.encoding import MEDIA_TYPES
from llaso_model.voice.sentences import sentences
from llaso_model.voice.speaking import FASTEST, SLOWEST, Spoken

_LONGEST = 4096
_REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "instructions": (("",), "voices take no instructions"),
}


class SpeechBody(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    input: str = Field(min_length=1, max_length=_LONGEST)
    voice: str | dict[str, Any]
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = Field(1.0, ge=SLOWEST, le=FASTEST, strict=False)
    stream_format: Literal["audio", "sse"] = "audio"


async def speech_of_text(request: Request) -> Response:
    """A text, spoken sentence by sentence. A text with a sentence that no voice can speak is refused."""
    service: Service = request.app.state.service
    body = await json_of(request, SpeechBody, _REFUSED)
    service.check_model(body.model)
    if service.served.speaker is None:
        raise unsupported("model", "this server has no voice: pip install 'llaso[voices]', and restart it")
    voice = body.voice if isinstance(body.voice, str) else str(body.voice.get("id", ""))
    service.check_voice(voice, "voice")
    waiting: asyncio.Queue[str | None] = asyncio.Queue()
    for sentence in sentences(body.input):
        try:
            service.served.speaker.prepared(sentence, voice)
        except SpeechError as error:
            raise ApiError(400, f"input: {error}", "input", f"unspeakable_{error.reason}") from error
        waiting.put_nowait(sentence)
    waiting.put_nowait(None)
    unspoken: list[Spoken] = []
    parts = speech(service, waiting, voice, body.speed, body.response_format, unspoken)
    first = await anext(parts, b"")
    if unspoken:  # what came is the head of a file without sound
        raise ApiError(502, f"input: {unspoken[0].problem}", "input", str(unspoken[0].reason))

    async def rest() -> AsyncIterator[bytes]:
        yield first
        async for part in parts:
            if unspoken:  # a sentence that can be spoken, and was not: the client sees a broken connection
                raise SpeechError(str(unspoken[0].reason), str(unspoken[0].problem))
            yield part

    async def events() -> AsyncIterator[dict[str, Any]]:
        async for part in rest():
            yield {"type": "speech.audio.delta", "audio": SpokenAnswer.base64(part)}
        tokens = {"input_tokens": len(body.input), "output_tokens": 0, "total_tokens": len(body.input)}
        yield {"type": "speech.audio.done", "usage": tokens}

    if body.stream_format == "sse":
        return EventStream(events())
    return StreamingResponse(rest(), media_type=MEDIA_TYPES[body.response_format])
