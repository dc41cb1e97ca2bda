"""Which keys an index may have: most of what is looked up is nowhere in it, and need not be searched for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio: Fibonacci hashing
_BITS_OF_A_KEY = 8  # of the table, so that one of eight other keys passes
_LEAST_BITS, _MOST_BITS = 10, 30


@dataclass(frozen=True, slots=True)
class Presence:
    """A table of bits, at most two bytes for each key, with those of the keys' hashes set (Bloom, CACM 1970).

    Attributes:
        table: The bits, eight to a byte.
        shift: What the hash of a key is shifted by, so that it is the number of a bit.
    """

    table: npt.NDArray[np.uint8]
    shift: np.uint64

    @classmethod
    def of(cls, keys: npt.NDArray[np.uint64]) -> Presence:
        """The table of keys of any shape."""
        bits = min(max(_LEAST_BITS, (_BITS_OF_A_KEY * keys.size).bit_length()), _MOST_BITS)
        shift = np.uint64(64 - bits)
        numbers = (keys.ravel() * _MULTIPLIER) >> shift
        table = np.zeros(1 << (bits - 3), np.uint8)
        np.bitwise_or.at(table, numbers >> np.uint64(3), np.left_shift(1, numbers & np.uint64(7)).astype(np.uint8))
        return cls(table, shift)

    def may_have(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Whether a key may be one of the table's; False where it is none."""
        numbers = (keys * _MULTIPLIER) >> self.shift
        found = self.table[numbers >> np.uint64(3)] >> (numbers & np.uint64(7)).astype(np.uint8)
        may: npt.NDArray[np.bool_] = (found & np.uint8(1)).astype(np.bool_)
        return may
