"""Encoder states, with the keys and values that the decoder's layers read of them.

Every text that is forced over a window, and over each clip in it, asks the same projections of the same frames. They
are made once for the whole window and sliced like the states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class EncoderStates:
    """A stretch of encoder states; keys and values are None until somebody needs them."""

    hidden_SW: torch.Tensor  # (frames, width)
    keys_LSW: torch.Tensor | None = None  # (layers, frames, width)
    values_LSW: torch.Tensor | None = None

    @property
    def frames(self) -> int:
        return int(self.hidden_SW.shape[0])

    def __getitem__(self, frames: slice) -> EncoderStates:
        if self.keys_LSW is None or self.values_LSW is None:
            return EncoderStates(self.hidden_SW[frames])
        return EncoderStates(self.hidden_SW[frames], self.keys_LSW[:, frames], self.values_LSW[:, frames])

    def bare(self) -> EncoderStates:
        """Without keys and values and apart from its window: a fraction of the memory, for what has to wait."""
        return EncoderStates(self.hidden_SW.clone())


def joined(parts: Sequence[EncoderStates]) -> EncoderStates:
    """The stretches one after the other; with keys and values where all of them have some."""
    import torch

    hidden = torch.cat([part.hidden_SW for part in parts])
    keys = [part.keys_LSW for part in parts if part.keys_LSW is not None]
    values = [part.values_LSW for part in parts if part.values_LSW is not None]
    if len(keys) < len(parts):
        return EncoderStates(hidden)
    return EncoderStates(hidden, torch.cat(keys, dim=1), torch.cat(values, dim=1))
