"""Encoder states, and the keys and values that the decoder's cross-attention makes of them.

Every text that is forced over a window, or over a clip in it, needs the same projections of the same frames. They are
computed once for the whole window and sliced like the states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class EncoderStates:
    """Consecutive frames of encoder states, one for each 20 ms.

    Attributes:
        hidden_SW: (frames, width).
        keys_LSW: Cross-attention keys, (layers, frames, width); None where they are computed anew in every pass.
        values_LSW: Cross-attention values, likewise.
    """

    hidden_SW: torch.Tensor
    keys_LSW: torch.Tensor | None = None
    values_LSW: torch.Tensor | None = None

    @property
    def frames(self) -> int:
        """Number of 20 ms frames."""
        return int(self.hidden_SW.shape[0])

    def __getitem__(self, frames: slice) -> EncoderStates:
        """The given frames, with their keys and values; a view."""
        if self.keys_LSW is None or self.values_LSW is None:
            return EncoderStates(self.hidden_SW[frames])
        return EncoderStates(self.hidden_SW[frames], self.keys_LSW[:, frames], self.values_LSW[:, frames])

    def without_projections(self) -> EncoderStates:
        """A copy of the states alone. It takes a fraction of the memory, and frees that of the window."""
        return EncoderStates(self.hidden_SW.clone())


def concatenate(parts: Sequence[EncoderStates]) -> EncoderStates:
    """The parts one after the other, with keys and values where all of them have some."""
    import torch

    hidden_SW = torch.cat([part.hidden_SW for part in parts])
    keys = [part.keys_LSW for part in parts if part.keys_LSW is not None]
    values = [part.values_LSW for part in parts if part.values_LSW is not None]
    if len(keys) < len(parts):
        return EncoderStates(hidden_SW)
    return EncoderStates(hidden_SW, torch.cat(keys, dim=1), torch.cat(values, dim=1))
