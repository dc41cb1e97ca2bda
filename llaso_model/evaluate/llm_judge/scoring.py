"""Judges of free answers: their prompts, how their replies are read, and the mean of many votes.

A judge is a function of prompts to texts; who they are is in :mod:`llaso_model.evaluate.llm_judge.judges`.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.records import digest

T = TypeVar("T")

ATTEMPTS = 3
"""How often something is asked whose answer cannot be read, or does not come."""

UNREADABLE = "unreadable"

_SCORE = re.compile(r"score\**\s*:?\s*\**\s*([1-5](?:\.\d+)?)\b", re.IGNORECASE)
_CHOICE = re.compile(r"\bbetter\**\s*:?\s*\**\s*(A|B|tie|equal)\b", re.IGNORECASE)

RATE_PROMPT = """You rate the answer of an AI assistant to a spoken request.

Request: {prompt}

Reference answer: {reference}

Answer: {answer}

Rate from 1 (wrong or beside the point) to 5 (as good as the reference), for relevance and accuracy alone: neither
length nor style counts. Reply with one line, "Score: " and the number, and a second line with the reason."""

COMPARE_PROMPT = """You compare two answers of AI assistants to a spoken request.

Request: {prompt}

Reference answer: {reference}

Answer A: {first}

Answer B: {second}

Which is better in relevance and accuracy? Neither length, style nor order counts. Reply with one line, "Better: A",
"Better: B" or "Better: tie", and a second line with the reason."""


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """A prompt for a judge.

    Attributes:
        prompt: The text.
        vote: Number of the independent draw.
        attempt: Number of the repetition, after replies that could not be read.
    """

    prompt: str
    vote: int = 0
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why a request has no reply.

    Attributes:
        kind: The failure's name, under which it is counted.
        why: The message.
        again: Asking again may help.
    """

    kind: str
    why: str
    again: bool


Reply = str | Unanswered
Keep = Callable[[int, str], None]
"""Told the number of an ask and the judge's words, once for each reply, as it comes."""


def discard(number: int, words: str) -> None:
    """A callback that keeps nothing."""


class LLMJudge(Protocol):
    """A judge replies to prompts.

    Attributes:
        name: The model and its settings. It is part of the digest under which replies are kept.
    """

    name: str

    def ask(self, asks: Sequence[JudgeRequest], keep: Keep = discard) -> list[Reply]:
        """A reply to each, in their order. Raises LLaSOError where the judge itself cannot be asked."""


@dataclass(frozen=True, slots=True)
class JudgeQuestion:
    """An answer to be judged.

    Attributes:
        id: Id of the prediction.
        prompt: The request that was answered.
        reference: A good answer.
        answer: The answer.
    """

    id: str
    prompt: str
    reference: str
    answer: str


def parse_score(words: str) -> float | None:
    """The score of 1 to 5 in a judge's reply ("Score: 4"); None where it has none."""
    match = _SCORE.search(words)
    return float(match[1]) if match and float(match[1]) <= 5 else None


def parse_choice(words: str) -> str | None:
    """``A``, ``B`` or ``tie``; None where the reply chooses nothing."""
    match = _CHOICE.search(words)
    if match is None:
        return None
    return "tie" if match[1].lower() in ("tie", "equal") else match[1].upper()


def readable_replies(
    judge: LLMJudge, asks: Sequence[JudgeRequest], read: Callable[[str], T | None]
) -> dict[JudgeRequest, T | Unanswered]:
    """Asks a judge until its replies can be read, :data:`ATTEMPTS` times at most.

    Args:
        judge: The judge.
        asks: Requests; equal ones are asked once.
        read: Gives the value of a reply, or None where it has none.

    Returns:
        By request the value, or why there is none.
    """
    replies: dict[JudgeRequest, T | Unanswered] = {}
    pending = {ask: ask for ask in asks}  # what is wanted, and how it is asked now
    for _ in range(ATTEMPTS):
        repeated: dict[JudgeRequest, JudgeRequest] = {}
        for (request, ask), reply in zip(pending.items(), judge.ask(list(pending.values())), strict=True):
            if isinstance(reply, Unanswered):
                replies[request] = reply
                if reply.again:
                    repeated[request] = ask
                continue
            value = read(reply)
            replies[request] = Unanswered(UNREADABLE, reply[:200], True) if value is None else value
            if value is None:
                repeated[request] = replace(ask, attempt=ask.attempt + 1)
        pending = repeated
        if not pending:
            break
    return replies


@dataclass(slots=True)
class JudgedAnswers:
    """Scores of a judge.

    Attributes:
        scores: By (system, set) and question id.
        reasons: Number of questions without a score, by the kind of failure.
        fewer_votes: Number of questions whose score has fewer votes than were asked for.
    """

    scores: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    fewer_votes: int = 0

    def as_json(self) -> dict[str, Any]:
        """The counts, as ``scores.json`` has them."""
        return {"unjudged": dict(sorted(self.reasons.items())), "fewer_votes": self.fewer_votes}


def judge_answers(
    judge: LLMJudge, questions: Mapping[tuple[str, str], Sequence[JudgeQuestion]], votes: int = 1
) -> JudgedAnswers:
    """Rates the answers of systems to sets.

    Args:
        judge: The judge.
        questions: Answers by (system, set).
        votes: Judgements of each answer. Its score is the mean of those that can be read.
    """
    prompts = {
        question: RATE_PROMPT.format(prompt=question.prompt, reference=question.reference, answer=question.answer)
        for set_questions in questions.values()
        for question in set_questions
    }
    replies = readable_replies(
        judge, [JudgeRequest(prompt, vote) for vote in range(votes) for prompt in prompts.values()], parse_score
    )
    judged = JudgedAnswers()
    for key, set_questions in questions.items():
        judged.scores[key] = {}
        for question in set_questions:
            votes_cast = [replies[JudgeRequest(prompts[question], vote)] for vote in range(votes)]
            scores = [score for score in votes_cast if isinstance(score, float)]
            if scores:
                judged.scores[key][question.id] = statistics.fmean(scores)
                judged.fewer_votes += len(scores) < votes
            else:
                judged.reasons.update(reason.kind for reason in votes_cast[:1] if isinstance(reason, Unanswered))
    return judged


def rate(judge: LLMJudge, questions: Sequence[JudgeQuestion], votes: int = 1) -> dict[str, float]:
    """The mean score of ``votes`` judgements by question id. Questions without a readable judgement are left out."""
    return judge_answers(judge, {("", ""): questions}, votes).scores["", ""]


@dataclass(frozen=True, slots=True)
class Preference:
    """Which of two answers to a question was preferred.

    Attributes:
        share: How often the first one was, 0 to 1; a tie counts half.
        consistent: Every vote was the same in both orders. A judge that follows the position gives a share of 1/2.
    """

    share: float
    consistent: bool


def compare(
    judge: LLMJudge, first: Sequence[JudgeQuestion], second: Sequence[JudgeQuestion], votes: int = 1
) -> dict[str, Preference]:
    """Compares the answers of two systems. Each vote is asked for in both orders.

    Args:
        judge: The judge.
        first: Answers of the first system.
        second: Answers of the second system to the same questions, in the same order.
        votes: Judgements of each pair and order.

    Returns:
        Preferences by question id. Questions without a vote that can be read in both orders are left out.

    Raises:
        LLaSOError: The questions are not the same.
    """
    if [question.id for question in first] != [question.id for question in second]:
        raise LLaSOError("the two systems were not asked the same questions in the same order")
    worth = {"A": 1.0, "B": 0.0, "tie": 0.5}
    orders = [
        (_compare_prompt(a, a.answer, b.answer), _compare_prompt(a, b.answer, a.answer))
        for a, b in zip(first, second, strict=True)
    ]
    asks = [JudgeRequest(prompt, vote) for vote in range(votes) for pair in orders for prompt in pair]
    replies = readable_replies(judge, asks, lambda words: worth.get(parse_choice(words) or ""))
    preferences: dict[str, Preference] = {}
    for question, pair in zip(first, orders, strict=True):
        shares = []
        for vote in range(votes):
            straight, turned = (replies[JudgeRequest(prompt, vote)] for prompt in pair)
            if isinstance(straight, float) and isinstance(turned, float):
                shares.append((straight, 1.0 - turned))
        if shares:
            preferences[question.id] = Preference(
                statistics.fmean(x for own in shares for x in own), all(a == b for a, b in shares)
            )
    return preferences


def _compare_prompt(question: JudgeQuestion, first: str, second: str) -> str:
    return COMPARE_PROMPT.format(prompt=question.prompt, reference=question.reference, first=first, second=second)


def prompts_digest() -> str:
    """The digest of the prompts' wording, which is part of how a score was made."""
    return digest("judge prompts", RATE_PROMPT, COMPARE_PROMPT)
