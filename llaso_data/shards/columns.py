"""Arrow arrays of plain Python values; ``pyarrow.array`` would import pandas where there is one (half a second)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

_MOST_BYTES = (1 << 31) - 1  # of all texts of an array with offsets of 32 bits


def texts(values: Sequence[str | None]) -> pa.Array:
    """An array of strings.

    Args:
        values: Valid Unicode, or None.
    """
    data = [b"" if value is None else value.encode() for value in values]
    offsets = np.fromiter(accumulate(map(len, data), initial=0), np.int64, len(data) + 1)
    if offsets[-1] > _MOST_BYTES:
        return pa.array(values, pa.string())
    known = np.fromiter((value is not None for value in values), np.bool_, len(data))
    nulls = len(data) - int(np.count_nonzero(known))
    validity = pa.py_buffer(np.packbits(known, bitorder="little")) if nulls else None
    buffers = [validity, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(b"".join(data))]
    return pa.Array.from_buffers(pa.string(), len(data), buffers, nulls)


def numbers(values: Iterable[Any], kind: pa.DataType, count: int) -> pa.Array:
    """An array of ``count`` integers or floats without nulls."""
    plain = np.fromiter(values, str(kind).replace("double", "float64"), count)
    return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(plain)], 0)


def structs(kind: pa.DataType, fields: Sequence[pa.Array]) -> pa.Array:
    """An array of structs without nulls, of an array for each field."""
    return pa.Array.from_buffers(kind, len(fields[0]), [None], 0, children=list(fields))


def lists(kind: pa.DataType, lengths: Sequence[int], items: pa.Array) -> pa.Array:
    """An array of lists without nulls: so many of the items each, in their order."""
    offsets = np.fromiter(accumulate(lengths, initial=0), np.int32, len(lengths) + 1)
    return pa.Array.from_buffers(kind, len(lengths), [None, pa.py_buffer(offsets)], 0, children=[items])


def column(values: Sequence[Any], field: pa.Field) -> pa.Array:
    """A column of texts or numbers."""
    return texts(values) if pa.types.is_string(field.type) else numbers(values, field.type, len(values))
