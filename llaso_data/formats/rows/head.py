"""Reading of a source's first rows only, for a preview: readers that sort would else read all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
_MOST_ROWS: ContextVar[int | None] = ContextVar("llaso_most_rows", default=None)


@contextmanager
def only_first(count: int | None) -> Iterator[None]:
    """Inside of this block readers yield about the first ``count`` rows of each source; None: all."""
    token = _MOST_ROWS.set(count)
    try:
        yield
    finally:
        _MOST_ROWS.reset(token)


def first_rows(rows: Iterable[T]) -> Iterator[T]:
    """The rows that are asked for: all of them, or the first where :func:`only_first` says so."""
    return islice(rows, _MOST_ROWS.get())
