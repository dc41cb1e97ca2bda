"""Keys and values of rows of unlike lengths in one block of memory, which grows as rows join."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_COLUMNS = 64  # a block grows by so many tokens


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
        self._slots: list[int] = []  # by row
        self._lengths: list[int] = []  # tokens of each row

    @property
    def count(self) -> int:
        """How many rows it has."""
        return len(self._slots)

    def add(self, slot: int, length: int) -> int:
        """Makes a row for a slot, whose prompt has so many tokens. Returns its place."""
        row = len(self._slots)
        self._reserve(row + 1, length + 1)
        self._slots.append(slot)
        self._lengths.append(length)
        return row

    def remove(self, slot: int) -> None:
        """Frees the row of a slot."""
        row, last = self._slots.index(slot), len(self._slots) - 1
        if row != last:
            count = self._lengths[last]
            for states in (self.keys, self.values):
                states[:, row, :, :count] = states[:, last, :, :count]
            self._slots[row], self._lengths[row] = self._slots[last], count
        self._slots.pop()
        self._lengths.pop()

    def ordered(self, slots: Sequence[int]) -> list[int]:
        """Slots in the order of their rows."""
        return sorted(slots, key=self._slots.index)

    def step(self, slots: Sequence[int]) -> StepRows:
        """The rows of slots, in that order, for a step in which each gets a token."""
        rows = [self._slots.index(slot) for slot in slots]
        lengths = [self._lengths[row] for row in rows]
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

    def advance(self, slots: Sequence[int]) -> None:
        """Counts the token that each of these rows got. A step that failed before is written over by the next."""
        for slot in slots:
            self._lengths[self._slots.index(slot)] += 1

    def _reserve(self, rows: int, columns: int) -> None:
        layers, old_rows, heads, old_columns, size = self.keys.shape
        if rows <= old_rows and columns <= old_columns:
            return
        rows = old_rows if rows <= old_rows else max(rows, 2 * old_rows)
        columns = old_columns if columns <= old_columns else -(-columns // _COLUMNS) * _COLUMNS
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros(layers, rows, heads, columns, size)
            new[:, :old_rows, :, :old_columns] = old
            setattr(self, name, new)
