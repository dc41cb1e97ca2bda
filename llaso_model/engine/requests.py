"""What is asked of an engine, and what comes back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from llaso_data.errors import LLaSOError
from llaso_model.chat_format import Message
from llaso_model.sounds import InputError

FinishReason = Literal["stop", "length", "cancelled"]
_MOST_STOPS = 16
_SEEDS = 2**63


class Busy(LLaSOError):
    """The engine has as many requests as it takes. The same request may be made again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the tokens of an answer are chosen, and when it ends. ``docs/answer.md`` explains the parameters.

    Attributes:
        max_new_tokens: The most tokens of the answer.
        temperature: 0: always the most likely token. Else logits are divided by it, and a token is drawn.
        top_p: A token is drawn among the most likely ones that have this probability together.
        top_k: A token is drawn among so many most likely ones; 0: among all.
        repetition_penalty: Logits of tokens that the answer has already are lowered by this factor; None: the model's.
        no_repeat_ngram_size: No so many tokens in a row come twice in the answer; 0: they may; None: the model's.
        stop: The answer ends before any of these texts.
        seed: Of what is drawn; None: another one each time.
        details: Whether the answer has its details, which take a little longer.

    Raises:
        InputError: A value is out of its range.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    details: bool = False

    def __post_init__(self) -> None:
        penalty = self.repetition_penalty
        problems = (
            (self.max_new_tokens < 1, "max_new_tokens", "at least 1"),
            (not 0 <= self.temperature < math.inf, "temperature", "0 or more"),
            (not 0 < self.top_p <= 1, "top_p", "more than 0, at most 1"),
            (self.top_k < 0, "top_k", "0 or more"),
            (penalty is not None and not 0 < penalty < math.inf, "repetition_penalty", "more than 0"),
            ((self.no_repeat_ngram_size or 0) < 0, "no_repeat_ngram_size", "0 or more"),
            (not all(self.stop) or len(self.stop) > _MOST_STOPS, "stop", f"up to {_MOST_STOPS} texts, none empty"),
            (self.seed is not None and not 0 <= self.seed < _SEEDS, "seed", f"0 or more, less than {_SEEDS}"),
        )
        for is_wrong, name, allowed in problems:
            if is_wrong:
                raise InputError(f"{name}: {allowed}, not {getattr(self, name)!r}")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The parameters' names."""
        return tuple(one.name for one in fields(cls))


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation to be answered.

    Attributes:
        conversation: Messages whose audio parts hold audio in any form that the processor takes.
        sampling: How the answer is chosen.
        begun: Tokens that the answer begins with. They are given, so they are not part of the answer's own tokens.
        until_s: The answer ends with the first token that was heard after this time of the audio. None: it goes on.
            It needs ``sampling.details``, and does nothing where :attr:`Details.heard_s` is not known.
        expected: Tokens that are likely to follow, such as those of an answer about almost the same audio. They change
            no token of the answer. Where they come true the answer comes sooner.
    """

    conversation: Sequence[Message]
    sampling: Sampling = field(default_factory=Sampling)
    begun: tuple[int, ...] = ()
    until_s: float | None = None
    expected: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Details:
    """What else is known of an answer, as far as the backend knows it.

    Attributes:
        mean_logprob: The mean log probability of its tokens, before tokens are narrowed down for drawing.
        heard_s: For each token the time in the only audio of the prompt that the model attended to most when it chose
            the token; empty: not known.
    """

    mean_logprob: float | None = None
    heard_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or what there was of it when it was cancelled.

    Attributes:
        text: Without special tokens, and without the stop string.
        tokens: The token that ended it among them.
        finish_reason: ``stop``: a token or a text ended it; ``length``: it has all tokens that it may have.
        prompt_tokens: How many tokens the prompt has, those that stand for audio among them.
        details: None: they were not asked for.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    prompt_tokens: int
    details: Details | None = None


def sampling_of(settings: dict[str, Any]) -> Sampling | None:
    """The settings of ``generate`` as sampling parameters; None where they ask for what an engine does not do.

    Args:
        settings: Names as in :class:`Sampling`, and ``num_beams``, ``do_sample`` and ``synced_gpus``.

    Raises:
        InputError: A value is out of its range.
    """
    settings = dict(settings)
    if settings.pop("num_beams", None) not in (None, 1) or settings.pop("synced_gpus", False):
        return None
    if settings.pop("do_sample", False) or set(settings) - set(Sampling.names()):
        return None
    return Sampling(**settings)
