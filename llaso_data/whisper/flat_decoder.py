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
        self.dtype = dtype
        self._embed_tokens, self._positions = decoder.embed_tokens, decoder.embed_positions.weight
        self.norm = decoder.layer_norm
        self.layers = [Layer(layer, dtype, packs) for layer in decoder.layers]

    def embed(self, tokens_N: torch.Tensor, positions_N: torch.Tensor) -> torch.Tensor:
        """What goes into the first layer for tokens at these positions (N, width)."""
        embedded: torch.Tensor = self._embed_tokens(tokens_N) + self._positions[positions_N]
        return embedded

    def project(self, hidden_BSW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values of every layer's cross-attention to encoder states, in what they are computed in.

        Args:
            hidden_BSW: Encoder states (windows, frames, width).

        Returns:
            Keys and values, (windows, layers, heads, frames, width of a head) each.
        """
        batch, frames, width = hidden_BSW.shape
        heads = self.layers[0].heads
        hidden_NW = hidden_BSW.reshape(-1, width)
        shape = (batch, len(self.layers), heads, frames, width // heads)
        keys_BLHSD = torch.empty(shape, dtype=self.dtype, device=hidden_BSW.device)
        values_BLHSD = torch.empty_like(keys_BLHSD)
        for number, layer in enumerate(self.layers):
            for projection, out in ((layer.key, keys_BLHSD), (layer.value, values_BLHSD)):
                out[:, number] = projection(hidden_NW).view(batch, frames, heads, -1).transpose(1, 2)
        return keys_BLHSD, values_BLHSD

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
        x_NW = self.embed(tokens_N, positions_N)
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
        return list(self.norm(torch.cat(hidden)).split([len(x) for x in hidden])), [m for m in maps if m is not None]


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


class Layer:
    """A decoder layer on tokens in a line."""

    def __init__(self, layer: Any, dtype: torch.dtype, packs: bool) -> None:
        def linear(*layers: nn.Linear) -> Linear:
            return Linear(*layers, packs=packs, dtype=dtype)

        own, cross = layer.self_attn, layer.encoder_attn
        self.heads = cross.num_heads
        self.norms = layer.self_attn_layer_norm, layer.encoder_attn_layer_norm, layer.final_layer_norm
        self.qkv, self.out = linear(own.q_proj, own.k_proj, own.v_proj), linear(own.out_proj)
        self.query, self.cross_out = linear(cross.q_proj), linear(cross.out_proj)
        self.key, self.value = linear(cross.k_proj), linear(cross.v_proj)
        self._fc1, self._fc2 = linear(layer.fc1), linear(layer.fc2)
        self._activation = layer.activation_fn
        self._is_gelu = isinstance(layer.activation_fn, GELUActivation | nn.GELU)

    def __call__(
        self, x_NW: torch.Tensor, number: int, batch: _Batch, chosen: list[int], weights_only: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The states after the layer, and of each sequence's span the cross-attention of the chosen heads."""
        x_NW = x_NW + self.out(self._own_attention(self.qkv(self.norms[0](x_NW)).to(x_NW), batch))
        query_NW = self.query(self.norms[1](x_NW)).to(x_NW)
        context_NW, weights = self._cross_attention(query_NW, number, batch, chosen, weights_only)
        if weights_only:
            return x_NW, weights
        x_NW = x_NW + self.cross_out(context_NW)
        return x_NW + self.feed_forward(x_NW), weights

    def feed_forward(self, x_NW: torch.Tensor) -> torch.Tensor:
        """What the layer's last part adds to its input (N, width)."""
        inner = self.norms[2](x_NW)
        return self._fc2(self._fc1(inner, "gelu") if self._is_gelu else self._activation(self._fc1(inner)))

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
            query = _padded(queries[group]).unflatten(2, (self.heads, -1)).transpose(1, 2)
            key, value = (
                _padded([one.transpose(0, 1) for one in parts]).transpose(1, 2) for parts in zip(*both, strict=True)
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
        """Keys and values of a sequence's frames (heads, frames, width of a head)."""
        ready = state.key_and_value(number)
        if ready is not None:
            return [one.to(like) for one in ready]
        hidden_SW = state.hidden.to(like)
        return [
            projection(hidden_SW).to(like).unflatten(1, (self.heads, -1)).transpose(0, 1)
            for projection in (self.key, self.value)
        ]


def _padded(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Tensors that differ in their first length alone, in a batch, with zeros below the shorter ones."""
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
