"""``/v1/realtime``: transcription of speech while it is spoken, as OpenAI's GA events."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from contextlib import suppress
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from llaso_data.errors import LLaSOError
from llaso_model.serve.errors import ApiError, api_error
from llaso_model.serve.live.item import LiveItem, LiveModel
from llaso_model.serve.live.policies import POLICIES
from llaso_model.serve.live.turns import Turn, TurnDetector
from llaso_model.serve.realtime_settings import AudioReader, SessionSettings, updated
from llaso_model.serve.service import Service

log = logging.getLogger(__name__)
_RATE_HZ = 16_000
_SUBPROTOCOL = "realtime"
_GOING_AWAY, _TOO_LONG = 1001, 1008
_BEHIND_S = 600.0  # of audio that may wait to be transcribed


async def session(socket: WebSocket) -> None:
    """A session, from the first event to the last."""
    service: Service = socket.app.state.service
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(_SUBPROTOCOL if _SUBPROTOCOL in offered else None)
    one = Session(socket, service)
    service.sessions.add(one)
    try:
        name = socket.query_params.get("model")
        if name is not None:
            service.check_model(name)
        await asyncio.wait_for(one.run(), service.limits.session_s)
    except ApiError as error:
        await one.fail(error)
        await one.close(_TOO_LONG, error.message)
    except (asyncio.TimeoutError, TimeoutError):
        expired = ApiError(504, f"a session lasts at most {service.limits.session_s:g} s", code="session_expired")
        await one.fail(expired)
        await one.close(_TOO_LONG, expired.message)
    except WebSocketDisconnect:
        pass
    finally:
        await one.abandon()
        service.sessions.discard(one)


class Session:
    """One client: its settings, the audio that is not committed, the items that are being transcribed."""

    def __init__(self, socket: WebSocket, service: Service) -> None:
        self._socket, self._service = socket, service
        self._id = f"sess_{uuid.uuid4().hex[:24]}"
        self._settings = SessionSettings()
        self._reader = AudioReader(self._settings.format)
        self._turns: TurnDetector | None = None
        self._item: _Item | None = None
        self._last_item: str | None = None
        self._read = 0  # samples of the session, at 16 kHz
        self._before: Any = None  # the latest audio outside speech, kept for the padding before it
        self._transcribing: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()
        self._ending = asyncio.Event()

    async def run(self) -> None:
        """Reads events until the client leaves, or the server ends."""
        self._use(self._settings)
        await self._send("session.created", session=self._described())
        reading: asyncio.Future[Any] | None = None
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            while True:
                reading = asyncio.ensure_future(self._socket.receive())
                await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    await self._finish()
                    return
                await self._take(reading.result())
        finally:
            ending.cancel()
            if reading is not None:
                reading.cancel()

    def end(self) -> None:
        """Lets the session end: what is committed is transcribed first."""
        self._ending.set()

    async def abandon(self) -> None:
        """Cancels all that is transcribed."""
        tasks = [*self._transcribing, *([self._item.task] if self._item is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def fail(self, error: ApiError, event_id: str | None = None) -> None:
        """Tells the client of an error."""
        self._service.metrics.add("llaso_requests_total", path="/v1/realtime", status=str(error.status))
        await self._send("error", error={**error.body()["error"], "event_id": event_id})

    async def close(self, code: int, reason: str) -> None:
        """Closes the connection."""
        with suppress(RuntimeError, WebSocketDisconnect):
            await self._socket.close(code, reason[:100])

    async def _finish(self) -> None:
        if self._item is not None and self._item.live.audio_s:
            await self._commit()
        while self._transcribing:
            await asyncio.wait(self._transcribing)
        await self.close(_GOING_AWAY, "the server is ending")

    async def _take(self, message: Any) -> None:
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        event_id = None
        try:
            try:
                event = json.loads(message.get("text") or "")
            except (ValueError, RecursionError) as error:
                raise ApiError(400, "an event is a JSON text", code="invalid_json") from error
            if not isinstance(event, dict) or not isinstance(event.get("type"), str):
                raise ApiError(400, "an event is a JSON object with a `type`", "type", "invalid_event")
            event_id = event.get("event_id") if isinstance(event.get("event_id"), str) else None
            await self._handle(event)
        except (ApiError, LLaSOError) as error:
            await self.fail(api_error(error), event_id)

    async def _handle(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "session.update":
            self._use(updated(self._settings, event.get("session"), self._service))
            await self._send("session.updated", session=self._described())
        elif kind == "input_audio_buffer.append":
            await self._append(self._reader.read(event.get("audio")))
        elif kind == "input_audio_buffer.commit":
            await self._append(self._reader.finish())
            await self._commit()
        elif kind == "input_audio_buffer.clear":
            await self._clear()
            await self._send("input_audio_buffer.cleared")
        else:
            raise ApiError(
                400, f"{kind[:60]}: a transcription session does not have this event", "type", "unknown_event"
            )

    def _use(self, settings: SessionSettings) -> None:
        if settings.format != self._settings.format:
            self._reader = AudioReader(settings.format)
        vad = settings.turns
        if vad != self._settings.turns or (vad is not None) != (self._turns is not None):
            self._turns = None if vad is None else TurnDetector(vad.threshold, vad.silence_s)
            if self._turns is not None:
                self._turns.samples = self._read
        self._settings = settings

    async def _append(self, pcm: Any) -> None:
        if not len(pcm):
            return
        behind = 0 if self._item is None else self._item.live.unread_s
        if (self._read + len(pcm)) / _RATE_HZ > self._service.limits.audio_s or behind > _BEHIND_S:
            raise ApiError(
                413, "more audio than this session takes: send it as it is spoken", "audio", "audio_too_long"
            )
        if self._turns is None:
            self._current().live.append(pcm)
            self._read += len(pcm)
            return
        known = pcm if self._before is None else np.concatenate([self._before, pcm])
        first = self._read + len(pcm) - len(known)  # the sample that `known` begins with
        at = 0 if self._item is None else self._read - first
        turns = self._turns
        self._read += len(pcm)
        for turn in await asyncio.to_thread(lambda: list(turns.read(pcm))):
            at = await self._turn(turn, known, first, at)
        if self._item is not None:
            self._item.live.append(known[at:])
        vad = self._settings.turns
        assert vad is not None
        self._before = known[max(0, len(known) - round((vad.padding_s + 0.1) * _RATE_HZ)) :]

    async def _turn(self, turn: Turn, known: Any, first: int, at: int) -> int:
        """Begins or ends an item, or tells it of a pause.

        Returns:
            From which place of ``known`` on its samples are not appended yet.
        """
        vad = self._settings.turns
        assert vad is not None
        place = min(max(turn.sample - first, 0), len(known))
        if turn.kind == "starts":
            begin = max(at, place - round(vad.padding_s * _RATE_HZ))
            item = self._current()
            start_ms = (first + begin) * 1000 // _RATE_HZ
            await self._send("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=item.id)
            return begin
        if self._item is not None:
            self._item.live.append(known[at:place])
            if turn.kind == "pauses":
                self._item.live.pause()
                return place
            end_ms = (first + place) * 1000 // _RATE_HZ
            await self._send("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=self._item.id)
            await self._commit(quietly=True)
        return place

    async def _commit(self, quietly: bool = False) -> None:
        item = self._item
        if item is None or not item.live.audio_s:
            raise ApiError(400, "there is no audio that could be committed", code="input_audio_buffer_commit_empty")
        self._item = None
        self._transcribing.add(item.task)
        item.task.add_done_callback(self._transcribing.discard)
        await self._send("input_audio_buffer.committed", item_id=item.id, previous_item_id=self._last_item)
        content = [{"type": "input_audio", "transcript": None}]
        described = {"id": item.id, "type": "message", "status": "completed", "role": "user", "content": content}
        for kind in ("conversation.item.added", "conversation.item.done"):
            await self._send(kind, item=described, previous_item_id=self._last_item)
        self._last_item = item.id
        item.live.end(quietly)

    async def _clear(self) -> None:
        if self._item is not None:
            self._item.task.cancel()
            await asyncio.gather(self._item.task, return_exceptions=True)
            self._item = None
        self._before = None

    def _current(self) -> _Item:
        if self._item is None:
            self._item = _Item(self, self._service, self._settings)
        return self._item

    def _described(self) -> dict[str, Any]:
        limits = self._service.limits
        return {**self._settings.described(), "id": self._id, "expires_at": None, "limit_s": limits.session_s}

    async def _send(self, kind: str, **values: Any) -> None:
        text = json.dumps({"type": kind, "event_id": f"event_{uuid.uuid4().hex[:20]}", **values}, ensure_ascii=False)
        async with self._sending:
            with suppress(RuntimeError):  # the client has left
                await self._socket.send_text(text)

    async def send(self, kind: str, **values: Any) -> None:
        """Sends an event."""
        await self._send(kind, **values)


class _Item:
    """A stretch of speech on its way to its transcript."""

    def __init__(self, session: Session, service: Service, settings: SessionSettings) -> None:
        self.id = f"item_{uuid.uuid4().hex[:20]}"
        self._session, self._service = session, service
        served = service.served
        model = LiveModel(
            service.answering,
            served.processor,
            served.engine.backend.stop_tokens,
            POLICIES[settings.policy or served.live],
            service.transcribing.cutting_threads,
        )
        instruction = service.transcribing_of(settings.prompt, settings.language)
        self.live = LiveItem(model, instruction, self._confirmed)
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        try:
            await self.live.run()
            await self._session.send(
                "conversation.item.input_audio_transcription.completed",
                item_id=self.id,
                content_index=0,
                transcript=self.live.text,
                usage=self._usage(),
            )
        except Exception as error:
            refused = api_error(error)
            if refused.status == 500:
                log.exception("a realtime item has failed")
            await self._session.send(
                "conversation.item.input_audio_transcription.failed",
                item_id=self.id,
                content_index=0,
                error=refused.body()["error"],
            )

    async def _confirmed(self, delta: str, lag_s: float) -> None:
        self._service.metrics.observe("llaso_realtime_lag_seconds", lag_s)
        await self._session.send(
            "conversation.item.input_audio_transcription.delta", item_id=self.id, content_index=0, delta=delta
        )

    def _usage(self) -> dict[str, Any]:
        self._service.metrics.add("llaso_audio_seconds_total", self.live.audio_s)
        return {"type": "duration", "seconds": round(self.live.audio_s, 3)}
