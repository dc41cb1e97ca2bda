"""A chat endpoint on loopback as vLLM or a vendor has one, which can be slow, fail, tear, and answer nonsense."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

QUICKLY = {"retry-after-ms": "5"}


@dataclass(frozen=True)
class Does:
    """What is done with a request: words, or a status; ``tear`` breaks off in the middle, ``raw`` is sent as it is."""

    words: str = ""
    status: int = 200
    after_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    tear: bool = False
    raw: bytes | None = None


def usual(prompt: str) -> str:
    """It likes the first of two answers, and answers that say Paris."""
    if "Answer A:" in prompt:
        a, b = ("Paris" in prompt.split(f"Answer {name}:")[1].split("\n\n")[0] for name in "AB")
        return "Better: A" if a >= b else "Better: B"
    return "Score: 2\nbecause it is wrong" if "Answer: " in prompt and "Paris" not in answer_in(prompt) else "Score: 5"


def answer_in(prompt: str) -> str:
    """The answer that a prompt asks to be rated."""
    return prompt.split("\nAnswer: ")[1].split("\n\n")[0] if "\nAnswer: " in prompt else ""


class Chat(ThreadingHTTPServer):
    """``does`` says what happens to a prompt; ``asked`` has every request, ``together`` how many were there at once."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.does: Callable[[str], Does | None] = lambda prompt: None
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()
        self.now = self.together = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][0]["content"] for body in self.asked]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: Chat
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        chat = self.server
        with chat.lock:
            chat.asked.append(body)
            chat.headers.append({name.lower(): value for name, value in self.headers.items()})
            chat.now += 1
            chat.together = max(chat.together, chat.now)
            done = chat.does(prompt)
        try:
            if done is None:
                known = body["model"] == "judge-1"
                done = Does(usual(prompt)) if known else Does("no such model", 404)
            time.sleep(done.after_s)
        finally:
            with chat.lock:
                chat.now -= 1
        self._send(done)

    def _send(self, done: Does) -> None:
        said: dict[str, Any] = {"error": {"message": done.words}}
        if done.status == 200:
            said = {"object": "chat.completion", "choices": [{"index": 0, "message": {"content": done.words}}]}
        data = json.dumps(said).encode() if done.raw is None else done.raw
        self.send_response(done.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in done.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if done.tear else data)
        self.close_connection = self.close_connection or done.tear

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Chat]:
    """An endpoint as long as this is open."""
    with Chat() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
