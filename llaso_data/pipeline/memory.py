"""Memory of a worker: kept while a block is worked on, given back between two.

Whisper frees and takes hundreds of megabytes for every window. By itself the C library gives each of them back to the
system at once and has it cleared by the next page fault, a fifth of all CPU time. Kept too long, it lies in pieces that
fit the next block less and less: a worker's memory would creep up for hours. bench/memory.py shows that it does not.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import pyarrow as pa

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h
_NEVER = 2**31 - 1


def keep() -> None:
    """Let this process keep what it frees until :func:`release`, in one place for all threads. Where glibc is."""
    tune = _of_c("mallopt")
    if tune is not None:
        for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER)):
            tune(option, value)


def release() -> None:
    """Return all free pages, between two blocks: Arrow's, and glibc's where it is there. Costs milliseconds."""
    pa.default_memory_pool().release_unused()
    trim = _of_c("malloc_trim")
    if trim is not None:
        trim(0)


@functools.cache
def _of_c(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None)
