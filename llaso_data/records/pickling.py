"""Records between processes: pickled by their values alone, several times as fast as a frozen dataclass by itself."""

from __future__ import annotations

import copyreg
import dataclasses
import functools
from collections.abc import Callable
from operator import attrgetter
from typing import Any


def register(record: type) -> None:
    """Let a frozen dataclass with slots and at least two fields be pickled quickly. It is not checked again."""
    values = attrgetter(*(field.name for field in dataclasses.fields(record)))

    def reduced(item: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _made, (record, values(item))

    copyreg.pickle(record, reduced)


def _made(record: type, values: tuple[Any, ...]) -> Any:
    item: Any = object.__new__(record)
    for put, value in zip(_setters(record), values, strict=True):
        put(item, value)
    return item


@functools.cache
def _setters(record: type) -> tuple[Callable[[Any, Any], None], ...]:
    return tuple(getattr(record, field.name).__set__ for field in dataclasses.fields(record))
