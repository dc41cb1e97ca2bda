"""Answers aloud: a text is spoken sentence by sentence while it comes."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from llaso_data.instruct.voices import ENGINE_FAULTS
from llaso_model.serve.answering import in_threads
from llaso_model.serve.service import Service
from llaso_model.voice.encoding import Encoder, closed_wav
from llaso_model.voice.sentences import Sentences
from llaso_model.voice.speaking import RATE_HZ, Spoken

EXPIRES_S = 3600
VOICE_FAILED = "the voice has failed; the server's log says why"
log = logging.getLogger(__name__)
_PAUSE_S = 0.25  # between sentences


@dataclass(slots=True)
class SpokenAnswer:
    """One answer that is spoken.

    Attributes:
        service: Has the voice.
        voice: Its name.
        form: See ``MEDIA_TYPES``.
        streams: Whether the file is sent while it comes, so that its header does not know its length.
        id: Of the audio.
        text: What was written so far.
        unspoken: Sentences that cannot be spoken.
    """

    service: Service
    voice: str
    form: str
    streams: bool
    id: str = field(default_factory=lambda: f"audio-{uuid.uuid4().hex}")
    text: str = ""
    unspoken: list[Spoken] = field(default_factory=list)

    async def of(self, pieces: AsyncIterator[str] | Any) -> AsyncIterator[tuple[str, bytes]]:
        """New text and new bytes of the file, each as it comes. The text goes on while a sentence is spoken."""
        waiting: asyncio.Queue[str | None] = asyncio.Queue()
        out: asyncio.Queue[tuple[str, bytes] | Exception | None] = asyncio.Queue()
        tasks = [
            asyncio.ensure_future(self._read(pieces, waiting, out)),
            asyncio.ensure_future(self._say(waiting, out)),
        ]
        try:
            while (item := await out.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task
        self.service.spoken.keep(self.id, self.text)

    async def _read(self, pieces: Any, waiting: asyncio.Queue[Any], out: asyncio.Queue[Any]) -> None:
        cut = Sentences()
        try:
            async for piece in pieces:
                self.text += piece
                out.put_nowait((piece, b""))
                for sentence in cut.read(piece):
                    waiting.put_nowait(sentence)
            for sentence in cut.finish():
                waiting.put_nowait(sentence)
            waiting.put_nowait(None)
        except Exception as error:
            out.put_nowait(error)

    async def _say(self, waiting: asyncio.Queue[Any], out: asyncio.Queue[Any]) -> None:
        try:
            async for data in speech(self.service, waiting, self.voice, 1.0, self.form, self.unspoken):
                out.put_nowait(("", data))
            out.put_nowait(None)
        except Exception as error:
            out.put_nowait(error)

    def told(self) -> dict[str, Any]:
        """What of the text is not in the sound, and why; nothing where all is."""
        if not self.unspoken:
            return {}
        return {"unspoken": [{"text": one.text, "reason": one.problem} for one in self.unspoken]}

    def whole(self, data: bytes) -> dict[str, Any]:
        """The ``audio`` of a message."""
        expires_at = int(time.time()) + EXPIRES_S
        data = closed_wav(data) if self.form == "wav" else data
        known = {"id": self.id, "data": self.base64(data), "expires_at": expires_at, "transcript": self.text}
        return {**known, **self.told()}

    @staticmethod
    def base64(data: bytes) -> str:
        """Bytes as JSON has them."""
        return base64.b64encode(data).decode()


def spoken_answer(service: Service, voice: str, form: str, streams: bool) -> SpokenAnswer:
    """An answer that is to be spoken."""
    return SpokenAnswer(service, voice, form, streams)


async def speech(
    service: Service,
    sentences: asyncio.Queue[str | None],
    voice: str,
    speed: float,
    form: str,
    unspoken: list[Spoken],
) -> AsyncIterator[bytes]:
    """The bytes of a file in which sentences are spoken as they come.

    Args:
        service: Has the voice.
        sentences: None ends them.
        voice: Its name.
        speed: Times faster than the voice's own.
        form: See ``MEDIA_TYPES``.
        unspoken: Gets the sentences that cannot be spoken. Why a voice failed is for the log: it may be an address that
            strangers need not know.
    """
    speaker = service.served.speaker
    threads = service.speaking_threads[speaker.engine_of(voice)]
    encoder = Encoder(form)
    pause = np.zeros(round(_PAUSE_S * RATE_HZ), np.int16)
    is_first = True
    while (sentence := await sentences.get()) is not None:
        spoken = await in_threads(threads, speaker.speak, sentence, voice, speed)
        if spoken.problem is not None:
            service.metrics.add("llaso_unspoken_total", reason=str(spoken.reason))
            if spoken.reason in ENGINE_FAULTS:
                log.warning("the voice %s has failed: %s", voice, spoken.problem)
                spoken = replace(spoken, problem=VOICE_FAILED)
            unspoken.append(spoken)
            continue
        service.metrics.add("llaso_speech_seconds_total", len(spoken.pcm) / RATE_HZ)
        pcm = spoken.pcm if is_first else np.concatenate([pause, spoken.pcm])
        is_first = False
        if data := encoder.encode(pcm):
            yield data
    if data := encoder.finish():
        yield data
