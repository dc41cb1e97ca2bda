"""Judges of free answers: any OpenAI-compatible endpoint, a local Hugging Face model, or what a judge said before.

A judge is a function of prompts to texts. What it says is kept by the digest of (judge, prompt, vote), so that scoring
again asks nothing twice, and a file of recorded judgements is a judge without a model.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llaso_data import storage
from llaso_data.errors import LLaSOError
from llaso_data.records import digest

_SCORE = re.compile(r"score\**\s*:?\s*\**\s*([1-5](?:\.\d+)?)\b", re.IGNORECASE)
_CHOICE = re.compile(r"\bbetter\**\s*:?\s*\**\s*(A|B|tie|equal)\b", re.IGNORECASE)
_ATTEMPTS, _TIMEOUT_S = 5, 120

RATE = """You rate the answer of an AI assistant to a spoken request.

Request: {prompt}

Reference answer: {reference}

Answer: {answer}

Rate from 1 (wrong or beside the point) to 5 (as good as the reference), for relevance and accuracy alone: neither
length nor style counts. Reply with one line, "Score: " and the number, and a second line with the reason."""

COMPARE = """You compare two answers of AI assistants to a spoken request.

Request: {prompt}

Reference answer: {reference}

Answer A: {first}

Answer B: {second}

Which is better in relevance and accuracy? Neither length, style nor order counts. Reply with one line, "Better: A",
"Better: B" or "Better: tie", and a second line with the reason."""


class Judge(Protocol):
    """Answers prompts. ``name`` stands for the model and its settings: it is part of what is cached."""

    name: str

    def __call__(self, prompts: Sequence[str], vote: int) -> list[str]:
        """The judge's words for every prompt; ``vote`` numbers independent draws of the same prompt."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is judged: the request, what a good answer is, and the answer."""

    id: str
    prompt: str
    reference: str
    answer: str


class Endpoint:
    """An OpenAI-compatible chat endpoint, such as ``http://localhost:8000/v1``."""

    def __init__(self, url: str, model: str, key: str | None = None, temperature: float = 0.0) -> None:
        """``key`` is sent as a bearer token; without it the variable LLASO_JUDGE_KEY is, where it is set."""
        self.url = url.rstrip("/") + "/chat/completions"
        self.model = model
        self.temperature = temperature
        self.name = f"{model} at temperature {temperature:g}"
        self._key = key or os.environ.get("LLASO_JUDGE_KEY")

    def __call__(self, prompts: Sequence[str], vote: int) -> list[str]:
        """One request for each prompt. Raises LLaSOError where the endpoint does not answer after five attempts."""
        return [self._ask(prompt, vote) for prompt in prompts]

    def _ask(self, prompt: str, vote: int) -> str:
        body = {
            "model": self.model,
            "temperature": self.temperature,
            "seed": vote,
            "messages": [{"role": "user", "content": prompt}],
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        for attempt in range(_ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                    return str(json.load(answer)["choices"][0]["message"]["content"])
            except urllib.error.HTTPError as error:
                if error.code not in (408, 429) and error.code < 500:
                    raise LLaSOError(
                        f"{self.url}: {error.code} {error.reason}; is the model's name {self.model}?"
                    ) from error
                last: Exception = error
            except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
                last = error
            if attempt + 1 < _ATTEMPTS:
                time.sleep(0.5 * 2**attempt)
        raise LLaSOError(f"{self.url}: no answer after {_ATTEMPTS} attempts ({last})") from last


class LocalModel:
    """A Hugging Face chat model in this process. The model is loaded when it is first asked."""

    def __init__(self, model: str, temperature: float = 0.0, max_new_tokens: int = 120) -> None:
        self.model = model
        self.temperature = temperature
        self.max_new_tokens = max_new_tokens
        self.name = f"{model} at temperature {temperature:g}"
        self._pipeline: Any = None

    def __call__(self, prompts: Sequence[str], vote: int) -> list[str]:
        import torch
        from transformers import pipeline

        if self._pipeline is None:
            self._pipeline = pipeline("text-generation", model=self.model)
        torch.manual_seed(vote)
        sampled = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
        made = self._pipeline(chats, max_new_tokens=self.max_new_tokens, return_full_text=False, **sampled)
        return [str(one[0]["generated_text"]) for one in made]


class Recorded:
    """What judges said, kept in a JSON-lines file; asks the judge behind it for what is not there, if there is one."""

    def __init__(self, path: str, judge: Judge | None = None, name: str | None = None) -> None:
        """``name`` is that of the judge whose words are recorded, where none is behind it."""
        self.path = path
        self._judge = judge
        self.name = judge.name if judge is not None else name or ""
        self._said: dict[str, str] = {}
        if storage.exists(path):
            for line in storage.read_bytes(path).decode("utf-8").splitlines():
                row = json.loads(line)
                self._said[row["digest"]] = row["said"]

    def __call__(self, prompts: Sequence[str], vote: int) -> list[str]:
        """Raises LLaSOError where something is not recorded and there is no judge to ask."""
        keys = [self.key(prompt, vote) for prompt in prompts]
        missing = list(dict.fromkeys(i for i, key in enumerate(keys) if key not in self._said))
        if missing and self._judge is None:
            raise LLaSOError(f"{self.path}: {len(missing)} of {len(prompts)} judgements are not recorded")
        if missing and self._judge is not None:
            said = self._judge([prompts[i] for i in missing], vote)
            with open(self.path, "a", encoding="utf-8") as file:  # line by line: what was paid for is kept
                for i, words in zip(missing, said, strict=True):
                    self._said[keys[i]] = words
                    row = {"digest": keys[i], "judge": self.name, "vote": vote, "said": words}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return [self._said[key] for key in keys]

    def key(self, prompt: str, vote: int) -> str:
        """The digest that a judgement is kept under."""
        return digest("judgement", self.name, prompt, vote)


def score_of(said: str) -> float | None:
    """The score of 1 to 5 that a judge's words give ("Score: 4"); None where they give none."""
    found = _SCORE.search(said)
    return float(found[1]) if found and float(found[1]) <= 5 else None


def choice_of(said: str) -> str | None:
    """``A``, ``B`` or ``tie``; None where the words choose nothing."""
    found = _CHOICE.search(said)
    if found is None:
        return None
    return "tie" if found[1].lower() in ("tie", "equal") else found[1].upper()


def rate(judge: Judge, questions: Sequence[Question], votes: int = 1) -> dict[str, float]:
    """The mean score of `votes` judgements by question id; questions whose every judgement gives none are left out."""
    prompts = [RATE.format(prompt=one.prompt, reference=one.reference, answer=one.answer) for one in questions]
    said = [judge(prompts, vote) for vote in range(votes)]
    found: dict[str, float] = {}
    for i, one in enumerate(questions):
        scores = [score for vote in said if (score := score_of(vote[i])) is not None]
        if scores:
            found[one.id] = statistics.fmean(scores)
    return found


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one question: how often the first was preferred (0 … 1, ties half), and whether order mattered.

    ``consistent`` says that every vote gave the same answer in both orders; one that follows the position is worth 1/2.
    """

    share: float
    consistent: bool


def compare(
    judge: Judge, first: Sequence[Question], second: Sequence[Question], votes: int = 1
) -> dict[str, Preference]:
    """By question id which of two systems' answers is preferred; each vote is asked for in both orders.

    Raises LLaSOError where the systems were not asked the same questions.
    """
    if [one.id for one in first] != [one.id for one in second]:
        raise LLaSOError("the two systems were not asked the same questions, or in another order")
    asked = [_compared(a, a.answer, b.answer) for a, b in zip(first, second, strict=True)]
    swapped = [_compared(a, b.answer, a.answer) for a, b in zip(first, second, strict=True)]
    worth: Mapping[str | None, float] = {"A": 1.0, "B": 0.0, "tie": 0.5, None: 0.5}
    shares: list[list[tuple[float, float]]] = [[] for _ in first]
    for vote in range(votes):
        for i, (straight, turned) in enumerate(zip(judge(asked, vote), judge(swapped, vote), strict=True)):
            shares[i].append((worth[choice_of(straight)], 1.0 - worth[choice_of(turned)]))
    return {
        one.id: Preference(statistics.fmean(x for pair in own for x in pair), all(a == b for a, b in own))
        for one, own in zip(first, shares, strict=True)
    }


def _compared(question: Question, first: str, second: str) -> str:
    return COMPARE.format(prompt=question.prompt, reference=question.reference, first=first, second=second)


def judge_of(at: str, model: str | None, votes: int = 1) -> Judge:
    """The judge that a command names: an address with a model's name, or a Hugging Face model.

    Several votes are drawn at temperature 0.7, for at 0 they would be one. Raises LLaSOError for an address alone.
    """
    temperature = 0.7 if votes > 1 else 0.0
    if not at.startswith(("http://", "https://")):
        return LocalModel(at, temperature)
    if model is None:
        raise LLaSOError(f"--judge {at}: name the model there with --judge-model")
    return Endpoint(at, model, temperature=temperature)


def prompts_digest() -> str:
    """The digest of the prompts' wording: part of how a score was made."""
    return digest("judge prompts", RATE, COMPARE)


def judged(
    judge: Judge, questions: Mapping[tuple[str, str], Iterable[Question]], votes: int
) -> dict[tuple[str, str], dict[str, float]]:
    """Scores by (system, set) and question id."""
    return {key: rate(judge, list(some), votes) for key, some in questions.items()}
