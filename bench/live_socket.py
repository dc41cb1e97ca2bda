"""A recording in real time through the socket of a server, for ``bench/live.py``."""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import suppress
from typing import Any

from live import CHUNK_S, RATE_HZ, Confirmed, Heard, Recording
from serve import Serving

SENT_HZ = 24_000
DELAYS = {"attention": "low", "agreement": "high"}
_DELTA = "conversation.item.input_audio_transcription.delta"
_COMPLETED = "conversation.item.input_audio_transcription.completed"
_READ_S = 2.0  # until the server has read the last audio
_LAST_S = 60.0


async def through_socket(serving: Serving, recorded: Recording, policy: str) -> Heard:
    """What a server's realtime session says to a recording that is sent as fast as it is spoken."""
    import soxr

    pcm = soxr.resample(recorded.pcm, RATE_HZ, SENT_HZ)
    step = round(CHUNK_S * SENT_HZ)
    heard, deltas = Heard(), dict[str, str]()
    open_items = set[str]()
    before_s = serving.cpu_s()
    async with serving.client().realtime.connect(model="bench") as connection:
        given = {
            "format": {"type": "audio/pcm", "rate": SENT_HZ},
            "transcription": {"model": "bench", "delay": DELAYS[policy]},
            "turn_detection": {"type": "server_vad"},
        }
        session: Any = {"type": "transcription", "audio": {"input": given}}
        await connection.session.update(session=session)
        begun = time.monotonic()

        async def receive() -> None:
            async for event in connection:
                if event.type == "error" or event.type.endswith("transcription.failed"):
                    raise RuntimeError(str(event))
                if event.type == "input_audio_buffer.speech_started":
                    open_items.add(event.item_id)
                elif event.type == _DELTA:
                    heard.confirmed.append(Confirmed(event.delta or "", time.monotonic() - begun))
                    deltas[event.item_id] = deltas.get(event.item_id, "") + (event.delta or "")
                elif event.type == _COMPLETED:
                    heard.texts.append(event.transcript)
                    heard.changes += deltas.get(event.item_id, "") != event.transcript
                    open_items.discard(event.item_id)

        receiving = asyncio.ensure_future(receive())
        for first in range(0, len(pcm), step):
            spoken_s = (first + step) / SENT_HZ
            await asyncio.sleep(max(0.0, begun + spoken_s - time.monotonic()))
            piece = pcm[first : first + step].tobytes()
            await connection.input_audio_buffer.append(audio=base64.b64encode(piece).decode())
        await asyncio.sleep(_READ_S)
        until = time.monotonic() + _LAST_S
        while open_items and not receiving.done() and time.monotonic() < until:
            await asyncio.sleep(CHUNK_S)
        receiving.cancel()
        with suppress(asyncio.CancelledError):
            await receiving  # what went wrong in it
        if open_items:
            raise RuntimeError(f"{len(open_items)} items had no transcript after {_LAST_S:g} s")
    heard.cpu_s = serving.cpu_s() - before_s
    return heard
