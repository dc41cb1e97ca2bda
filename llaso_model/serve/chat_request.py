"""What ``/v1/chat/completions`` takes: its options, and its messages with their audio decoded."""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llaso_data.audio import SAMPLE_RATE_HZ, to_float32
from llaso_model.chat_format import Message
from llaso_model.engine.requests import Sampling
from llaso_model.serve.errors import ApiError, invalid, unsupported
from llaso_model.serve.service import Service

_MOST_CHOICES = 16
_MOST_AUDIOS = 64
_LONGEST_FORMAT = 8
_NOT_HERE = "this server does not have it"

REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "frequency_penalty": ((0, 0.0), "use repetition_penalty"),
    "presence_penalty": ((0, 0.0), "use repetition_penalty"),
    "logit_bias": (({},), _NOT_HERE),
    "logprobs": ((False,), "log probabilities are not given"),
    "top_logprobs": ((0,), "log probabilities are not given"),
    "response_format": (({"type": "text"},), "answers are text; say what form you want in the conversation"),
    "tools": (([],), "the model calls no tools"),
    "tool_choice": (("none", "auto"), "the model calls no tools"),
    "parallel_tool_calls": ((False, True), "the model calls no tools"),
    "functions": (([],), "the model calls no functions"),
    "function_call": (("none", "auto"), "the model calls no functions"),
    "prediction": ((), _NOT_HERE),
    "reasoning_effort": (("none",), "the model has no reasoning that could be set"),
    "verbosity": (("medium",), "say in the conversation how long the answer should be"),
    "web_search_options": ((), "nothing is searched"),
    "store": ((False,), "nothing is stored"),
    "metadata": (({},), "nothing is stored"),
    "moderation": ((), "nothing is moderated"),
    "service_tier": (("auto", "default"), "there is one tier"),
}
"""Options of OpenAI's that there are not: (values that change nothing, why no others)."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AudioOptions(_Strict):
    """How an answer sounds."""

    voice: str | dict[str, Any]
    format: Literal["wav", "mp3", "flac", "opus", "aac", "pcm16"]

    @property
    def voice_name(self) -> str:
        """The voice's name; OpenAI takes ``{"id": NAME}`` too."""
        return self.voice if isinstance(self.voice, str) else str(self.voice.get("id", ""))

    @property
    def form(self) -> str:
        """The format by its name in ``MEDIA_TYPES``."""
        return "pcm" if self.format == "pcm16" else self.format


class StreamOptions(_Strict):
    """What a stream has besides its text."""

    include_usage: bool = False
    include_obfuscation: bool = False


Number = Annotated[float, Field(strict=False)]


class ChatBody(_Strict):
    """The body of a request."""

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    modalities: list[Literal["text", "audio"]] = ["text"]  # pydantic copies it
    audio: AudioOptions | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int = Field(1, ge=1, le=_MOST_CHOICES)
    stop: str | list[str] = Field(default_factory=list)
    seed: int | None = None
    temperature: Number = Field(0.0, ge=0, le=2)
    top_p: Number = 1.0
    top_k: int = 0
    repetition_penalty: Number | None = None
    no_repeat_ngram_size: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None

    @property
    def wants_audio(self) -> bool:
        """Whether the answer is spoken."""
        return "audio" in self.modalities

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with the tokens used."""
        return self.stream_options is not None and self.stream_options.include_usage


def sampling_of(body: ChatBody, max_new_tokens: int) -> Sampling:
    """How answers are chosen. Raises InputError or ApiError for a value out of range."""
    limits = {body.max_tokens, body.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise invalid("max_completion_tokens", "differs from max_tokens: name one of them")
    if body.stream_options is not None and not body.stream:
        raise invalid("stream_options", "only with `stream`")
    if body.stream_options is not None and body.stream_options.include_obfuscation:
        raise unsupported("stream_options.include_obfuscation", _NOT_HERE)
    if body.audio is not None and not body.wants_audio:
        raise invalid("audio", 'only with `modalities` ["text", "audio"]')
    (limit,) = limits or {max_new_tokens}
    assert limit is not None
    return Sampling(
        max_new_tokens=limit,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        repetition_penalty=body.repetition_penalty,
        no_repeat_ngram_size=body.no_repeat_ngram_size,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop),
        seed=None if body.seed is None else body.seed % 2**63,
    )


async def conversation_of(service: Service, body: ChatBody) -> list[Message]:
    """The messages as the processor takes them, with their audio decoded.

    Raises:
        ApiError: A message or a part is of a kind that there is not; it is named.
        AudioError: An audio cannot be decoded, or all together are too long.
    """
    reader = _Reader(service)
    return [await reader.message(message, f"messages[{number}]") for number, message in enumerate(body.messages)]


class _Reader:
    """Reads messages, and counts their audio."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._seconds, self._audios = 0.0, 0

    async def message(self, message: dict[str, Any], where: str) -> Message:
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "developer", "user", "assistant"):
            raise unsupported(f"{where}.role", f"system, developer, user or assistant, not {str(role)[:40]!r}")
        for name in set(message) - {"role", "content", "name", "audio", "refusal"}:
            if message[name]:
                raise unsupported(f"{where}.{name}"[:80], _NOT_HERE)
        if message.get("name"):
            raise unsupported(f"{where}.name", "participants are not told apart")
        role = "system" if role == "developer" else role
        if role == "assistant" and message.get("audio"):
            content = self._said_before(message["audio"], f"{where}.audio")
        if isinstance(content, str):
            return {"role": role, "content": content}
        if not isinstance(content, list) or not content:
            raise invalid(f"{where}.content", "a text, or a list of parts, is expected")
        parts = [await self._part(part, f"{where}.content[{number}]") for number, part in enumerate(content)]
        if role != "user" and any(part["type"] == "audio" for part in parts):
            raise unsupported(f"{where}.content", "audio is taken from the user only")
        return {"role": role, "content": parts}

    async def _part(self, part: Any, where: str) -> Message:
        kind = part.get("type") if isinstance(part, dict) else None
        value = part.get(kind) if isinstance(kind, str) else None
        if kind in ("text", "refusal") and isinstance(value, str):
            return {"type": "text", "text": value}
        if kind == "input_audio" and isinstance(value, dict):
            if unknown := set(value) - {"data", "format"}:
                raise unsupported(f"{where}.input_audio.{sorted(unknown)[0]}"[:80], "is not known")
            return await self._audio(value.get("data"), f"{where}.input_audio.data", value.get("format"))
        if kind == "audio_url" and isinstance(value, dict) and str(value.get("url", "")).startswith("data:"):
            return await self._audio(value["url"], f"{where}.audio_url.url")
        if kind == "audio_url":
            raise unsupported(f"{where}.audio_url", "nothing is fetched: send the audio itself as `input_audio`")
        raise unsupported(f"{where}.type", f"text or input_audio, not {str(kind)[:40]!r}")

    async def _audio(self, data: Any, where: str, form: Any = None) -> Message:
        """Decodes an audio. Its format counts as the end of a file's name does: where the bytes do not say theirs."""
        if form is not None and not (isinstance(form, str) and form.isalnum() and len(form) <= _LONGEST_FORMAT):
            raise invalid(where.replace(".data", ".format"), "the name of a format, such as wav, is expected")
        if not isinstance(data, str):
            raise invalid(where, "base64 is expected")
        if "://" in data[:20]:
            raise unsupported(where, "nothing is fetched: send the audio itself, as base64")
        self._audios += 1
        if self._audios > _MOST_AUDIOS:
            raise ApiError(413, f"more than {_MOST_AUDIOS} audios in one request", "messages", "too_large")
        try:
            text = data.partition("base64,")[2] if data.startswith("data:") else data
            content = await asyncio.to_thread(base64.b64decode, text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise invalid(where, f"this is no base64 ({error})") from error
        pcm = await self._service.sounds.decoded(content, f"{where}.{form}" if form else where, self._seconds)
        self._seconds += len(pcm) / SAMPLE_RATE_HZ
        return {"type": "audio", "audio": to_float32(pcm)}

    def _said_before(self, audio: Any, where: str) -> str:
        """The text of an earlier answer with audio, by its id."""
        known = self._service.spoken.get(str(audio.get("id"))) if isinstance(audio, dict) else None
        if known is None:
            raise invalid(where, "there is no such answer any more: send its transcript as content")
        return known
