"""Keys and values of rows of unlike lengths in one block of memory, which grows as rows join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from llaso_model.engine.backends.row_places import RowPlaces, grown


@dataclass(frozen=True, slots=True)
class StepRows:
    """The rows of one step.

    Attributes:
        rows: Their places in the block: a slice, or a tensor of them.
        at: The column that each row writes to (n,), which is also its position.
        columns: How many columns the step attends to.
        mask: Added to the attention scores (n, 1, 1, columns); None: all rows attend to all columns.
    """

    rows: slice | torch.Tensor
    row_numbers: torch.Tensor
    at: torch.Tensor
    columns: int
    mask: torch.Tensor | None


class RowStore:
    """Keys and values of all layers (layers, rows, heads, columns, size).

    Rows lie at 0 … n-1. A row that leaves is replaced by the last one. A row begins at column 0, whatever its length,
    so its neighbours never move it. Columns that no row wrote are zero, or an earlier row's.
    """

    def __init__(self, layers: int, heads: int, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.keys = torch.zeros(layers, 0, heads, 0, size, dtype=dtype, device=device)
        self.values = torch.zeros_like(self.keys)
        self._places = RowPlaces()
        self.ordered, self.advance = self._places.ordered, self._places.advance

    @property
    def count(self) -> int:
        """How many rows it has."""
        return self._places.count

    def reserve(self, rows: int, columns: int) -> None:
        """Makes room for so many rows more, of so many columns."""
        self._reserve(self._places.count + rows, columns)

    def add(self, rows: Mapping[int, int]) -> list[int]:
        """Makes rows for slots, whose prompts have so many tokens. Returns their places."""
        self.reserve(len(rows), max(rows.values(), default=0) + 1)
        return [self._places.add(slot, length) for slot, length in rows.items()]

    def remove(self, slot: int) -> None:
        """Frees the row of a slot."""
        if (moved := self._places.remove(slot)) is not None:
            source, target, count = moved
            for states in (self.keys, self.values):
                states[:, target, :, :count] = states[:, source, :, :count]

    def fill(self, row: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Writes the first tokens of a row: their keys and values of all layers (layers, heads, tokens, size)."""
        count = keys.shape[2]
        self.keys[:, row, :, :count], self.values[:, row, :, :count] = keys, values

    def of(self, slot: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values of a slot's row (layers, heads, tokens, size)."""
        (row,), (length,) = self._places.of([slot])
        return self.keys[:, row, :, :length], self.values[:, row, :, :length]

    def place(self, slot: int, count: int) -> tuple[int, int]:
        """The row of a slot, with room for so many tokens more, and the column of the first of them."""
        (row,), (length,) = self._places.of([slot])
        self._reserve(0, length + count)
        return row, length

    def step(self, slots: Sequence[int]) -> StepRows:
        """The rows of slots, in that order, for a step in which each gets a token."""
        rows, lengths = self._places.of(slots)
        columns = max(lengths) + 1
        self._reserve(0, columns)
        device = self.keys.device
        at, numbers = torch.tensor(lengths, device=device), torch.tensor(rows, device=device)
        mask = None
        if min(lengths) + 1 < columns:
            unseen = torch.arange(columns, device=device) > at[:, None]
            mask = torch.zeros(unseen.shape, dtype=self.keys.dtype, device=device)
            mask = mask.masked_fill(unseen, float("-inf"))[:, None, None]
        first = slice(0, len(rows)) if rows == list(range(len(rows))) else numbers
        return StepRows(first, numbers, at, columns, mask)

    def _reserve(self, rows: int, columns: int) -> None:
        layers, old_rows, heads, old_columns, size = self.keys.shape
        if (new_size := grown((old_rows, old_columns), rows, columns)) is None:
            return
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros(layers, new_size[0], heads, new_size[1], size)
            new[:, :old_rows, :, :old_columns] = old
            setattr(self, name, new)
