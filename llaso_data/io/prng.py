"""Pseudorandom numbers as functions of integers, which no update of a library can change."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]

_GAMMA = 0x9E3779B97F4A7C15


def splitmix64(x: Words) -> Words:
    """Mix 64-bit integers, element by element.

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 17.

    Args:
        x: uint64, any shape.

    Returns:
        uint64 of the same shape.
    """
    x = x + np.uint64(_GAMMA)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = x ^ (x >> np.uint64(31))
    return mixed


def noise(key: int, count: int, start: int = 0) -> Words:
    """Numbers of the splitmix64 generator whose state is ``key``.

    Args:
        key: from 0 to 2**64 - 1.
        count: how many numbers.
        start: how many to skip first.

    Returns:
        uint64 of shape (count,).
    """
    steps = np.arange(start, start + count, dtype=np.uint64)
    return splitmix64(np.full(1, key, np.uint64) + steps * np.uint64(_GAMMA))


def shuffled(key: int, count: int) -> npt.NDArray[np.int64]:
    """The numbers 0 to count - 1 in a pseudorandom order that ``key`` decides, int64 of shape (count,)."""
    return np.argsort(noise(key, count), kind="stable").astype(np.int64)
