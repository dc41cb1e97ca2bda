"""Whisper's decoder over known tokens, read without padding: the tokens of all sequences lie in one line.

The linear layers, which cost most, see all sequences at once. Attention sees each sequence by itself, or on a GPU those
of a line together, padded under a mask. transformers offers neither cross-attention over keys and values that were
computed before nor its weights beside scaled dot-product attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.activations import GELUActivation

from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.linear import Linear

Maps = tuple[torch.Tensor, torch.Tensor]
"""Cross-attention (heads, tokens, frames), and the heads' numbers, counted through all layers (heads,)."""


@dataclass(frozen=True, slots=True)
class HeadChoice:
    """Which heads' cross-attention is given.

    Attributes:
        largest: So many heads of largest norm, of each sequence.
        named: Heads by layer; with any, these instead.
        without_states: Nothing but these heads is wanted, so reading ends with the last of them.
    """

    largest: int = 0
    named: dict[int, list[int]] | None = None
    without_states: bool = False


class FlatDecoder:
    """Reads tokens with the weights of a Whisper's decoder.

    Args:
        decoder: transformers' WhisperDecoder, in evaluation mode.
        dtype: Of the linear layers' inputs, outputs and weights; what lies between them has that of ``decoder``.
        packs: Whether weights are reordered for this machine.
    """

    def __init__(self, decoder: Any, dtype: torch.dtype, packs: bool) -> None:
        self._embed_tokens, self._positions = decoder.embed_tokens, decoder.embed_positions.weight
        self._norm = decoder.layer_norm
        self.layers = [_Layer(layer, dtype, packs) for layer in decoder.layers]

    def project(self, hidden_BSW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values of every layer's cross-attention (windows, layers, frames, width) to encoder states."""
        batch, frames, width = hidden_BSW.shape
        hidden_NW = hidden_BSW.reshape(-1, width)
        keys_BLSW = hidden_BSW.new_empty((batch, len(self.layers), frames, width))
        values_BLSW = torch.empty_like(keys_BLSW)
        for number, layer in enumerate(self.layers):
            keys_BLSW[:, number] = layer.key(hidden_NW).view(batch, frames, width)
            values_BLSW[:, number] = layer.value(hidden_NW).view(batch, frames, width)
        return keys_BLSW, values_BLSW

    def read(
        self,
        sequences: Sequence[Sequence[int]],
        states: Sequence[EncoderStates],
        spans: Sequence[slice],
        choice: HeadChoice,
        padded: bool,
    ) -> tuple[list[torch.Tensor], list[Maps]]:
        """Read sequences over encoder states.

        Args:
            sequences: Tokens from the start of text on.
            states: Of each sequence.
            spans: The tokens of each sequence that something is wanted of.
            choice: Which heads' attention is wanted.
            padded: Whether attention sees all sequences together.

        Returns:
            Of each sequence's span the states after all layers (tokens, width), which mean nothing where the choice is
            without them, and its maps, if any heads are chosen.
        """
        device, counts = self._positions.device, [len(tokens) for tokens in sequences]
        tokens_N = torch.tensor([token for tokens in sequences for token in tokens], device=device)
        positions_N = torch.cat([torch.arange(count, device=device) for count in counts])
        x_NW = self._embed_tokens(tokens_N) + self._positions[positions_N]
        batch = _Batch(counts, states, list(spans), padded)
        maps: list[Maps | None] = [None] * len(sequences)
        last = max(choice.named) if choice.named and choice.without_states else len(self.layers) - 1
        for number, layer in enumerate(self.layers[: last + 1]):
            chosen = list(range(layer.heads)) if choice.largest else (choice.named or {}).get(number, [])
            x_NW, weights = layer(x_NW, number, batch, chosen, choice.without_states and number == last)
            ids = torch.tensor([number * layer.heads + head for head in chosen], device=device)
            for i, weights_HTS in enumerate(weights):
                maps[i] = _joined(maps[i], (weights_HTS.float(), ids), choice.largest)
        hidden = [x_TW[span] for x_TW, span in zip(x_NW.split(counts), spans, strict=True)]
        return list(self._norm(torch.cat(hidden)).split([len(x) for x in hidden])), [m for m in maps if m is not None]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Sequences in a line."""

    counts: list[int]  # tokens of each
    states: Sequence[EncoderStates]
    spans: list[slice]
    padded: bool

    def groups(self) -> list[slice]:
        """Sequences whose attention is computed together."""
        return [slice(0, len(self.counts))] if self.padded else [slice(i, i + 1) for i in range(len(self.counts))]


class _Layer:
    """A decoder layer on tokens in a line."""

    def __init__(self, layer: Any, dtype: torch.dtype, packs: bool) -> None:
        def linear(*layers: nn.Linear) -> Linear:
            return Linear(*layers, packs=packs, dtype=dtype)

        own, cross = layer.self_attn, layer.encoder_attn
        self.heads = cross.num_heads
        self._norms = layer.self_attn_layer_norm, layer.encoder_attn_layer_norm, layer.final_layer_norm
        self._qkv, self._out = linear(own.q_proj, own.k_proj, own.v_proj), linear(own.out_proj)
        self._query, self._cross_out = linear(cross.q_proj), linear(cross.out_proj)
        self.key, self.value = linear(cross.k_proj), linear(cross.v_proj)
        self._fc1, self._fc2 = linear(layer.fc1), linear(layer.fc2)
        self._activation = layer.activation_fn
        self._is_gelu = isinstance(layer.activation_fn, GELUActivation | nn.GELU)

    def __call__(
        self, x_NW: torch.Tensor, number: int, batch: _Batch, chosen: list[int], weights_only: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The states after the layer, and of each sequence's span the cross-attention of the chosen heads."""
        x_NW = x_NW + self._out(self._own_attention(self._qkv(self._norms[0](x_NW)).to(x_NW), batch))
        query_NW = self._query(self._norms[1](x_NW)).to(x_NW)
        context_NW, weights = self._cross_attention(query_NW, number, batch, chosen, weights_only)
        if weights_only:
            return x_NW, weights
        x_NW = x_NW + self._cross_out(context_NW)
        inner = self._norms[2](x_NW)
        inner = self._fc1(inner, "gelu") if self._is_gelu else self._activation(self._fc1(inner))
        return x_NW + self._fc2(inner), weights

    def _own_attention(self, qkv_NW: torch.Tensor, batch: _Batch) -> torch.Tensor:
        """Attention of each token to those before it and to itself (tokens, width)."""
        parts, out = qkv_NW.split(batch.counts), []
        for group in batch.groups():
            query, key, value = _padded(parts[group]).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            attended = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            out += _in_line(attended, batch.counts[group])  # padding follows the tokens, which see nothing of it
        return torch.cat(out)

    def _cross_attention(
        self, query_NW: torch.Tensor, number: int, batch: _Batch, chosen: list[int], weights_only: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Attention of each token to the frames of its sequence (tokens, width), and the chosen heads' weights."""
        queries, out, weights = query_NW.split(batch.counts), [], []
        for group in batch.groups():
            states, counts = batch.states[group], batch.counts[group]
            both = [self._key_value_of(state, number, query_NW) for state in states]
            query, key, value = (
                _padded(parts).unflatten(2, (self.heads, -1)).transpose(1, 2)
                for parts in (queries[group], [key for key, _ in both], [value for _, value in both])
            )
            mask = _beyond([state.frames for state in states], query)
            if chosen:
                scores = (query[:, chosen] * query.shape[3] ** -0.5) @ key[:, chosen].transpose(2, 3)
                weights_BHTS = torch.softmax(scores if mask is None else scores + mask, dim=-1)
                weights += [
                    one[:, span, : state.frames]
                    for one, span, state in zip(weights_BHTS, batch.spans[group], states, strict=True)
                ]
            if weights_only:
                continue
            if len(chosen) == self.heads:
                attended = weights_BHTS @ value
            else:
                attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            out += _in_line(attended, counts)
        return torch.cat(out) if out else query_NW, weights

    def _key_value_of(self, state: EncoderStates, number: int, like: torch.Tensor) -> Sequence[torch.Tensor]:
        """Keys and values of a sequence's frames (frames, width)."""
        if state.keys_LSW is not None and state.values_LSW is not None:
            return state.keys_LSW[number], state.values_LSW[number]
        hidden_SW = state.hidden_SW.to(like)
        return self.key(hidden_SW).to(like), self.value(hidden_SW).to(like)


def _padded(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Matrices of as many columns, one on the other, with zeros below the shorter ones."""
    return parts[0][None] if len(parts) == 1 else nn.utils.rnn.pad_sequence(list(parts), batch_first=True)


def _in_line(x_BHTD: torch.Tensor, counts: Sequence[int]) -> list[torch.Tensor]:
    """The rows of each sequence without padding, its heads side by side (tokens, width)."""
    return [x_TW[:count] for x_TW, count in zip(x_BHTD.transpose(1, 2).flatten(2), counts, strict=True)]


def _beyond(frames: Sequence[int], like: torch.Tensor) -> torch.Tensor | None:
    """What is added to scores so that nobody attends to frames beyond a sequence's own (B, 1, 1, S)."""
    if min(frames) == max(frames):
        return None
    counts_B1 = torch.tensor(frames, device=like.device)[:, None]
    outside_BS = torch.arange(max(frames), device=like.device) >= counts_B1
    mask_BS = torch.zeros(outside_BS.shape, dtype=like.dtype, device=like.device)
    return mask_BS.masked_fill(outside_BS, torch.finfo(like.dtype).min)[:, None, None]


def _joined(before: Maps | None, added: Maps, largest: int) -> Maps:
    """Maps of earlier layers and of one more; with ``largest`` those of largest norm only, largest first.

    All heads of a large model would not fit in memory.
    """
    maps, ids = added if before is None else (torch.cat(parts) for parts in zip(before, added, strict=True))
    if not largest:
        return maps, ids
    norms = torch.linalg.vector_norm(maps, dim=(1, 2))
    chosen = torch.topk(norms, min(largest, len(norms))).indices
    return maps[chosen], ids[chosen]
