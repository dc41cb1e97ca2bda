"""From the logits of a row to its next token, as Hugging Face's ``generate`` computes it for that row alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers.generation import logits_process as processors

from llaso_model.engine.requests import Sampling

_HONOURED = ("repetition_penalty", "no_repeat_ngram_size", "min_new_tokens", "suppress_tokens", "begin_suppress_tokens")
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "bad_words_ids": (),
    "diversity_penalty": (0.0,),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1.0,),
    "exponential_decay_length_penalty": (),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "guidance_scale": (1, 1.0),
    "min_length": (0,),
    "remove_invalid_values": (False,),
    "sequence_bias": (),
    "watermarking_config": (),
}
"""Values of a generation configuration that change greedy answers and are not honoured, and their neutral values."""


def unknown_values(config: Any) -> list[str]:
    """Names of a generation configuration's values that would change answers, and which rows do not honour."""
    return [
        name
        for name, neutral in _NEUTRAL.items()
        if (value := getattr(config, name, None)) is not None and value not in neutral
    ]


def stop_tokens(config: Any) -> frozenset[int]:
    """The tokens that end an answer by a generation configuration."""
    tokens = config.eos_token_id
    return frozenset(() if tokens is None else (tokens,) if isinstance(tokens, int) else tokens)


class TokenChooser:
    """Chooses the tokens of one row.

    Args:
        sampling: The request's parameters.
        config: The model's generation configuration, for what the request leaves to it.
        device: That of the logits.
    """

    def __init__(self, sampling: Sampling, config: Any, device: torch.device) -> None:
        self._device = device
        self._logprobs: list[torch.Tensor] | None = [] if sampling.details else None
        self._adjust = processors.LogitsProcessorList(_adjusting(sampling, config, device))
        self._narrow = processors.LogitsProcessorList(_narrowing(sampling))
        self._random: torch.Generator | None = None
        if sampling.temperature > 0:
            self._random = torch.Generator()
            if sampling.seed is None:
                self._random.seed()
            else:
                self._random.manual_seed(sampling.seed)

    @property
    def is_common(self) -> bool:
        """Whether the token depends on the logits only, and on them as for all such rows of the model."""
        kinds = {type(one) for one in self._adjust}
        return self._random is None and self._logprobs is None and kinds <= {processors.SuppressTokensLogitsProcessor}

    def __call__(self, tokens: Sequence[int], logits: torch.Tensor) -> torch.Tensor:
        """The next token of each row, on the device of the logits (B,).

        Args:
            tokens: The answer so far. Where :attr:`is_common`, it is not looked at.
            logits: Of its next token (1, vocabulary); where :attr:`is_common`, of so many rows (B, vocabulary).
        """
        ids = torch.tensor([tokens], dtype=torch.long, device=self._device)
        scores: torch.Tensor = self._adjust(ids, logits.to(dtype=torch.float32, copy=True))
        if self._random is None:
            chosen = scores.argmax(dim=-1)
        else:
            probs = self._narrow(ids, scores.clone()).softmax(dim=-1).cpu()
            chosen = torch.multinomial(probs, 1, generator=self._random)[:, 0].to(logits.device)
        if self._logprobs is not None:
            self._logprobs.append(scores.log_softmax(dim=-1)[0, chosen[0]])
        return chosen

    def mean_logprob(self, count: int) -> float | None:
        """The mean log probability of the first tokens; None: there are none, or it was not asked for."""
        return float(torch.stack(self._logprobs[:count]).mean()) if self._logprobs and count else None


def choose_tokens(rows: Sequence[tuple[TokenChooser, Sequence[int], Any]]) -> list[int]:
    """The next token of each row of one model.

    Args:
        rows: What chooses each row's tokens, the row's answer so far, and the logits of its next token (1, vocabulary).
    """
    common = [number for number, (choose, _, _) in enumerate(rows) if choose.is_common]
    chosen: dict[int, torch.Tensor] = {}
    if common:
        tokens = rows[common[0]][0]((), torch.cat([rows[number][2] for number in common]))
        chosen = dict(zip(common, tokens, strict=True))
    for number, (choose, answer, logits) in enumerate(rows):
        if number not in chosen:
            chosen[number] = choose(answer, logits)[0]
    found: list[int] = torch.stack([chosen[number] for number in range(len(rows))]).tolist()
    return found


def _adjusting(sampling: Sampling, config: Any, device: torch.device) -> Iterable[Any]:
    """What changes logits whether or not tokens are drawn, in the order of ``generate``."""
    values = {name: getattr(config, name, None) for name in _HONOURED}
    for name in ("repetition_penalty", "no_repeat_ngram_size"):
        if (own := getattr(sampling, name)) is not None:
            values[name] = own
    if values["repetition_penalty"] not in (None, 1.0):
        yield processors.RepetitionPenaltyLogitsProcessor(float(values["repetition_penalty"]))
    if values["no_repeat_ngram_size"]:
        yield processors.NoRepeatNGramLogitsProcessor(values["no_repeat_ngram_size"])
    if values["min_new_tokens"] and (ends := sorted(stop_tokens(config))):
        yield processors.MinNewTokensLengthLogitsProcessor(0, values["min_new_tokens"], ends, device=str(device))
    if values["suppress_tokens"]:
        yield processors.SuppressTokensLogitsProcessor(values["suppress_tokens"], device=str(device))
    if values["begin_suppress_tokens"]:
        yield processors.SuppressTokensAtBeginLogitsProcessor(values["begin_suppress_tokens"], 0, device=str(device))


def _narrowing(sampling: Sampling) -> Iterable[Any]:
    """What tokens are drawn among, in the order of ``generate``."""
    if sampling.temperature not in (0.0, 1.0):
        yield processors.TemperatureLogitsWarper(float(sampling.temperature))
    if sampling.top_k:
        yield processors.TopKLogitsWarper(sampling.top_k)
    if sampling.top_p < 1.0:
        yield processors.TopPLogitsWarper(float(sampling.top_p))
