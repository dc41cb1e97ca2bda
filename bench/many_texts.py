"""Teacher forcing of many texts over the same encoder states: they are projected once, not once per text.

The numbers are those of :class:`llaso_data.asr.forced.Decoder` but for the last bits; ``bench/filters.py`` scores ten
wrong texts of every clip.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from llaso_data.asr.forced import BATCH, Decoder, Forced


class ManyTexts(Decoder):
    """A decoder whose :meth:`force` without attention shares the projections of rows that have the same states.

    Rows that are the same are run once. The projections of the last states are kept for the next call.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.__dict__.update(decoder.__dict__)
        self._last: tuple[torch.Tensor | None, list[tuple[torch.Tensor, torch.Tensor]]] = (None, [])

    def force(
        self,
        prompts: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        states: Sequence[torch.Tensor],
        heads: int = 0,
        named: bool = False,
    ) -> list[Forced]:
        if heads:
            return super().force(prompts, targets, states, heads, named)
        names = [(id(s), tuple(p), tuple(t)) for p, t, s in zip(prompts, targets, states, strict=True)]
        groups: dict[int, dict[tuple[Any, ...], int]] = defaultdict(dict)
        for i, name in enumerate(names):
            groups[name[0]].setdefault(name, i)
        found: dict[tuple[Any, ...], Forced] = {}
        with torch.inference_mode():
            for different in groups.values():
                rows = sorted(different.values(), key=lambda i: len(targets[i]))
                keys = self._projected(states[rows[0]])
                for first in range(0, len(rows), BATCH):
                    batch = rows[first : first + BATCH]
                    some = self._forced([prompts[i] for i in batch], [targets[i] for i in batch], keys)
                    found.update(zip([names[i] for i in batch], some, strict=True))
        return [found[name] for name in names]

    def _projected(self, state: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys (1, heads, width, frames) and values (1, heads, frames, width) of every layer."""
        if self._last[0] is state:
            return self._last[1]
        found = []
        for layer in self._decoder.layers:
            cross = layer.encoder_attn
            split = (-1, cross.num_heads, cross.head_dim)
            keys = cross.k_proj(state).view(split).permute(1, 2, 0)[None]
            found.append((keys, cross.v_proj(state).view(split).permute(1, 0, 2)[None]))
        self._last = state, found
        return found

    def _forced(
        self,
        prompts: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        memory: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> list[Forced]:
        rows = [[*p, *t[:-1]] for p, t in zip(prompts, targets, strict=True)]
        length = max(map(len, rows))
        tokens = torch.tensor([[*row, *[self.vocabulary.end] * (length - len(row))] for row in rows])
        causal = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)[None, None]
        hidden = self._decoder.embed_tokens(tokens) + self._decoder.embed_positions.weight[:length]
        for layer, (keys, values) in zip(self._decoder.layers, memory, strict=True):
            normed = layer.self_attn_layer_norm(hidden)
            hidden = hidden + layer.self_attn(hidden_states=normed, attention_mask=causal)[0]
            cross = layer.encoder_attn
            query = cross.q_proj(layer.encoder_attn_layer_norm(hidden)) * cross.scaling
            query = query.view(len(rows), length, cross.num_heads, cross.head_dim).transpose(1, 2)
            read = torch.softmax(query @ keys, dim=-1) @ values
            hidden = hidden + cross.out_proj(read.transpose(1, 2).reshape(len(rows), length, -1))
            hidden = hidden + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden))))
        hidden = self._decoder.layer_norm(hidden)
        forced = []
        for i, (prompt, target) in enumerate(zip(prompts, targets, strict=True)):
            span = slice(len(prompt) - 1, len(prompt) - 1 + len(target))
            logprobs = torch.log_softmax(self._project(hidden[i, span]).float(), dim=-1)
            wanted = logprobs.gather(1, torch.tensor(list(target))[:, None])[:, 0]
            forced.append(Forced(wanted.numpy(), logprobs[:, self.vocabulary.end].numpy(), None))
        return forced
