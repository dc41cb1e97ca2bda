"""Encoder states, and the keys and values that the decoder's cross-attention makes of them.

Every text that is forced over a window, or over a clip in it, needs the same projections of the same frames. They are
computed once for the whole window and sliced like the states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class EncoderStates:
    """Consecutive frames of encoder states, one for each 20 ms, and such that follow them.

    Attributes:
        hidden_SW: (frames, width).
        keys_LHSD: Cross-attention keys, (layers, heads, frames, width of a head); None where they are computed anew in
            every pass.
        values_LHSD: Cross-attention values, likewise.
        following: States that come after these. They are joined where they are read, a layer at a time: all clips of a
            window have some silence behind them, and copies of all layers would take more memory than the window.
    """

    hidden_SW: torch.Tensor
    keys_LHSD: torch.Tensor | None = None
    values_LHSD: torch.Tensor | None = None
    following: EncoderStates | None = None

    @property
    def frames(self) -> int:
        """Number of 20 ms frames, those that follow included."""
        return int(self.hidden_SW.shape[0]) + (self.following.frames if self.following else 0)

    @property
    def hidden(self) -> torch.Tensor:
        """All states (frames, width)."""
        return self.hidden_SW if self.following is None else _cat([self.hidden_SW, self.following.hidden], 0)

    def key_and_value(self, layer: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Keys and values of one layer for all frames, (heads, frames, width of a head) each, where there are any."""
        if self.keys_LHSD is None or self.values_LHSD is None:
            return None
        own = self.keys_LHSD[layer], self.values_LHSD[layer]
        rest = self.following.key_and_value(layer) if self.following else None
        return own if rest is None else (_cat([own[0], rest[0]], 1), _cat([own[1], rest[1]], 1))

    def __getitem__(self, frames: slice) -> EncoderStates:
        """The given frames of those before what follows, with their keys and values; a view."""
        if self.keys_LHSD is None or self.values_LHSD is None:
            return EncoderStates(self.hidden_SW[frames])
        return EncoderStates(self.hidden_SW[frames], self.keys_LHSD[:, :, frames], self.values_LHSD[:, :, frames])

    def without_projections(self) -> EncoderStates:
        """A copy of the states alone. It takes a fraction of the memory, and frees that of the window."""
        return EncoderStates(self.hidden.clone())

    def followed_by(self, following: EncoderStates) -> EncoderStates:
        """These states and others after them, with keys and values where both have some."""
        if self.keys_LHSD is None or following.keys_LHSD is None:
            return EncoderStates(_cat([self.hidden, following.hidden], 0))
        last = self.following.followed_by(following) if self.following else following
        return EncoderStates(self.hidden_SW, self.keys_LHSD, self.values_LHSD, last)


def _cat(parts: list[torch.Tensor], dim: int) -> torch.Tensor:
    import torch

    return torch.cat(parts, dim)
