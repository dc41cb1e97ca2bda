"""Giving free memory back to the system.

The C library keeps what is freed for itself, in pieces that fit the next block less and less: a worker's memory would
creep up for hours, though it holds no more than before. bench/memory.py shows it.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import pyarrow as pa


def release() -> None:
    """Return all free pages, between two blocks: Arrow's, and glibc's where it is there. Costs milliseconds."""
    pa.default_memory_pool().release_unused()
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
