"""Memory of a worker: kept while a block is worked on, given back between two.

Whisper allocates and frees hundreds of megabytes for every window. By default the C library returns each of them to the
system at once, and the next page faults clear them again, which costs much CPU time. Memory that is never returned
becomes fragmented, and a worker grows for hours. ``bench/memory.py`` measures a worker's memory over a long run.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import pyarrow as pa

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h
_NEVER = 2**31 - 1


def keep() -> None:
    """Lets this process keep freed memory until :func:`release`, in one arena for all threads. Needs glibc."""
    tune = _of_c("mallopt")
    if tune is not None:
        for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER)):
            tune(option, value)


def release() -> None:
    """Returns all free pages to the system, between two blocks: Arrow's, and glibc's where there is glibc."""
    pa.default_memory_pool().release_unused()
    trim = _of_c("malloc_trim")
    if trim is not None:
        trim(0)


@functools.cache
def _of_c(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None)
