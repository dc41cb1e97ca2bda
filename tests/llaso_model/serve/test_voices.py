"""Voices at other addresses behind a server: they fail by name, tell strangers no address, and hold nobody up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from llaso_data import audio
from llaso_model.voice.speaking import Speaker
from tests.support.served import KEY, NAME, Running, running, small_served
from tests.support.speech_endpoint import LET_GO, speaking
from tests.support.training_fixtures import small_tokenizer, write_model


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with speaking() as url:
        yield url


def speaker(url: str, timeout_s: float = 2) -> Speaker:
    pytest.importorskip("hibari")
    openai_voice = {"url": url, "model": "m", "voices": {"en": ["ann"]}, "timeout_s": timeout_s}
    return Speaker({"hibari": {}, "openai": openai_voice}, aliases={"alloy": "hibari/heart", "echo": "openai/ann"})


def aloud(server: Running, voice: str, text: str = "Please open the window.", **options: Any) -> bytes:
    create = server.client(**options).audio.speech.create
    return bytes(create(model=NAME, voice=voice, input=text, response_format="wav").content)


@pytest.mark.parametrize("kind", ["html", "gateway", "nowhere", "cut", "slow", "empty", "dead"])
def test_a_voice_that_fails_is_told_without_its_address(address: str, kind: str) -> None:
    url = "http://127.0.0.1:1/v1" if kind == "dead" else f"{address}/{kind}/v1"
    with running(small_served(speaker=speaker(url))) as server:
        with pytest.raises(openai.InternalServerError) as failed:
            aloud(server, "echo")
        assert failed.value.status_code == 502 and "the server's log says why" in str(failed.value)
        assert "127.0.0.1" not in str(failed.value) and failed.value.code in ("bad_sound", "engine_failed", "no_sound")
        question = [{"role": "user", "content": "What is it?"}]
        said = server.client().chat.completions.create(
            model=NAME,
            messages=question,
            modalities=["text", "audio"],
            audio={"voice": "echo", "format": "wav"},
            max_tokens=3,
        )
        told = said.choices[0].message.audio
        assert told.transcript and told.unspoken and "127.0.0.1" not in str(told.unspoken)
        assert 'llaso_unspoken_total{reason="' in server.service.metrics.text({})


def test_an_address_speaks_and_one_that_is_slow_holds_no_other_voice_up(address: str) -> None:
    with running(small_served(speaker=speaker(f"{address}/good/v1"))) as server:
        assert len(audio.decode_bytes(aloud(server, "echo"))) == pytest.approx(4000, abs=10)
    with running(small_served(speaker=speaker(f"{address}/held/v1", timeout_s=60))) as server:
        ends: list[bytes] = []
        waiting = threading.Thread(target=lambda: ends.append(aloud(server, "echo")))
        waiting.start()
        while not server.server.gate.open:
            time.sleep(0.01)
        assert aloud(server, "alloy") and not ends
        LET_GO.set()
        waiting.join(60)
        assert ends


@pytest.mark.slow
def test_sigterm_ends_a_server_whose_voice_does_not_answer(address: str, tmp_path: Path) -> None:
    write_model(tmp_path / "model", small_tokenizer())
    voices = tmp_path / "voices.yaml"
    voices.write_text(
        f"engines:\n  openai: {{url: '{address}/slow/v1', model: m, voices: {{en: [ann]}}, timeout_s: 900}}\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "llaso_model.cli", "serve", str(tmp_path / "model"), "--port", str(port)]
    options = ["--voices", str(voices), "--name", NAME, "--drain", "1"]
    server = subprocess.Popen([*command, *options], env={**os.environ, "LLASO_TOKEN": KEY})
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5)
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.2)
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, max_retries=0, timeout=3)
        with pytest.raises(openai.APITimeoutError):  # the client leaves, the thread waits on
            client.audio.speech.create(model=NAME, voice="openai", input="Hello there.")
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
