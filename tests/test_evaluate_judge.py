"""Judges: an endpoint of the OpenAI kind, what was recorded, votes, and orders that are swapped."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llaso_data.demo import weights
from llaso_data.errors import LLaSOError
from llaso_model.evaluate import judge, score
from llaso_model.evaluate.judge import Endpoint, Question, Recorded
from tests.conftest import obtained
from tests.test_evaluate_report import lines


class Chat(ThreadingHTTPServer):
    """A chat endpoint as vLLM or a vendor has one. It likes the first answer, and answers that say Paris."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, Any]] = []
        self.failures = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Chat

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.failures:
            self.server.failures -= 1
            return self._send(503, {"error": "busy"})
        if body["model"] != "judge-1":
            return self._send(404, {"error": "no such model"})
        self.server.asked.append(body)
        prompt = body["messages"][0]["content"]
        if "Answer A:" in prompt:
            a, b = ("Paris" in prompt.split(f"Answer {name}:")[1].split("\n\n")[0] for name in "AB")
            said = "Better: A" if a >= b else "Better: B"
        else:
            said = "Score: 5" if "Paris" in prompt.split("Answer:")[1] else "Score: 2\nbecause it is wrong"
        return self._send(200, {"choices": [{"message": {"content": said}}]})

    def _send(self, status: int, said: dict[str, Any]) -> None:
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def chat() -> Iterator[Chat]:
    with Chat() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def question(id_: str, answer: str) -> Question:
    return Question(id_, "The capital of France?", "Paris.", answer)


def test_an_endpoint_is_asked_once_for_each_vote_and_prompt(chat: Chat, tmp_path: Path) -> None:
    kept = Recorded(str(tmp_path / "said.jsonl"), Endpoint(chat.url, "judge-1", temperature=0.7))
    questions = [question("a", "Paris"), question("b", "Rome")]
    assert judge.rate(kept, questions, votes=3) == {"a": 5.0, "b": 2.0}
    assert len(chat.asked) == 6 and {body["seed"] for body in chat.asked} == {0, 1, 2}
    assert judge.rate(kept, questions, votes=3) == {"a": 5.0, "b": 2.0}
    assert len(chat.asked) == 6
    again = Recorded(str(tmp_path / "said.jsonl"), name=kept.name)  # without a judge
    assert judge.rate(again, questions, votes=3) == {"a": 5.0, "b": 2.0}
    with pytest.raises(LLaSOError, match="1 of 1 judgements are not recorded"):
        judge.rate(again, [question("c", "Oslo")])


def test_a_busy_endpoint_is_asked_again_and_a_wrong_model_is_said(chat: Chat) -> None:
    chat.failures = 2
    assert judge.rate(Endpoint(chat.url, "judge-1"), [question("a", "Paris")]) == {"a": 5.0}
    with pytest.raises(LLaSOError, match="is the model's name other"):
        judge.rate(Endpoint(chat.url, "other"), [question("a", "Paris")])


def test_a_judge_that_follows_the_order_is_seen(chat: Chat) -> None:
    """Two equal answers: this judge prefers what comes first, so the preference is 1/2 and not consistent."""
    first = [question("same", "Paris"), question("better", "Paris"), question("worse", "Rome")]
    second = [question("same", "Paris!"), question("better", "Rome"), question("worse", "Paris")]
    found = judge.compare(Endpoint(chat.url, "judge-1"), first, second)
    assert (found["same"].share, found["same"].consistent) == (0.5, False)
    assert (found["better"].share, found["better"].consistent) == (1.0, True)
    assert (found["worse"].share, found["worse"].consistent) == (0.0, True)
    with pytest.raises(LLaSOError, match="the same questions"):
        judge.compare(Endpoint(chat.url, "judge-1"), first, second[:2])


def test_scores_and_choices_are_read() -> None:
    assert judge.score_of("**Score:** 4\nExplanation") == 4
    assert judge.score_of("Score: 3.5") == 3.5
    assert judge.score_of("I would give 4 of 5") is None
    assert judge.score_of("Score: 7") is None
    assert [judge.choice_of(said) for said in ("Better: B", "**Better**: tie", "A is better")] == ["B", "tie", None]


def test_the_primary_metric_of_open_answers_is_the_judges(chat: Chat, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in lines("one", 30)), encoding="utf-8")
    said = score.score([str(path)], str(tmp_path / "out"), workers=1, judge=Endpoint(chat.url, "judge-1"))
    opened = next(one for one in said["sets"] if one["kind"] == "open")
    assert opened["primary"] == "judge" or opened["metrics"]["one"]["judge"]["value"] == 5.0
    assert said["made"]["judged_by"]["judge"] == "judge-1 at temperature 0"
    assert (tmp_path / "out" / "judgements.jsonl").exists()


@pytest.mark.slow
def test_a_local_model_is_a_judge(tmp_path: Path) -> None:
    """SmolLM2-135M is no good judge, but it answers, twice the same at temperature 0, and is asked once."""
    kept = Recorded(str(tmp_path / "said.jsonl"), judge.LocalModel(str(obtained(weights.smollm2)), max_new_tokens=12))
    prompts = ["Say Score: 4", "Say Score: 2"]
    first = kept(prompts, 0)
    assert all(isinstance(one, str) and one for one in first)
    assert Recorded(kept.path, name=kept.name)(prompts, 0) == first
