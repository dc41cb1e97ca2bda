"""Keys and values of rows of unlike lengths, which join and leave between steps."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer

from llaso_model.engine.backends.row_places import RowPlaces, grown


def can_share_steps(language_model: Any) -> bool:
    """Whether rows of unlike lengths can be decoded together.

    They can where every layer attends to all that came before, and position and mask can be given.
    """
    layers = DynamicCache(config=language_model.config).layers
    names = inspect.signature(language_model.forward).parameters
    return (
        bool(layers)
        and all(type(layer) is DynamicLayer for layer in layers)
        and {"position_ids", "attention_mask", "past_key_values"} <= set(names)
        and language_model.config._attn_implementation in ("sdpa", "eager")
    )


class SoloRows:
    """The cache of one row that is decoded by itself.

    Args:
        cache: What the prompt left.
    """

    def __init__(self, cache: DynamicCache) -> None:
        self._cache, self._is_reading = cache, False

    def remove(self, slot: int) -> None:
        """Nothing is shared, so nothing has to be freed."""

    def ordered(self, slots: Sequence[int]) -> list[int]:
        """The only slot."""
        return list(slots)

    def inputs(self, slots: Sequence[int]) -> dict[str, Any]:
        """What ``forward`` of the language model takes.

        Raises:
            RuntimeError: A step has failed before. It may have left its token in some of the layers.
        """
        if self._is_reading:
            raise RuntimeError("a step of this row has failed")
        self._is_reading = True
        return {"past_key_values": self._cache}

    def advance(self, slot: int, count: int) -> None:
        """The cache has grown by itself, by the one token that was read."""
        self._is_reading = False


class RowCache(Cache):  # type: ignore[misc]
    """The cache of rows that are decoded together.

    Rows lie at 0 … n-1. A row that leaves is replaced by the last one. A row begins at column 0, whatever its length,
    so its neighbours never move it.
    """

    def __init__(self, language_model: Any) -> None:
        super().__init__(layers=[])
        self.layers: list[_RowsLayer] = []
        self._is_additive = language_model.config._attn_implementation == "eager"
        self._places = RowPlaces()
        self.ordered, self.advance = self._places.ordered, self._places.advance
        self.rows: slice | torch.Tensor = slice(0, 0)
        """Rows of the step, or a tensor of them."""
        self.at = torch.empty(0, dtype=torch.long)
        """The column that each row of the step writes to (n,)."""
        self.columns = 0
        """How many columns the step attends to."""

    @property
    def count(self) -> int:
        """How many rows it has."""
        return self._places.count

    def add(self, slot: int, prefilled: DynamicCache, row: int, length: int) -> None:
        """Takes a row of what a padded batch of prompts left.

        Args:
            slot: The row's slot.
            prefilled: Padded on the left.
            row: Its row there.
            length: How many tokens its prompt has.
        """
        if not self.layers:
            self.layers = [_RowsLayer(self, layer.keys, layer.values) for layer in prefilled.layers]
        for layer, source in zip(self.layers, prefilled.layers, strict=True):
            layer.put(self._places.count, source.keys[row, :, -length:], source.values[row, :, -length:])
        self._places.add(slot, length)

    def remove(self, slot: int) -> None:
        """Frees the row of a slot."""
        if (moved := self._places.remove(slot)) is not None:
            for layer in self.layers:
                layer.move(*moved)

    def inputs(self, slots: Sequence[int]) -> dict[str, Any]:
        """What ``forward`` of the language model takes for a step of these rows, in their order."""
        rows, lengths = self._places.of(slots)
        device = self.layers[0].keys.device
        self.columns = max(lengths) + 1
        self.at = torch.tensor(lengths, device=device)
        self.rows = slice(0, len(rows)) if rows == list(range(len(rows))) else torch.tensor(rows, device=device)
        for layer in self.layers:
            layer.reserve(columns=self.columns)
        return {"past_key_values": self, "position_ids": self.at[:, None], "attention_mask": self._mask(lengths)}

    def _mask(self, lengths: Sequence[int]) -> torch.Tensor | None:
        """Which columns each row attends to (n, 1, 1, columns); None where all attend to all."""
        if min(lengths) + 1 == self.columns:
            return None
        sees = (torch.arange(self.columns, device=self.at.device) <= self.at[:, None])[:, None, None]
        if not self._is_additive:
            return sees
        dtype = self.layers[0].keys.dtype
        return torch.zeros_like(sees, dtype=dtype).masked_fill(~sees, torch.finfo(dtype).min)


class _RowsLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer (rows, heads, columns, size); zero, or an earlier row's, where no row wrote."""

    is_sliding = False

    def __init__(self, cache: RowCache, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self._cache = cache
        self.keys, self.values = (one.new_zeros(0, one.shape[1], 0, one.shape[3]) for one in (keys, values))
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """It is made with its sizes."""

    def reserve(self, rows: int = 0, columns: int = 0) -> None:
        """Makes room for so many rows and columns."""
        old_rows, heads, old_columns, _ = self.keys.shape
        if (new_size := grown((old_rows, old_columns), rows, columns)) is None:
            return
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros(new_size[0], heads, new_size[1], old.shape[3])
            new[:old_rows, :, :old_columns] = old
            setattr(self, name, new)

    def put(self, row: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Writes a row (heads, T, size)."""
        count = keys.shape[1]
        self.reserve(row + 1, count)
        self.keys[row, :, :count], self.values[row, :, :count] = keys, values

    def move(self, source: int, target: int, count: int) -> None:
        """Copies so many columns of a row to another."""
        for states in (self.keys, self.values):
            states[target, :, :count] = states[source, :, :count]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes a token of each row of the step (n, heads, 1, size). Returns all columns that the step attends to."""
        rows, at, columns = self._cache.rows, self._cache.at, self._cache.columns
        row_numbers = torch.arange(rows.stop, device=at.device) if isinstance(rows, slice) else rows
        self.keys[row_numbers, :, at] = key_states[:, :, 0].to(self.keys.dtype)
        self.values[row_numbers, :, at] = value_states[:, :, 0].to(self.values.dtype)
        return self.keys[rows, :, :columns], self.values[rows, :, :columns]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.columns, 0

    def get_seq_length(self) -> int:
        return self._cache.columns - 1

    def get_max_length(self) -> int:
        return -1
