"""Gated cross-attention between text and speech, in some of the language model's layers.

Before such a layer the speech attends to the instruction, then the text to the speech. Each adds what it finds times
the tanh of a gate that begins at 0: at first the language model says exactly what it said without (as in Flamingo,
Alayrac et al. 2022, which has one direction). Speech hears the instruction only, that is what stands before the first
token to be learnt: so no answer can leak into earlier places. In generation the prompt is the instruction, and what the
speech has become is kept for the tokens that follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from llaso_model.configuration import LLaSOConfig
from llaso_model.modeling.encoder import valid
from llaso_model.modeling.fusion import Splice


@dataclass(slots=True)
class Heard:
    """The speech of one forward, or of all forwards of one ``generate``.

    ``speech`` (B, S, W) with ``mask`` (B, S); ``instruction`` (B, T) is true where text is heard by speech, None once
    the prompt is read. ``layers`` has the speech as each bridge left it.
    """

    speech: torch.Tensor
    mask: torch.Tensor
    instruction: torch.Tensor | None
    layers: dict[int, torch.Tensor] = field(default_factory=dict)


class CrossAttention(Splice):
    """The projector of :class:`Splice`, and a bridge for every ``cross_attention_every``-th layer."""

    def __init__(self, config: LLaSOConfig) -> None:
        super().__init__(config)
        every, count = config.cross_attention_every, config.text_config.num_hidden_layers
        self.layers = [number for number in range(count) if (number + 1) % every == 0] or [count - 1]
        heads = config.text_config.num_attention_heads
        self.bridges = nn.ModuleList(_Bridge(config.hidden_size, heads) for _ in self.layers)
        self.heard: Heard | None = None

    def attach(self, language_model: Any) -> None:
        """Has the bridges work before their layers of the language model."""
        decoder_layers = language_model.get_decoder().layers
        for order, number in enumerate(self.layers):
            decoder_layers[number].register_forward_pre_hook(_Before(self, order), with_kwargs=True)

    @contextmanager
    def hearing(self, heard: Heard | None) -> Iterator[None]:
        """The language model hears this speech while the context lasts."""
        before, self.heard = self.heard, heard
        try:
            yield
        finally:
            self.heard = before

    def rows(self, speech: torch.Tensor, counts: torch.Tensor, audio_rows: torch.Tensor, batch: int) -> Any:
        """Speech one after the other (N, W), so many of each window (A,), as (batch, S, W) and its mask (batch, S)."""
        of = torch.repeat_interleave(audio_rows, counts)
        sizes = torch.bincount(of, minlength=batch)
        order = torch.argsort(of, stable=True)
        place = torch.arange(len(of), device=of.device) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
        padded = speech.new_zeros(batch, max(1, int(sizes.max()) if len(of) else 1), speech.shape[1])
        padded = padded.index_put((of[order], place), speech[order])
        return padded, valid(sizes, padded.shape[1])

    def bridged(self, order: int, text_BTW: torch.Tensor) -> torch.Tensor:
        """The text as it enters the bridge's layer."""
        heard = self.heard
        if heard is None:
            return text_BTW
        bridge = self.bridges[order]
        assert isinstance(bridge, _Bridge)
        if heard.instruction is not None:
            speech = heard.layers[order - 1] if order else heard.speech
            heard.layers[order] = bridge.listen(speech, text_BTW, heard.instruction)
        found: torch.Tensor = bridge.speak(text_BTW, heard.layers[order], heard.mask)
        return found


class _Before:
    """A hook before a layer; it holds the fusion without making it a part of the layer."""

    def __init__(self, fusion: CrossAttention, order: int) -> None:
        self._fusion, self._order = fusion, order

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (self._fusion.bridged(self._order, args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": self._fusion.bridged(self._order, kwargs["hidden_states"])}


class _Bridge(nn.Module):
    """Both directions before one layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.to_speech = _Attention(width, heads)
        self.to_text = _Attention(width, heads)
        self.speech_gate = nn.Parameter(torch.zeros(1))
        self.text_gate = nn.Parameter(torch.zeros(1))

    def listen(self, speech_BSW: torch.Tensor, text_BTW: torch.Tensor, instruction_BT: torch.Tensor) -> torch.Tensor:
        found = self.to_speech(speech_BSW, text_BTW, instruction_BT)
        heard: torch.Tensor = speech_BSW + torch.tanh(self.speech_gate).to(found.dtype) * found
        return heard

    def speak(self, text_BTW: torch.Tensor, speech_BSW: torch.Tensor, mask_BS: torch.Tensor) -> torch.Tensor:
        found = self.to_text(text_BTW, speech_BSW, mask_BS)
        told: torch.Tensor = text_BTW + (torch.tanh(self.text_gate) * found).to(text_BTW.dtype)
        return told


class _Attention(nn.Module):
    """Attention of one sequence to another, whose places are told by sines; nothing where there is nothing to see."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.other_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x_BTW: torch.Tensor, other_BSW: torch.Tensor, mask_BS: torch.Tensor) -> torch.Tensor:
        x_BTW = x_BTW.to(self.query.weight.dtype)
        other_BSW = self.other_norm(other_BSW.to(self.query.weight.dtype))
        placed = other_BSW + _sines(mask_BS.cumsum(dim=1), other_BSW.shape[2]).to(other_BSW)
        query, key = self._split(self.query(self.norm(x_BTW))), self._split(self.key(placed))
        there = mask_BS.any(dim=1)
        seen = mask_BS | ~there[:, None]  # a row without anything to see would be no number
        found = nn.functional.scaled_dot_product_attention(
            query, key, self._split(self.value(other_BSW)), attn_mask=seen[:, None, None]
        )
        joined = found.transpose(1, 2).reshape(x_BTW.shape)
        out: torch.Tensor = self.out(joined) * there[:, None, None]
        return out

    def _split(self, x_BTW: torch.Tensor) -> torch.Tensor:
        batch, count, _ = x_BTW.shape
        return x_BTW.view(batch, count, self.heads, -1).transpose(1, 2)


def _sines(place_BS: torch.Tensor, width: int) -> torch.Tensor:
    """Sinusoidal places (Vaswani et al. 2017), (B, S, width)."""
    steps = torch.arange(0, width, 2, device=place_BS.device)
    rate = torch.exp(-steps / width * math.log(10_000.0))
    angle = place_BS[..., None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)[..., :width]
