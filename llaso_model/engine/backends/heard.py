"""Where in the audio a model listens when it chooses a token: the attention of chosen heads to its embeddings.

The heads are ``alignment_heads`` of the model's configuration, (layer, head) each, as Whisper has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch

from llaso_model.configuration import MEL_FRAMES_PER_S
from llaso_model.engine.backends.prompts import TorchPrompt


@runtime_checkable
class Hears(Protocol):
    """A reader that knows where tokens were heard."""

    def heard_s(self, slot: int) -> tuple[float, ...]:
        """For each token of the answer in a slot its time in the audio; empty: not known."""


@dataclass(slots=True)
class _Row:
    first: int
    count: int
    column_s: float
    heard_s: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Listener:
    """Follows the rows whose requests ask for details, and have one audio of one window.

    Attributes:
        config: The model's configuration. Its heads are looked at when there is something to follow.
    """

    config: Any
    _heads: dict[int, list[int]] = field(default_factory=dict)
    _rows: dict[int, _Row] = field(default_factory=dict)
    _sums: dict[int, torch.Tensor] = field(default_factory=dict)
    _slots: Sequence[int] = ()

    def add(self, slot: int, prompt: TorchPrompt) -> None:
        """Follows a row, where that can be."""
        heads = getattr(self.config, "alignment_heads", None)
        if not (heads and prompt.sampling.details and prompt.frames):
            return
        self._heads = {}
        for layer, head in heads:
            self._heads.setdefault(int(layer), []).append(int(head))
        places = (prompt.inputs["input_ids"][0] == self.config.audio_token_id).nonzero()[:, 0].tolist()
        if len(prompt.inputs["feature_lengths"]) == 1 and len(places) > 1:
            column_s = prompt.frames / MEL_FRAMES_PER_S / len(places)
            self._rows[slot] = _Row(places[0], len(places), column_s)

    def begin(self, slots: Sequence[int]) -> Listener | None:
        """Begins a step of slots; None where none of them is followed."""
        self._slots, self._sums = slots, {}
        return self if any(slot in self._rows for slot in slots) else None

    def __call__(self, layer: int, number: int, query_HS: torch.Tensor, keys_KCS: torch.Tensor) -> None:
        """Takes the query of a row's last token, and the keys of its columns. Called in each layer.

        Args:
            layer: Its number.
            number: The row's, in the step.
            query_HS: Of all heads.
            keys_KCS: Of all columns of the row; heads share keys.
        """
        row = self._rows.get(self._slots[number])
        if row is None or layer not in self._heads:
            return
        repeats = len(query_HS) // len(keys_KCS)
        for head in self._heads[layer]:
            keys = keys_KCS[head // repeats, row.first : row.first + row.count]
            weights = (keys @ query_HS[head] / query_HS.shape[-1] ** 0.5).softmax(dim=0)
            slot = self._slots[number]
            self._sums[slot] = self._sums[slot] + weights if slot in self._sums else weights

    def end(self) -> None:
        """Ends a step: where each row's next token was heard."""
        for slot, weights in self._sums.items():
            row = self._rows[slot]
            row.heard_s.append((int(weights.argmax()) + 0.5) * row.column_s)
        self._sums = {}

    def heard_s(self, slot: int) -> tuple[float, ...]:
        """See :class:`Hears`."""
        row = self._rows.get(slot)
        return () if row is None else tuple(row.heard_s)

    def remove(self, slot: int) -> None:
        """Follows a row no more."""
        self._rows.pop(slot, None)
