"""Greedy decoding of many windows at once, with the decoder and the keys and values that teacher forcing has.

A step gives what teacher forcing of the same tokens would give: their log-probabilities, and where in its window each
is heard. So no window is read a second time. In a step the linear layers see all windows at once; cross-attention,
which costs most, sees one by one, in products that are fast for a single query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.engine import MAX_NEW_TOKENS, DecodingResult
from llaso_data.whisper.flat_decoder import FlatDecoder, Layer
from llaso_data.whisper.token_logprobs import TokenLogprobs
from llaso_data.whisper.tokenizer import WhisperTokenizer

_GROWTH = 64  # positions that the keys and values of the texts grow by
_LOOP_TOKENS, _LOOP_PERIOD = 48, 8  # a text whose last 48 tokens repeat up to 8 of them would do so to its limit


@dataclass(frozen=True, slots=True)
class Decoded:
    """What greedy decoding gives for one window.

    Attributes:
        result: Its text tokens.
        logprobs: Log-probability of each of them and of end of text after them, (tokens + 1,).
        end_logprobs: Log-probability of end of text in place of each, likewise.
        looped: Whether it was ended because it repeated itself.
        masses_TK: The share (0-1) of the cross-attention of each of them, end of text included, that lies in each of
            the window's places, (tokens + 1, places), in the mean over the heads of largest norm. None where no places
            were named.
    """

    result: DecodingResult
    logprobs: NDArray[np.float32]
    end_logprobs: NDArray[np.float32]
    looped: bool
    masses_TK: NDArray[np.float32] | None


class GreedyDecoder:
    """Decodes windows freely on a CPU.

    Args:
        decoder: Reads tokens.
        logprobs: The output layer.
        vocabulary: The checkpoint's tokenizer.
        config: The checkpoint's generation config, which names the tokens that are never chosen.
    """

    def __init__(
        self, decoder: FlatDecoder, logprobs: TokenLogprobs, vocabulary: WhisperTokenizer, config: Any
    ) -> None:
        self._decoder, self._logprobs = decoder, logprobs
        self._end, self._no_speech = vocabulary.end, vocabulary.no_speech
        never = set(vocabulary.never_chosen(config, logprobs.words))
        first = never | set(getattr(config, "begin_suppress_tokens", None) or ())
        self._never, self._not_first = (torch.tensor(sorted(ids), dtype=torch.long) for ids in (never, first))

    def __call__(
        self,
        states: Sequence[EncoderStates],
        prompts: Sequence[Sequence[int]],
        places: Sequence[Sequence[slice] | None],
        heads: int,
    ) -> list[Decoded]:
        """Decode windows.

        Args:
            states: Encoder states of each window, with keys and values.
            prompts: The tokens before each text, all of one length.
            places: The frames of each place in a window that attention is measured in; None for a window without.
            heads: How many heads measure it, those of largest norm.
        """
        with torch.inference_mode():
            texts = [_Text(_Heard(named) if named else None) for named in places]
            batch = _Batch(list(states), list(texts), self._decoder.layers)
            hidden_RPW = self._read(torch.tensor([list(prompt) for prompt in prompts]), batch)
            no_speech_probs = self._no_speech_probs(hidden_RPW[:, 0])
            hidden_RW = hidden_RPW[:, -1]
            for step in range(MAX_NEW_TOKENS + 1):
                chosen = self._choose(hidden_RW, self._never if step else self._not_first)
                for text, token, logprob, end_logprob in zip(batch.texts, *chosen, strict=True):
                    ends = step == MAX_NEW_TOKENS or text.loops()
                    text.add(*((self._end, end_logprob) if ends else (token, logprob)), end_logprob)
                going = [row for row, text in enumerate(batch.texts) if text.tokens[-1] != self._end]
                if not going:
                    break
                batch.keep(going)
                hidden_RW = self._read(torch.tensor([[text.tokens[-1]] for text in batch.texts]), batch)[:, 0]
            return [text.decoded(prob, heads) for text, prob in zip(texts, no_speech_probs, strict=True)]

    def _read(self, tokens_RP: torch.Tensor, batch: _Batch) -> torch.Tensor:
        """The states after all layers of the next tokens of each text (texts, tokens, width)."""
        rows, count = tokens_RP.shape
        positions = torch.arange(batch.length, batch.length + count).repeat(rows)
        x_NW = self._decoder.embed(tokens_RP.flatten(), positions)
        batch.advance(count)
        for number, layer in enumerate(self._decoder.layers):
            qkv_NW = layer.qkv(layer.norms[0](x_NW)).to(x_NW)
            x_NW = x_NW + layer.out(batch.own_attention(qkv_NW, number))
            x_NW = x_NW + layer.cross_out(batch.cross_attention(layer.query(layer.norms[1](x_NW)), number))
            x_NW = x_NW + layer.feed_forward(x_NW)
        batch.heard()
        hidden_RPW: torch.Tensor = self._decoder.norm(x_NW).view(rows, count, -1)
        return hidden_RPW

    def _choose(self, hidden_RW: torch.Tensor, forbidden: torch.Tensor) -> tuple[list[int], list[float], list[float]]:
        """The next token of each text, its log-probability, and that of end of text in its place."""
        logits_RV = self._logprobs.rough_logits(hidden_RW)
        log_sums_R = logits_RV.logsumexp(dim=1)
        logits_RV.index_fill_(1, forbidden, -torch.inf)
        exact, ids, log_sums_R = self._logprobs.corrected(hidden_RW, logits_RV, log_sums_R)
        end_R = self._logprobs.logits(hidden_RW, torch.full((len(ids), 1), self._end))[:, 0] - log_sums_R
        best, place = exact.max(dim=1)
        return ids.gather(1, place[:, None])[:, 0].tolist(), (best - log_sums_R).tolist(), end_R.tolist()

    def _no_speech_probs(self, hidden_RW: torch.Tensor) -> list[float]:
        """The probability that nobody speaks, after the first token of each text."""
        if self._no_speech is None:
            return [0.0] * len(hidden_RW)
        ids_R1 = torch.full((len(hidden_RW), 1), self._no_speech)
        probs: list[float] = self._logprobs(hidden_RW, ids_R1)[:, 0].exp().tolist()
        return probs


class _Heard:
    """Where the tokens of a text are heard, by every head: what a mean over the best heads needs of all maps."""

    def __init__(self, places: Sequence[slice]) -> None:
        self._places = places
        self._inside_SK: torch.Tensor | None = None
        self._squares_A: torch.Tensor | float = 0.0  # of each head's weights, summed
        self._masses: list[torch.Tensor] = []  # of each token (heads, places)

    def add(self, weights_AS: torch.Tensor) -> None:
        """A token's attention: of all heads of all layers (heads, frames)."""
        if self._inside_SK is None:
            self._inside_SK = weights_AS.new_zeros((weights_AS.shape[1], len(self._places)))
            for place, frames in enumerate(self._places):
                self._inside_SK[frames, place] = 1.0
        self._squares_A = self._squares_A + weights_AS.square().sum(dim=1)
        self._masses.append(weights_AS @ self._inside_SK)

    def mean(self, heads: int) -> NDArray[np.float32]:
        """The mean over so many heads of largest norm (tokens, places)."""
        assert isinstance(self._squares_A, torch.Tensor)
        chosen = torch.topk(self._squares_A, min(heads, len(self._squares_A))).indices
        masses: NDArray[np.float32] = torch.stack([mass_AK[chosen].mean(dim=0) for mass_AK in self._masses]).numpy()
        return masses


@dataclass(slots=True)
class _Text:
    """A text as it grows; its last token is end of text once it has ended."""

    heard: _Heard | None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    end_logprobs: list[float] = field(default_factory=list)

    def add(self, token: int, logprob: float, end_logprob: float) -> None:
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.end_logprobs.append(end_logprob)

    def loops(self) -> bool:
        last = self.tokens[-_LOOP_TOKENS:]
        periods = range(1, _LOOP_PERIOD + 1) if len(last) == _LOOP_TOKENS else ()
        return any(last[period:] == last[:-period] for period in periods)

    def decoded(self, no_speech_prob: float, heads: int) -> Decoded:
        self.tokens.pop()
        return Decoded(
            DecodingResult(tuple(self.tokens), no_speech_prob),
            np.array(self.logprobs, np.float32),
            np.array(self.end_logprobs, np.float32),
            self.loops(),
            self.heard.mean(heads) if self.heard else None,
        )


class _Batch:
    """Texts that grow together, all as long as each other, with the keys and values of what was read of them."""

    def __init__(self, states: list[EncoderStates], texts: list[_Text], layers: Sequence[Layer]) -> None:
        self.states, self.texts, self.length = states, texts, 0
        self._heads = layers[0].heads
        self._own: list[tuple[torch.Tensor, torch.Tensor]] | None = None  # by layer, (texts, heads, positions, width)
        self._layers = len(layers)
        self._weights: list[list[torch.Tensor]] = [[] for _ in texts]  # of the last token, by layer (heads, frames)
        self._count = 0  # of the tokens of each text that are read now

    def advance(self, count: int) -> None:
        """So many more tokens of each text are read now."""
        self._count, self.length = count, self.length + count

    def keep(self, rows: list[int]) -> None:
        """Leave only the texts of these numbers."""
        if len(rows) == len(self.texts):
            return
        self.states, self.texts = [self.states[row] for row in rows], [self.texts[row] for row in rows]
        self._weights = [[] for _ in rows]
        self._own = [(keys[rows], values[rows]) for keys, values in self._own or ()]

    def own_attention(self, qkv_NW: torch.Tensor, number: int) -> torch.Tensor:
        """Attention of the new tokens to those before them and to themselves (texts * tokens, width)."""
        query, key, value = qkv_NW.view(len(self.texts), self._count, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        keys, values = self._room(number, key)
        new = slice(self.length - self._count, self.length)
        keys[:, :, new], values[:, :, new] = key, value
        scores = (query * query.shape[3] ** -0.5) @ keys[:, :, : self.length].transpose(2, 3)
        if self._count > 1:
            later = torch.ones((self._count, self.length), dtype=torch.bool).triu(self.length - self._count + 1)
            scores = scores.masked_fill(later, -torch.inf)
        context = torch.softmax(scores, dim=-1) @ values[:, :, : self.length]
        return context.transpose(1, 2).flatten(2).flatten(0, 1)

    def _room(self, number: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values, with room for the new tokens."""
        if self._own is None:
            self._own = [(like[:, :, :0], like[:, :, :0])] * self._layers
        keys, values = self._own[number]
        if keys.shape[2] < self.length:
            more = like.new_zeros((*like.shape[:2], _GROWTH, like.shape[3]))
            keys, values = torch.cat([keys, more], dim=2), torch.cat([values, more], dim=2)
            self._own[number] = keys, values
        return keys, values

    def cross_attention(self, query_NW: torch.Tensor, number: int) -> torch.Tensor:
        """Attention of the new tokens to the frames of their windows (texts * tokens, width)."""
        query_RHPD = query_NW.view(len(self.texts), self._count, self._heads, -1).transpose(1, 2)
        query_RHPD = query_RHPD * query_RHPD.shape[3] ** -0.5
        contexts = []
        for row, (state, query_HPD) in enumerate(zip(self.states, query_RHPD, strict=True)):
            ready = state.key_and_value(number)
            assert ready is not None
            key_HSD, value_HSD = ready
            scores_HPS = torch.bmm(query_HPD.to(key_HSD), key_HSD.transpose(1, 2))
            weights_HPS = torch.softmax(scores_HPS, dim=-1, dtype=torch.float32)
            if self.texts[row].heard is not None:
                self._weights[row].append(weights_HPS[:, -1])
            contexts.append(torch.bmm(weights_HPS.to(value_HSD), value_HSD))
        return torch.stack(contexts).transpose(1, 2).flatten(2).flatten(0, 1)

    def heard(self) -> None:
        """Tell the texts where their last token was heard."""
        for text, weights in zip(self.texts, self._weights, strict=True):
            if text.heard is not None:
                text.heard.add(torch.cat(weights))
                weights.clear()
