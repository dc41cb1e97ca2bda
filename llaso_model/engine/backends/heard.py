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
    new: int = 0  # of them, from the step before


@dataclass(slots=True)
class Listener:
    """Follows the rows whose requests ask for details, and have one audio of one window.

    Attributes:
        config: The model's configuration. Its heads are looked at when there is something to follow.
    """

    config: Any
    _heads: dict[int, list[int]] = field(default_factory=dict)
    _rows: dict[int, _Row] = field(default_factory=dict)
    _sums: dict[int, torch.Tensor] = field(default_factory=dict)  # by the number of the token
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
        """Begins a step; None where none of its rows is followed.

        Args:
            slots: Of each token that another one is chosen after; those of a slot in their order.
        """
        self._slots, self._sums = slots, {}
        return self if any(slot in self._rows for slot in slots) else None

    def __call__(self, layer: int, number: int, query_HS: torch.Tensor, keys_KCS: torch.Tensor) -> None:
        """Takes the query of a token, and the keys of its row's columns. Called in each layer.

        Args:
            layer: Its number.
            number: The token's, in the step.
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
            self._sums[number] = self._sums[number] + weights if number in self._sums else weights

    def end(self) -> None:
        """Ends a step: where each row's next tokens were heard."""
        for slot in set(self._slots) & set(self._rows):
            self._rows[slot].new = 0
        for number, weights in sorted(self._sums.items()):
            row = self._rows[self._slots[number]]
            row.heard_s.append((int(weights.argmax()) + 0.5) * row.column_s)
            row.new += 1
        self._sums = {}

    def keep(self, slot: int, count: int) -> None:
        """Forgets all but the first ``count`` of what the last step of a slot has added."""
        if (row := self._rows.get(slot)) is not None:
            del row.heard_s[len(row.heard_s) - row.new + count :]
            row.new = count

    def heard_s(self, slot: int) -> tuple[float, ...]:
        """See :class:`Hears`."""
        row = self._rows.get(slot)
        return () if row is None else tuple(row.heard_s)

    def remove(self, slot: int) -> None:
        """Follows a row no more."""
        self._rows.pop(slot, None)
