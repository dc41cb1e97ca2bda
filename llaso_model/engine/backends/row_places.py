"""Where rows that join and leave between steps lie in a block of memory, and how the block grows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

_COLUMNS = 64  # a block grows by so many tokens


class RowPlaces:
    """The rows of slots, which lie at 0 … n-1. A row that leaves is replaced by the last one."""

    def __init__(self) -> None:
        self._slots: list[int] = []  # by row
        self._lengths: list[int] = []  # tokens of each row

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._slots)

    def add(self, slot: int, length: int) -> int:
        """Makes a row for a slot, whose prompt has so many tokens. Returns its place."""
        self._slots.append(slot)
        self._lengths.append(length)
        return len(self._slots) - 1

    def remove(self, slot: int) -> tuple[int, int, int] | None:
        """Frees the row of a slot.

        Returns:
            (where the last row lies, where it is to lie, its tokens); None where the row was the last one.
        """
        row, last = self._slots.index(slot), len(self._slots) - 1
        last_slot, last_length = self._slots.pop(), self._lengths.pop()
        if row == last:
            return None
        self._slots[row], self._lengths[row] = last_slot, last_length
        return last, row, last_length

    def ordered(self, slots: Sequence[int]) -> list[int]:
        """Slots in the order of their rows."""
        return sorted(slots, key=self._slots.index)

    def of(self, slots: Sequence[int]) -> tuple[list[int], list[int]]:
        """The rows of slots, in that order, and how many tokens each has."""
        rows = [self._slots.index(slot) for slot in slots]
        return rows, [self._lengths[row] for row in rows]

    def advance(self, slot: int, count: int) -> None:
        """Counts tokens that a row got. What was written beyond is written over by the next step."""
        self._lengths[self._slots.index(slot)] += count


def grown(old: tuple[int, int], rows: int, columns: int) -> tuple[int, int] | None:
    """The size (rows, columns) to which a block of the size ``old`` grows for so many; None: they have room in it."""
    old_rows, old_columns = old
    if rows <= old_rows and columns <= old_columns:
        return None
    return (
        old_rows if rows <= old_rows else max(rows, 2 * old_rows),
        old_columns if columns <= old_columns else -(-columns // _COLUMNS) * _COLUMNS,
    )


def together(slots: Iterable[int], blocks: Mapping[int, object]) -> list[list[int]]:
    """Slots by the block that has their row, as ``blocks`` says it."""
    members: dict[int, list[int]] = {}
    for slot in slots:
        members.setdefault(id(blocks[slot]), []).append(slot)
    return list(members.values())
