"""A server on loopback in a thread, with a small model of random weights, and OpenAI's own client for it."""

from __future__ import annotations

import io
import threading
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from llaso_data.report.served import listen
from llaso_model.engine.backends.flat_reader import flat_model
from llaso_model.engine.backends.torch import TorchBackend
from llaso_model.engine.engine import Engine, Limits
from llaso_model.serve.metrics import Metrics
from llaso_model.serve.server import Server
from llaso_model.serve.service import Served, Service
from llaso_model.serve.settings import Keys, ServeLimits
from tests.support.training_fixtures import small_model, small_tokenizer

KEY, OTHER_KEY = "a-key-of-the-tests-1", "a-key-of-the-tests-2"
NAME = "small"


@dataclass
class Running:
    """A server that runs, and its parts."""

    server: Server
    service: Service
    port: int
    thread: threading.Thread = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> Any:
        import openai

        return openai.OpenAI(base_url=f"{self.url}/v1", **{"api_key": KEY, "max_retries": 0, "timeout": 60, **options})

    def asynchronous_client(self, **options: Any) -> Any:
        import openai

        options = {"api_key": KEY, "max_retries": 0, "timeout": 60, **options}
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", **options)


@contextmanager
def running(served: Served, limits: ServeLimits | None = None) -> Iterator[Running]:
    """Serves on a free port, until the end of the block."""
    listener = listen("127.0.0.1", 0)
    service = Service(served, limits or ServeLimits(), Metrics())
    server = Server(service, Keys({"one": KEY, "two": OTHER_KEY}), listener)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for _ in range(1000):
        if server.started:
            break
        thread.join(0.01)
    try:
        yield Running(server, service, int(listener.getsockname()[1]), thread)
    finally:
        if thread.is_alive():
            server.stop_soon()
        thread.join(30)
        assert not thread.is_alive()


def small_served(slots: int = 4, waiting: int = 16, **more: Any) -> Served:
    """A small model with random weights, which talks on until its limit."""
    model, processor = small_model(small_tokenizer(), "whisper", "splice")
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(50)
    engine = Engine(TorchBackend(model.eval(), processor, flat=flat_model(model)), Limits(slots=slots, waiting=waiting))
    options = {"names": (NAME, "whisper-1"), "context": 4096, "max_new_tokens": 12, **more}
    return Served(engine=engine, processor=processor, **options)


def tone(seconds: float = 1.0, rate_hz: int = 16_000, hz: float = 440.0) -> np.ndarray[Any, np.dtype[np.int16]]:
    """A tone that swells and fades, int16."""
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    return (8000 * np.sin(2 * np.pi * hz * at) * np.sin(2 * np.pi * 2 * at) ** 2).astype(np.int16)


def wav(seconds: float = 1.0, rate_hz: int = 16_000) -> io.BytesIO:
    """A tone as a file with a name, as the client takes it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate_hz)
        sound.writeframes(tone(seconds, rate_hz).tobytes())
    file.seek(0)
    file.name = "a.wav"
    return file
