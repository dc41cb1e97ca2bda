"""A language model of plain layers, read without padding: tokens of all prompts, or of all rows, lie in one line.

Layers are plain where they are those of Llama: root mean square norms, rotary positions, attention to everything
before, and a gated MLP. Of such a model the linear layers, which cost most, see all tokens at once, and attention sees
each prompt by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from llaso_data.whisper.linear import Linear, is_plain
from llaso_model.engine.backends.row_store import RowStore, StepRows

_PLAIN = {("llama", "LlamaDecoderLayer"), ("qwen2", "Qwen2DecoderLayer"), ("qwen3", "Qwen3DecoderLayer")}
_ROPES = {"default", "linear", "llama3", "yarn"}  # those whose frequencies do not depend on the length
_PROBE = 8  # tokens that both ways read, to see that they agree
_NEAR = {torch.float32: 1e-3, torch.bfloat16: 5e-2}  # of the largest logit

BeforeLayer = Callable[[int, torch.Tensor], torch.Tensor]
"""What a fusion does before a layer: (number of the layer, states (N, W)) to states."""
Watch = Callable[[int, int, torch.Tensor, torch.Tensor], None]
"""(number of the layer, of the token among those whose logits are wanted, its query (heads, size), its row's keys
(key heads, columns, size))."""
Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Attention: (number of the layer, query, key, value (N, heads, size)) to (N, W)."""


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens of a row that follow each other.

    Attributes:
        store: That has the row.
        row: Its place there.
        first: The column of the first token, which is also its position.
        count: How many tokens.
        wanted: Of how many of the last of them the logits of the next token are wanted.
    """

    store: RowStore
    row: int
    first: int
    count: int
    wanted: int

    @property
    def end(self) -> int:
        """The column after the last token."""
        return self.first + self.count


class FlatText:
    """Reads embeddings of tokens with the weights of a language model.

    Args:
        language_model: One that :func:`is_plain_text_model` accepts.
        packs: Whether its weights are reordered for this machine.
    """

    def __init__(self, language_model: Any, packs: bool) -> None:
        decoder = language_model.get_decoder()
        config = language_model.config
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.size = decoder.layers[0].self_attn.head_dim
        self.dtype = language_model.get_output_embeddings().weight.dtype
        self.layers = [_Layer(layer, self.heads, self.key_heads, self.size, packs) for layer in decoder.layers]
        self._norm = decoder.norm
        self._rotary = decoder.rotary_emb
        self._head = Linear(language_model.get_output_embeddings(), packs=packs)

    def store(self, device: torch.device) -> RowStore:
        """An empty store of rows."""
        return RowStore(len(self.layers), self.key_heads, self.size, self.dtype, device)

    def read(
        self,
        embeds_NW: torch.Tensor,
        spans: Sequence[Span],
        steps: Sequence[tuple[RowStore, StepRows]] = (),
        before_layer: BeforeLayer | None = None,
        watch: Watch | None = None,
    ) -> torch.Tensor:
        """Reads tokens, and stores their keys and values.

        Args:
            embeds_NW: Embeddings of the tokens: those of the spans one after the other, then those of the steps.
            spans: Tokens of one row each.
            steps: Stores, and the rows of each that get one token.
            before_layer: What the fusion does; None: nothing.
            watch: Sees the attention of each token that another one is chosen after; None: nobody does.

        Returns:
            Logits of the token after each of those: the last ``wanted`` of each span, then all of the steps
            (tokens, vocabulary).
        """
        device = embeds_NW.device
        counts = [span.count for span in spans] + [len(rows.at) for _, rows in steps]
        starts = [torch.arange(span.first, span.end, device=device) for span in spans]
        positions = torch.cat([*starts, *(rows.at for _, rows in steps)])
        wanted = [(end - span.wanted, end) for span, end in zip(spans, accumulate(counts), strict=False)]
        single = torch.arange(sum(counts[: len(spans)]), len(embeds_NW), device=device)
        kept = torch.cat([*(torch.arange(*one, device=device) for one in wanted), single])

        def attend(number: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            parts = list(zip(query.split(counts), key.split(counts), value.split(counts), strict=True))
            is_last, outs, seen = number == len(self.layers) - 1, [], 0
            for span, (q, k, v) in zip(spans, parts, strict=False):
                keys, values = span.store.keys[number, span.row], span.store.values[number, span.row]
                keys, values = keys[:, : span.end], values[:, : span.end]
                keys[:, span.first :], values[:, span.first :] = k.transpose(0, 1), v.transpose(0, 1)
                if watch is not None:
                    for place, one in enumerate(q[-span.wanted :]):
                        watch(number, seen + place, one, keys)
                outs.append(self._attend(q[-span.wanted :] if is_last else q, keys, values))
                seen += span.wanted
            for (store, rows), (q, k, v) in zip(steps, parts[len(spans) :], strict=True):
                keys, values = store.keys[number], store.values[number]
                keys[rows.row_numbers, :, rows.at], values[rows.row_numbers, :, rows.at] = k, v
                keys, values = keys[rows.rows, :, : rows.columns], values[rows.rows, :, : rows.columns]
                if watch is not None:
                    for place, one in enumerate(q):
                        watch(number, seen + place, one, keys[place])
                grouped = q.reshape(len(q), self.key_heads, -1, self.size)  # heads that share a key are its queries
                attended = nn.functional.scaled_dot_product_attention(grouped, keys, values, attn_mask=rows.mask)
                outs.append(attended.reshape(len(q), -1))
                seen += len(q)
            return outs[0] if len(outs) == 1 else torch.cat(outs)

        turn = self._turn(positions, embeds_NW)
        last = None if len(kept) == len(embeds_NW) else kept
        return self._head(self._norm(self._states(embeds_NW, turn, attend, before_layer, last)))

    def _attend(self, q_THS: torch.Tensor, keys_KCS: torch.Tensor, values_KCS: torch.Tensor) -> torch.Tensor:
        """Attention of a prompt's last T tokens to all of its C tokens before and including themselves (T, W)."""
        count, columns = len(q_THS), keys_KCS.shape[1]
        query = q_THS.view(count, self.key_heads, -1, self.size).permute(1, 2, 0, 3)
        shared = (self.key_heads, query.shape[1], columns, self.size)  # heads that share a key
        mask = None
        if 1 < count < columns:
            unseen = torch.ones(count, columns, dtype=torch.bool, device=q_THS.device).triu(columns - count + 1)
            mask = torch.zeros(count, columns, dtype=q_THS.dtype, device=q_THS.device)
            mask = mask.masked_fill(unseen, float("-inf"))
        out = nn.functional.scaled_dot_product_attention(
            query,
            keys_KCS[:, None].expand(shared),
            values_KCS[:, None].expand(shared),
            attn_mask=mask,
            is_causal=count == columns and count > 1,
        )
        return out.permute(2, 0, 1, 3).reshape(count, -1)

    def _turn(self, positions: torch.Tensor, embeds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of positions (N, 1, size), the sines of the first half negated."""
        cos, sin = self._rotary(embeds[None], positions[None])
        sin = sin[0, :, None].clone()
        sin[..., : self.size // 2].neg_()
        return cos[0, :, None], sin

    def _states(
        self,
        x_NW: torch.Tensor,
        turn: tuple[torch.Tensor, torch.Tensor],
        attend: Attend,
        before_layer: BeforeLayer | None,
        last: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The states after all layers; with ``last``, of these tokens only, whose the last layer attends."""
        for number, layer in enumerate(self.layers):
            if before_layer is not None:
                x_NW = before_layer(number, x_NW)
            x_NW = layer(x_NW, turn, number, attend, last if number == len(self.layers) - 1 else None)
        return x_NW


class _Layer:
    """A decoder layer on tokens in a line."""

    def __init__(self, layer: Any, heads: int, key_heads: int, size: int, packs: bool) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._heads, self._key_heads, self._size = heads, key_heads, size
        self._in = _norm_of(layer.input_layernorm)
        self._after = _norm_of(layer.post_attention_layernorm)
        self._head_norms = [_norm_of(one) for name in ("q_norm", "k_norm") if (one := getattr(attention, name, None))]
        self._qkv = Linear(attention.q_proj, attention.k_proj, attention.v_proj, packs=packs)
        self._out = Linear(attention.o_proj, packs=packs)
        self._gate_up = Linear(mlp.gate_proj, mlp.up_proj, packs=packs)
        self._down = Linear(mlp.down_proj, packs=packs)
        self._act = mlp.act_fn

    def __call__(
        self,
        x_NW: torch.Tensor,
        turn: tuple[torch.Tensor, torch.Tensor],
        number: int,
        attend: Attend,
        kept: torch.Tensor | None,
    ) -> torch.Tensor:
        """The states of all tokens, or of those of them that are kept, which ``attend`` returns alone."""
        projected = self._qkv(self._in(x_NW)).view(len(x_NW), -1, self._size)
        query_key, value = projected[:, : -self._key_heads], projected[:, -self._key_heads :]
        if self._head_norms:
            halves = query_key.split([self._heads, self._key_heads], dim=1)
            query_key = torch.cat([norm(half) for norm, half in zip(self._head_norms, halves, strict=True)], dim=1)
        query_key = _turned(query_key, *turn)
        query, key = query_key[:, : self._heads], query_key[:, self._heads :]
        x_NW = (x_NW if kept is None else x_NW[kept]) + self._out(attend(number, query, key, value))
        gate, up = self._gate_up(self._after(x_NW)).chunk(2, dim=-1)
        return x_NW + self._down(self._act(gate) * up)


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al. 2021), the two halves of each head being the parts of complex numbers."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


def _norm_of(norm: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    weight, eps = norm.weight.detach(), norm.variance_epsilon
    return lambda x: nn.functional.rms_norm(x, weight.shape, weight, eps)


def is_plain_text_model(language_model: Any) -> bool:
    """Whether :class:`FlatText` computes what a language model computes.

    Its layers are known ones, which attend to all that came before, without adapters or hooks; and on a few tokens both
    give the same logits.
    """
    layers = getattr(language_model.get_decoder(), "layers", ())
    rope = (getattr(language_model.config, "rope_parameters", None) or {}).get("rope_type")
    return (
        bool(layers)
        and all(_is_plain_layer(layer) for layer in layers)
        and all(type(one) is DynamicLayer for one in DynamicCache(config=language_model.config).layers)
        and rope in _ROPES
        and is_plain(language_model.get_output_embeddings())
        and _agrees(language_model)
    )


def _is_plain_layer(layer: Any) -> bool:
    family = type(layer).__module__.split(".")[-2]
    hooks = [*layer._forward_pre_hooks.values(), *layer._forward_hooks.values()]
    return (
        (family, type(layer).__name__) in _PLAIN
        and all(type(hook).__module__.startswith("llaso_model.fusion.") for hook in hooks)
        and all(is_plain(one) for one in layer.modules() if hasattr(one, "in_features"))
    )


@torch.no_grad()
def _agrees(language_model: Any) -> bool:
    flat = FlatText(language_model, packs=False)
    weight = language_model.get_input_embeddings().weight
    tokens = torch.arange(1, 1 + _PROBE, device=weight.device) * 7 % len(weight)
    embeds = language_model.get_input_embeddings()(tokens)
    store = flat.store(weight.device)
    (row,) = store.add({0: _PROBE})
    found = flat.read(embeds, [Span(store, row, 0, _PROBE, 1)])
    wanted = language_model(inputs_embeds=embeds[None], use_cache=False, logits_to_keep=1).logits[:, -1]
    return bool((found - wanted).abs().max() <= _NEAR[weight.dtype] * wanted.abs().max())
