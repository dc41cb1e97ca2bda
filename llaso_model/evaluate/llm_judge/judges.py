"""The judges: any OpenAI-compatible endpoint, a local Hugging Face model, or recorded replies."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io.journal import Journal, Line
from llaso_data.io.openai_client import client_of
from llaso_data.records import digest
from llaso_model.evaluate.llm_judge import pool
from llaso_model.evaluate.llm_judge.scoring import JudgeRequest, Keep, LLMJudge, Reply, Unanswered, discard

REQUESTS = 8
"""How many requests to an endpoint are under way at once."""

REFUSED, NO_ANSWER = "refused", "no answer"

_TRIES, _TIMEOUT_S = 5, 120.0
_GRACE_S = 10.0  # what is under way when a run stops is paid for, and may come
_MAX_CONSECUTIVE_FAILURES = 8  # without an answer: is anybody there?
_PROBE = JudgeRequest('Reply with one line: "Score: 5"')
_PROMPT_STATUSES = frozenset((400, 403, 413, 422, 451))  # too long, filtered: another prompt may be answered
_RETRY_STATUSES = frozenset((408, 409, 429))
_VOTE_TEMPERATURE = 0.7  # at 0 the same would be said again
_PROGRESS_EVERY_S = 10.0


class Endpoint:
    """An OpenAI-compatible chat endpoint, such as ``http://localhost:8000/v1``, asked through OpenAI's own client.

    The client repeats requests that time out, break off or are refused for now (408, 409, 429, 5xx), and waits longer
    each time, or as long as ``Retry-After`` says.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None = None,
        temperature: float = 0.0,
        requests: int = REQUESTS,
        timeout_s: float = _TIMEOUT_S,
        tries: int = _TRIES,
    ) -> None:
        """``key`` is sent as a bearer token; without it the variable LLASO_JUDGE_KEY is, where it is set."""
        self.url = url.rstrip("/")
        self.model = model
        self.temperature = temperature
        self.requests = requests
        self.tries = tries
        self.name = f"{model} at temperature {temperature:g}"
        key = key or os.environ.get("LLASO_JUDGE_KEY")
        self._client, self._headers = client_of(self.url, key, tries, timeout_s, "--judge with a URL")

    def ask(self, asks: Sequence[JudgeRequest], keep: Keep = discard) -> list[Reply]:
        """Asks the endpoint, several requests at once.

        Args:
            asks: The requests.
            keep: Called with the number and text of each reply as it comes.

        Returns:
            A reply to each request, in their order.

        Raises:
            LLaSOError: The endpoint does not answer, or refuses the key, the model or every request.
        """
        replies_by_number: dict[int, Reply] = {}
        unanswered: list[Unanswered] = []  # in a row

        def keep_words(number: int, reply: Reply) -> None:
            if isinstance(reply, str):
                keep(number, reply)

        def count_reply(number: int, reply: Reply) -> None:
            replies_by_number[number] = reply
            if isinstance(reply, str):
                unanswered.clear()
                return
            unanswered.append(reply)
            if len(unanswered) >= _MAX_CONSECUTIVE_FAILURES:
                self._probe(unanswered)

        pool.run_all(self._reply, asks, self.requests, keep_words, count_reply, _GRACE_S)
        if unanswered:
            self._probe(unanswered)
        return [replies_by_number[number] for number in range(len(asks))]

    def _probe(self, unanswered: list[Unanswered]) -> None:
        """Raises LLaSOError where a request that any judge can answer fails, too: it is not the prompts."""
        if isinstance(self._reply(_PROBE), Unanswered):
            raise LLaSOError(
                f"{self.url}: {unanswered[-1].why}; what was answered is kept, the same command asks for the rest"
            )
        unanswered.clear()

    def _reply(self, ask: JudgeRequest) -> Reply:
        import openai

        try:
            answer: Any = self._client.chat.completions.create(
                model=self.model,
                temperature=max(self.temperature, _VOTE_TEMPERATURE) if ask.attempt else self.temperature,
                seed=ask.vote + 1000 * ask.attempt,
                messages=[{"role": "user", "content": ask.prompt}],
                extra_headers=self._headers,
            )
            words = answer.choices[0].message.content
            return words if isinstance(words, str) else ""
        except openai.APIStatusError as error:
            return self._refused(error.status_code, " ".join(str(error).split())[:300])
        except openai.APIConnectionError as error:
            why = " ".join(str(error.__cause__ or error).split()) or type(error.__cause__).__name__
            return Unanswered(NO_ANSWER, f"no answer after {self.tries} attempts ({why})", True)
        except (openai.OpenAIError, ValueError, AttributeError, IndexError, TypeError) as error:
            return Unanswered(NO_ANSWER, f"its answer is no chat completion ({type(error).__name__}: {error})", True)

    def _refused(self, status: int, why: str) -> Unanswered:
        if status in _PROMPT_STATUSES:
            return Unanswered(REFUSED, f"refused ({why})", False)
        if status in _RETRY_STATUSES or status >= 500:
            return Unanswered(NO_ANSWER, f"no answer after {self.tries} attempts ({why})", True)
        hint = "is the key in LLASO_JUDGE_KEY right?" if status == 401 else f"is the model's name {self.model}?"
        raise LLaSOError(f"{self.url}: {why}; {hint}")


class LocalModel:
    """A Hugging Face chat model in this process. The model is loaded when it is first asked."""

    def __init__(self, model: str, temperature: float = 0.0, max_new_tokens: int = 120) -> None:
        self.model = model
        self.temperature = temperature
        self.max_new_tokens = max_new_tokens
        self.name = f"{model} at temperature {temperature:g}"
        self._pipeline: Any = None

    def ask(self, asks: Sequence[JudgeRequest], keep: Keep = discard) -> list[Reply]:
        """A reply to each request. A random draw depends on the request alone, not on what else is asked."""
        import torch
        from transformers import pipeline

        if self._pipeline is None:
            self._pipeline = pipeline("text-generation", model=self.model)
        replies: list[Reply] = []
        for number, ask in enumerate(asks):
            torch.manual_seed(int(digest("judge's draw", ask.prompt, ask.vote, ask.attempt, length=14), 16))
            heat = max(self.temperature, _VOTE_TEMPERATURE) if ask.attempt else self.temperature
            sampled = {"do_sample": True, "temperature": heat} if heat else {"do_sample": False}
            chat = [{"role": "user", "content": ask.prompt}]
            made = self._pipeline(chat, max_new_tokens=self.max_new_tokens, return_full_text=False, **sampled)
            words = str(made[0]["generated_text"])
            keep(number, words)
            replies.append(words)
        return replies


class RecordedJudge:
    """The replies of a judge, kept in a JSON-lines file. A judge behind it, if any, is asked for missing replies.

    Every reply is on the disk before the next one counts. When all are there, the lines are sorted by their digests:
    the same replies make the same file, however often the run was killed.
    """

    def __init__(
        self,
        path: str,
        judge: LLMJudge | None = None,
        name: str | None = None,
        on_progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Opens the file of replies.

        Args:
            path: The file.
            judge: Is asked for missing replies; None: a missing reply is an error.
            name: Name of the judge whose replies are recorded, if ``judge`` is None.
            on_progress: Called with a line about progress, every ten seconds.

        Raises:
            LLaSOError: The file is damaged. The message has the line.
        """
        self.path = path
        self._judge = judge
        self.name = judge.name if judge is not None else name or ""
        self._on_progress = on_progress
        self._journal = Journal(path, _fault)
        if self._journal.torn:
            on_progress(f"{path}:{self._journal.torn}: incomplete, as after a kill; this judgement is requested again")

    def ask(self, asks: Sequence[JudgeRequest], keep: Keep = discard) -> list[Reply]:
        """Raises LLaSOError where something is not recorded and there is no judge to ask."""
        if self._judge is None:
            recorded = self._recorded_replies()
            missing = sum(self.key(ask) not in recorded for ask in asks)
            if missing:
                raise LLaSOError(f"{self.path}: {missing} of {len(asks)} judgements are not recorded")
            return [recorded[self.key(ask)] for ask in asks]
        with self._journal.writing() as add:
            recorded = self._recorded_replies()
            todo = [ask for ask in dict.fromkeys(asks) if self.key(ask) not in recorded]
            unanswered = self._ask(self._judge, todo, add)
            self._journal.sort(lambda line: str(line["digest"]))
        recorded = self._recorded_replies()
        return [unanswered[ask] if ask in unanswered else recorded[self.key(ask)] for ask in asks]

    def _ask(
        self, judge: LLMJudge, todo: Sequence[JudgeRequest], add: Callable[[Line], None]
    ) -> dict[JudgeRequest, Reply]:
        """Asks for the missing replies and records them. Returns the requests without a reply, and why."""
        done, last_progress_s = 0, time.monotonic()

        def record(number: int, words: str) -> None:
            nonlocal done, last_progress_s
            ask = todo[number]
            attempt = {"attempt": ask.attempt} if ask.attempt else {}
            add({"digest": self.key(ask), "judge": self.name, "vote": ask.vote, **attempt, "said": words})
            done += 1
            if time.monotonic() - last_progress_s > _PROGRESS_EVERY_S:
                last_progress_s = time.monotonic()
                self._on_progress(f"{done:,} of {len(todo):,} judgements made")

        replies = judge.ask(todo, record) if todo else []
        return {ask: reply for ask, reply in zip(todo, replies, strict=True) if isinstance(reply, Unanswered)}

    def _recorded_replies(self) -> dict[str, str]:
        return {line["digest"]: line["said"] for line in self._journal.lines}

    def key(self, ask: JudgeRequest) -> str:
        """The digest that a judgement is kept under."""
        return digest("judgement", self.name, ask.prompt, ask.vote, *([ask.attempt] if ask.attempt else []))


def _fault(line: Line) -> str | None:
    there = all(isinstance(line.get(name), str) for name in ("digest", "said"))
    return None if there else "no judgement: it has digest and said"


def open_judge(at: str, model: str | None, votes: int = 1, requests: int = REQUESTS) -> LLMJudge:
    """The judge that a command names.

    Args:
        at: URL of an endpoint, or name of a Hugging Face model.
        model: The model's name at the URL.
        votes: Judgements of each answer. Several are drawn at temperature 0.7; at 0 they would all be the same.
        requests: Requests to an endpoint that are under way at once.

    Raises:
        LLaSOError: A URL comes without a model's name.
    """
    temperature = _VOTE_TEMPERATURE if votes > 1 else 0.0
    if not at.startswith(("http://", "https://")):
        return LocalModel(at, temperature)
    if model is None:
        raise LLaSOError(f"--judge {at}: name the model there with --judge-model")
    return Endpoint(at, model, temperature=temperature, requests=requests)
