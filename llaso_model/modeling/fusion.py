"""How speech reaches the language model."""

from __future__ import annotations

import torch
from torch import nn
from transformers.activations import ACT2FN

from llaso_model.configuration import LLaSOConfig
from llaso_model.modeling.encoder import valid


class Splice(nn.Module):
    """``stack`` states at a time through an MLP: embeddings that stand in the text at its audio tokens."""

    def __init__(self, config: LLaSOConfig) -> None:
        super().__init__()
        self.stack = config.stack
        inner = config.projector_size or config.hidden_size
        self.projector = nn.Sequential(
            nn.Linear(config.stack * config.audio_config.hidden_size, inner),
            ACT2FN[config.projector_act],
            nn.Linear(inner, config.hidden_size),
        )

    def forward(self, states_BSW: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """The embeddings of all clips, one after the other: (sum of their tokens, width of the language model)."""
        states_BSW = states_BSW[:, : int(lengths.max())]
        batch, count, width = states_BSW.shape
        states_BSW = states_BSW * valid(lengths, count)[..., None].to(states_BSW.dtype)
        stacked = nn.functional.pad(states_BSW, (0, 0, 0, -count % self.stack)).reshape(batch, -1, self.stack * width)
        own = valid(self.counts(lengths), stacked.shape[1])
        found: torch.Tensor = self.projector(stacked[own])
        return found

    def counts(self, lengths: torch.Tensor) -> torch.Tensor:
        """How many embeddings windows of so many states give."""
        return -(-lengths // self.stack)
