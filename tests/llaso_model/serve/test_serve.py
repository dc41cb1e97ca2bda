"""A real server on loopback, asked by OpenAI's own client: shapes, refusals, limits, and slots that come free."""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import pytest

from llaso_data import audio
from llaso_data.audio import encoding
from llaso_model.serve.settings import ServeLimits
from llaso_model.voice.encoding import MEDIA_TYPES
from llaso_model.voice.speaking import Speaker
from tests.support.served import KEY, NAME, OTHER_KEY, Running, running, small_served, tone, wav

LIMITS = ServeLimits(body_bytes=1 << 20, audio_s=20.0, per_key=6, idle_s=1.0, drain_s=10.0)
LONG = 3000


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    pytest.importorskip("hibari")
    with running(small_served(speaker=Speaker(aliases={"alloy": "hibari/heart"})), LIMITS) as one:
        yield one


def question(text: str = "What is it?", seconds: float = 0.6, form: str = "wav") -> list[dict[str, Any]]:
    data = base64.b64encode(wav(seconds).getvalue()).decode()
    return [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": text},
                {"type": "input_audio", "input_audio": {"data": data, "format": form}},
            ],
        }
    ]


def refusal(call: Callable[[], Any]) -> tuple[int, str | None, str]:
    """(status, param, message) of the error that a call raises, which has OpenAI's shape."""
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    body = caught.value.response.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    return caught.value.status_code, body["param"], body["message"]


def settles(server: Running, is_so: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, vars(server.service.served.engine.counts)
        time.sleep(0.02)


def is_idle(server: Running) -> bool:
    engine = server.service.served.engine
    return not engine.decoding and not engine.waiting and not server.server.gate.open


def test_transcriptions_have_every_form_of_openai(server: Running) -> None:
    client = server.client()
    create = client.audio.transcriptions.create
    said = create(model=NAME, file=wav())
    text = said.text
    assert text and said.usage.total_tokens == said.usage.input_tokens + said.usage.output_tokens
    assert create(model="whisper-1", file=wav(), response_format="text").strip() == text
    assert create(model=NAME, file=wav(), response_format="srt").startswith("1\n00:00:00,000 --> 00:00:01,000\n")
    assert create(model=NAME, file=wav(), response_format="vtt").startswith("WEBVTT\n\n1\n00:00:00.000 -->")
    verbose = create(model=NAME, file=wav(), response_format="verbose_json", timestamp_granularities=["segment"])
    (segment,) = verbose.segments
    assert verbose.text == segment.text == text and verbose.duration == segment.end == 1.0
    assert segment.avg_logprob < 0 and 0 <= segment.no_speech_prob <= 1 and len(segment.tokens) == 12
    events = list(create(model=NAME, file=wav(), stream=True))
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == text and len(events) > 5
    with pytest.warns(DeprecationWarning):
        translated = client.audio.translations.create(model=NAME, file=wav(), response_format="verbose_json")
    assert translated.text and translated.task == "translate"


def test_a_prompt_and_a_language_reach_the_model_and_unknown_options_are_refused_by_name(server: Running) -> None:
    create = server.client().audio.transcriptions.create
    plain = create(model=NAME, file=wav()).text
    assert create(model=NAME, file=wav(), prompt="About boats").text != plain
    assert create(model=NAME, file=wav(), language="de").text != plain
    for named, options in {
        "model": {"model": "other"},
        "response_format": {"response_format": "diarized_json"},
        "timestamp_granularities": {"response_format": "verbose_json", "timestamp_granularities": ["word"]},
        "chunking_strategy": {"chunking_strategy": {"type": "server_vad"}},
        "include": {"include": ["logprobs"]},
        "keywords": {"keywords": ["boat"]},
        "language": {"language": "no language"},
        "temperature": {"temperature": 7},
        "colour": {"extra_body": {"colour": "red"}},
        "stream": {"stream": True, "response_format": "srt"},
    }.items():
        status, param, message = refusal(lambda options=options: create(**{"model": NAME, "file": wav(), **options}))
        assert (status, param) == (404 if named == "model" else 400, named) and message
    status, param, _ = refusal(lambda: create(model=NAME, file=wav(), timestamp_granularities=["segment"]))
    assert (status, param) == (400, "timestamp_granularities")


def test_chat_answers_about_several_audios_and_streams_with_usage(server: Running) -> None:
    create = server.client().chat.completions.create
    flac = base64.b64encode(encoding.encode(tone(0.5), "flac")).decode()
    messages = question()
    messages[0]["content"].append({"type": "input_audio", "input_audio": {"data": flac, "format": "flac"}})
    whole = create(model=NAME, messages=messages, max_tokens=9)
    (choice,) = whole.choices
    assert choice.message.content and choice.finish_reason == "length" and whole.usage.completion_tokens == 9
    chunks = list(
        create(model=NAME, messages=messages, max_tokens=9, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].usage == whole.usage
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == choice.message.content
    assert chunks[-2].choices[0].finish_reason == "length" and len(chunks) > 5
    stop = choice.message.content[4:9]
    assert (
        create(model=NAME, messages=messages, max_tokens=9, stop=stop).choices[0].message.content
        == (choice.message.content.partition(stop)[0])
    )
    drawn = [
        create(model=NAME, messages=[{"role": "user", "content": "Hi"}], n=3, seed=5, temperature=1.5, max_tokens=6)
        for _ in range(2)
    ]
    texts = [[one.message.content for one in each.choices] for each in drawn]
    assert texts[0] == texts[1] and len(set(texts[0])) > 1


def test_chat_refuses_by_name_what_it_does_not_do_and_fetches_nothing(server: Running) -> None:
    create = server.client().chat.completions.create
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]}]
    for named, options in {
        "tools": {"tools": [{"type": "function", "function": {"name": "f"}}]},
        "frequency_penalty": {"frequency_penalty": 1.0},
        "logprobs": {"logprobs": True},
        "response_format": {"response_format": {"type": "json_object"}},
        "n": {"n": 99},
        "colour": {"extra_body": {"colour": "red"}},
        "stream_options": {"stream_options": {"include_usage": True}},
        "audio": {"modalities": ["text", "audio"]},
        "audio.voice": {"modalities": ["text", "audio"], "audio": {"voice": "nobody", "format": "wav"}},
        "messages[0].content[0].type": {"messages": image},
        "max_completion_tokens": {"max_tokens": 3, "max_completion_tokens": 4},
    }.items():
        status, param, _ = refusal(lambda options=options: create(**{"model": NAME, "messages": question(), **options}))
        assert (status, param) == (400, named)
    for url in ("https://example.org/a.wav", "file:///etc/passwd"):
        part = {"type": "audio_url", "audio_url": {"url": url}}
        status, _, message = refusal(
            lambda part=part: create(model=NAME, messages=[{"role": "user", "content": [part]}])
        )
        assert status == 400 and "nothing is fetched" in message
    status, _, message = refusal(lambda: create(model=NAME, messages=question(), max_tokens=5000))
    assert status == 400 and "4,096" in message


def test_speech_comes_in_every_format_and_an_answer_is_spoken(server: Running) -> None:
    client = server.client()
    for form in MEDIA_TYPES:
        data = client.audio.speech.create(
            model=NAME, voice="alloy", input="It is warm. Open it.", response_format=form
        ).content
        pcm = np.frombuffer(data, "<i2") if form == "pcm" else None
        seconds = len(pcm) / 24_000 if pcm is not None else len(audio.decode_bytes(data)) / 16_000
        assert 1.0 < seconds < 5.0, form
    with client.audio.speech.with_streaming_response.create(
        model=NAME, voice="default", input="One. " * 8, response_format="pcm", speed=2
    ) as streamed:
        parts = list(streamed.iter_bytes())
    assert len(parts) > 1
    status, param, message = refusal(lambda: client.audio.speech.create(model=NAME, voice="alloy", input="a == b"))
    assert (status, param) == (400, "input") and "code" in message
    status, param, message = refusal(lambda: client.audio.speech.create(model=NAME, voice="echo", input="Hello"))
    assert (status, param) == (400, "voice") and "hibari/heart" in message
    spoken: dict[str, Any] = {"modalities": ["text", "audio"], "max_tokens": 12}
    speakable = question("What?", 1.0)
    (choice,) = client.chat.completions.create(
        model=NAME, messages=speakable, audio={"voice": "alloy", "format": "wav"}, **spoken
    ).choices
    assert choice.message.content is None and choice.message.audio.transcript
    whole = audio.decode_bytes(base64.b64decode(choice.message.audio.data))
    chunks = list(
        client.chat.completions.create(
            model=NAME, messages=speakable, audio={"voice": "alloy", "format": "pcm16"}, stream=True, **spoken
        )
    )
    sounds = [getattr(one.choices[0].delta, "audio", None) for one in chunks]
    data = b"".join(base64.b64decode(one.data) for one in sounds if one and one.data)
    assert len(data) / 2 / 24_000 == pytest.approx(len(whole) / 16_000, abs=0.01)
    assert "".join(one.transcript or "" for one in sounds if one) == choice.message.audio.transcript
    follow_up = [*speakable, {"role": "assistant", "audio": {"id": choice.message.audio.id}}, *question("And now?")]
    assert client.chat.completions.create(model=NAME, messages=follow_up, max_tokens=3).choices[0].message.content


def test_who_has_no_key_learns_nothing_and_everybody_sees_health(server: Running) -> None:
    assert refusal(lambda: server.client(api_key="wrong").models.list())[0] == 401
    assert [one.id for one in server.client(api_key=OTHER_KEY).models.list()] == [NAME, "whisper-1"]
    assert server.client().models.retrieve(NAME).owned_by == "llaso"
    with httpx.Client(base_url=server.url) as client:
        for path in ("/v1/models", "/metrics", "/nothing", "/v1/realtime"):
            assert client.get(path).status_code == 401
        assert client.get("/health").json() == {"status": "ok"} and client.get("/ready").json() == {"status": "ready"}
        metrics = client.get("/metrics", headers={"Authorization": f"Bearer {KEY}"}).text
        assert 'llaso_requests_total{path="/v1/models",status="401"}' in metrics and "llaso_tokens_total" in metrics
        page = client.get("/")
        assert page.status_code == 200 and "script-src 'self'" in page.headers["content-security-policy"]


def test_bodies_that_are_too_much_or_no_audio_get_their_status(server: Running) -> None:
    create = server.client().audio.transcriptions.create
    assert refusal(lambda: create(model=NAME, file=("a.wav", bytes(20 << 20))))[0] == 413
    assert refusal(lambda: create(model=NAME, file=("a.txt", b"no audio, but words " * 50)))[0] == 415
    assert refusal(lambda: create(model=NAME, file=("a.wav", b"")))[0] == 422
    silent = encoding.encode(np.zeros(16_000 * 25, np.int16), "flac")
    assert refusal(lambda: create(model=NAME, file=("long.flac", silent)))[0] == 413
    claimed = bytearray(encoding.encode(tone(2.0), "flac"))
    claimed[21:26] = (int.from_bytes(claimed[21:26], "big") >> 36 << 36 | 16_000 * 36_000).to_bytes(5, "big")
    assert refusal(lambda: create(model=NAME, file=("ten-hours.flac", bytes(claimed))))[0] in (413, 422)
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
        assert (
            client.post("/v1/chat/completions", content=b"{", headers={"Content-Type": "text/plain"}).status_code == 415
        )
        half = b'{"model": "small", "messages": [{"role": "user", "content": "\\ud800"}]}'
        for body in (b"{", b"[]", b"[" * 100_000, half, half.replace(b"\\ud800", b"\xed\xa0\x80")):
            answer = client.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400 and answer.json()["error"]["code"] == "invalid_json"
    settles(server, lambda: is_idle(server))


def test_a_cut_or_slow_upload_holds_nothing(server: Running) -> None:
    head = (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 5000\r\n\r\n--x\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as cut:
        cut.sendall(head)
        settles(server, lambda: server.server.gate.open == 1)
    settles(server, lambda: is_idle(server))
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(head)
        slow.settimeout(10)
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
    settles(server, lambda: is_idle(server))
    assert server.server.gate.held_bytes == 0


def test_a_client_that_leaves_frees_its_slot(server: Running) -> None:
    engine, client = server.service.served.engine, server.client()
    create = client.chat.completions.create
    cancelled = engine.counts.cancelled
    stream = create(model=NAME, messages=question(), max_tokens=LONG, stream=True)
    next(iter(stream))
    stream.close()
    settles(server, lambda: engine.counts.cancelled == cancelled + 1 and is_idle(server), 3)
    with pytest.raises(openai.APITimeoutError):
        server.client(timeout=0.5).chat.completions.create(model=NAME, messages=question(), max_tokens=LONG)
    settles(server, lambda: engine.counts.cancelled == cancelled + 2 and is_idle(server), 3)


def test_a_key_has_so_many_requests_at_once_and_others_go_on(server: Running) -> None:
    async def flood() -> list[Any]:
        client = server.asynchronous_client()
        asked = [
            client.chat.completions.create(model=NAME, messages=question(), max_tokens=40, stream=False)
            for _ in range(LIMITS.per_key + 4)
        ]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(flood())
    refused = [one for one in found if isinstance(one, openai.RateLimitError)]
    assert 1 <= len(refused) <= 4 and all(int(one.response.headers["retry-after"]) >= 1 for one in refused)
    assert sum(not isinstance(one, Exception) for one in found) == len(found) - len(refused)
    settles(server, lambda: is_idle(server))


def test_realtime_confirms_words_that_never_change(server: Running) -> None:
    async def talk(turns: dict[str, Any] | None) -> list[Any]:
        client, events = server.asynchronous_client(), []
        async with client.realtime.connect(model=NAME) as connection:
            settings = {"format": {"type": "audio/pcm", "rate": 24_000}, "transcription": {"model": NAME}}
            await connection.session.update(
                session={"type": "transcription", "audio": {"input": {**settings, "turn_detection": turns}}}
            )
            pcm = tone(1.5, 24_000).tobytes()
            for first in range(0, len(pcm), 9_601):
                await connection.input_audio_buffer.append(audio=base64.b64encode(pcm[first : first + 9_601]).decode())
                await asyncio.sleep(0.02)
            await connection.input_audio_buffer.commit()
            async for event in connection:
                events.append(event)
                if event.type in ("error", "conversation.item.input_audio_transcription.completed"):
                    return events
        return events

    events = asyncio.run(talk(None))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["session.created", "session.updated"] and "input_audio_buffer.committed" in kinds
    assert events[1].session.audio.input.turn_detection is None
    done = events[-1]
    deltas = [event for event in events if event.type.endswith("transcription.delta")]
    assert deltas and "".join(event.delta for event in deltas) == done.transcript
    assert {event.item_id for event in deltas} == {done.item_id} and done.usage.seconds == pytest.approx(1.5, abs=0.01)
    with_vad = asyncio.run(talk({"type": "server_vad", "silence_duration_ms": 300}))
    assert with_vad[-1].type == "error"  # a tone is no speech, so there is nothing to commit
    assert with_vad[-1].error.code == "input_audio_buffer_commit_empty"
    settles(server, lambda: is_idle(server) and not server.service.sessions)


def test_a_realtime_session_outlives_the_patience_with_idle_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llaso_model.serve.server._PATIENCE_S", 0.2)

    async def listens(server: Running) -> list[str]:
        async with server.asynchronous_client().realtime.connect(model=NAME) as connection:
            assert (await connection.recv()).type == "session.created"
            await asyncio.sleep(1.0)
            await connection.input_audio_buffer.clear()
            return [(await connection.recv()).type]

    with running(small_served()) as server:
        assert asyncio.run(listens(server)) == ["input_audio_buffer.cleared"]


def test_a_realtime_session_refuses_by_name(server: Running) -> None:
    async def ask(event: dict[str, Any]) -> Any:
        async with server.asynchronous_client().realtime.connect(model=NAME) as connection:
            await connection.send(event)  # type: ignore[arg-type]
            async for answer in connection:
                if answer.type != "session.created":
                    return answer

    for event, named in (
        ({"type": "response.create"}, "type"),
        ({"type": "input_audio_buffer.append", "audio": "?"}, "audio"),
        ({"type": "session.update", "session": {"type": "realtime"}}, "session.type"),
        ({"type": "session.update", "session": {"type": "transcription", "colour": 1}}, "session.colour"),
    ):
        answer = asyncio.run(ask({**event, "event_id": "mine"}))
        assert answer.type == "error" and answer.error.param == named and answer.error.event_id == "mine"


def test_what_takes_too_long_ends_and_a_drain_answers_what_was_asked() -> None:
    limits = ServeLimits(timeout_s=0.6, drain_s=10.0)
    with running(small_served(), limits) as server:
        create = server.client().chat.completions.create
        assert refusal(lambda: create(model=NAME, messages=question(), max_tokens=LONG))[0] == 504
        with pytest.raises(openai.APIError, match="not answered within"):
            list(create(model=NAME, messages=question(), max_tokens=LONG, stream=True))
        settles(server, lambda: is_idle(server))
    with running(small_served(), ServeLimits(drain_s=10.0)) as server:
        stream = iter(
            server.client().chat.completions.create(model=NAME, messages=question(), max_tokens=60, stream=True)
        )
        next(stream)
        server.server.stop_soon()
        settles(server, lambda: server.server.gate.draining)
        assert refusal(lambda: server.client().models.list())[0] == 503
        chunks = list(stream)
        assert chunks[-1].choices[0].finish_reason == "length"
        server.thread.join(10)
        assert not server.thread.is_alive() and server.service.served.engine.closed
