"""Reads rows of an index from memory-mapped columns, a few at a time; no column is ever whole in memory.

An index of 25 million samples has some gigabytes. Its checksum is compared once, by the process that opens it for the
others. Its structure is checked when it is opened, and a row's values when the row is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llaso_data.errors import LLaSOError
from llaso_data.io import storage
from llaso_data.shards.index import numbers
from llaso_data.shards.reader import Index, index_uri, open_index
from llaso_data.shards.tar import ShardError
from llaso_data.stream.shard_cache import FileCache

NEAR_BYTES = 1 << 18
"""Parts of a sample that are farther apart than this, as in foreign tars, are read one by one."""

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

Filter = Mapping[str, Sequence[Any]]
"""Column of the index to the values that are taken; ``duration_s`` and other numbers to (least, most)."""


@dataclass(frozen=True, slots=True)
class SampleLocation:
    """Where one sample lies: bytes ``start`` to ``stop`` of its tar hold all its parts.

    ``parts`` are (name, offset, size, CRC-32), offsets from the start of the tar.
    """

    key: str
    shard: int
    parts: tuple[tuple[str, int, int, int], ...]
    start: int
    stop: int


class IndexColumns:
    """The columns of one dataset's index, gathered by row numbers."""

    def __init__(self, index: Index, cache: FileCache | None = None, generation: int | None = None) -> None:
        self.index = index
        self._cache, self._generation = cache, generation
        self._chunks = index.table.to_batches()
        self._starts = np.cumsum([0, *(chunk.num_rows for chunk in self._chunks)])
        self._numbers: dict[str, list[npt.NDArray[Any]]] = {}
        self._texts: dict[str, list[_Texts]] = {}
        self._parts: list[_Parts | None] = [None] * len(self._chunks)
        self.first_rows = np.asarray(index.first_rows, np.int64)

    @classmethod
    def open(
        cls, uri: str, cache: FileCache | None = None, trusted: bool = False, generation: int | None = None
    ) -> IndexColumns:
        """Opens the index of a folder of shards.

        With a cache the index of a store is mapped there, once for all processes of a node; a copy that is damaged is
        fetched again.

        Args:
            uri: The folder.
            cache: Where the index of a store is kept.
            trusted: Another process has compared the checksum.
            generation: Of a set that has grown, the generation to read; None: the last.

        Raises:
            LLaSOError: The folder has no index, or a damaged one.
        """
        if cache is None or storage.is_local(uri):
            return cls(open_index(uri, whole=False, trusted=trusted, generation=generation), cache, generation)
        path, copy = index_uri(uri, generation), None
        with suppress(FileNotFoundError):  # which opening it will say in better words
            copy = cache.copy(path)
        try:
            index = open_index(uri, whole=False, copy=copy, trusted=trusted, generation=generation)
            return cls(index, cache, generation)
        except ShardError:
            if copy is None:
                raise
            return cls(open_index(uri, whole=False, copy=cache.copy(path, anew=True)), cache, generation)

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker maps the file itself.
        return IndexColumns.open, (self.index.uri, self._cache, True, self._generation)

    def __len__(self) -> int:
        return len(self.index)

    def has(self, name: str) -> bool:
        """Whether the index has a column."""
        return name in self.index.table.schema.names

    def numbers(self, name: str, rows: Rows) -> Floats:
        """Reads a numeric column of some rows.

        Args:
            name: The column.
            rows: (N,) numbers of rows.

        Returns:
            (N,) float64.

        Raises:
            ShardError: There is no such column, or it has no numbers.
        """
        values = np.empty(len(rows), np.float64)
        for chunk, here, local in self._by_chunk(rows):
            values[here] = self._number_chunks(name)[chunk][local]
        return values

    def span(self, name: str, start: int, stop: int) -> Floats:
        """A numeric column of the rows ``start`` to ``stop`` as float64."""
        chunks = self._number_chunks(name)
        low, high = np.searchsorted(self._starts, [start, stop - 1], side="right") - 1
        pieces = [
            chunks[chunk][max(0, start - self._starts[chunk]) : stop - self._starts[chunk]]
            for chunk in range(low, high + 1)
        ]
        return np.concatenate(pieces).astype(np.float64, copy=False)

    def texts(self, name: str, rows: Rows) -> list[str | None]:
        """A column of text of these rows."""
        texts: list[str | None] = [None] * len(rows)
        for chunk, here, local in self._by_chunk(rows):
            for position, text in zip(here.tolist(), self._text_chunks(name)[chunk].get(local), strict=True):
                texts[position] = text
        return texts

    def sizes(self, rows: Rows) -> Rows:
        """How many bytes are read for each row.

        Args:
            rows: (N,) numbers of rows.

        Returns:
            (N,) bytes from the first to the last of each row's parts, as they lie in the tar; those of the parts
            alone where a tar made elsewhere has them far apart.
        """
        sizes = np.zeros(len(rows), np.int64)
        for chunk, here, local in self._by_chunk(rows):
            sizes[here] = self._part_chunk(chunk).sizes(local)
        return sizes

    def places(self, rows: Rows) -> list[SampleLocation]:
        """Where these rows' samples lie. Raises ShardError where the index says what cannot be."""
        locations: list[SampleLocation | None] = [None] * len(rows)
        shards = np.searchsorted(self.first_rows, rows, side="right") - 1
        for chunk, here, local in self._by_chunk(rows):
            keys = self._text_chunks("key")[chunk].get(local)
            chunk_locations = self._part_chunk(chunk).places(local, keys, shards[here].tolist())
            for position, location in zip(here.tolist(), chunk_locations, strict=True):
                locations[position] = location
        return [location for location in locations if location is not None]

    def matching(self, start: int, stop: int, wanted: Filter) -> Mask:
        """Which of the rows ``start`` to ``stop`` a filter takes."""
        mask = np.ones(stop - start, bool)
        for name, values in wanted.items():
            column = self.index.table.column(self._named(name)).slice(start, stop - start)
            if pa.types.is_string(column.type):
                mask &= _among(column, name, values)
            else:
                mask &= _between(column, name, values)
        return mask

    def values(self, name: str) -> list[str | None]:
        """The different values of a column of text, sorted, null last."""
        column = self.index.table.column(self._named(name))
        column.validate(full=True)
        values = pc.unique(column).to_pylist()
        return sorted(value for value in values if value is not None) + ([None] if None in values else [])

    def codes(self, name: str, start: int, stop: int, values: Sequence[str | None]) -> Rows:
        """Which of the values the rows ``start`` to ``stop`` have in a column of text that :meth:`values` checked."""
        column = self.index.table.column(self._named(name)).slice(start, stop - start)
        codes: Rows = pc.index_in(column, value_set=pa.array(values, pa.string())).fill_null(-1).to_numpy()
        return codes

    def _by_chunk(self, rows: Rows) -> Iterator[tuple[int, Rows, Rows]]:
        """(chunk, positions in `rows`, rows within the chunk) for every chunk that is touched."""
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)}")
        if len(self._chunks) == 1:
            yield 0, np.arange(len(rows)), rows
            return
        chunks = np.searchsorted(self._starts, rows, side="right") - 1
        for chunk in sorted(set(chunks.tolist())):
            here = np.flatnonzero(chunks == chunk)
            yield chunk, here, rows[here] - self._starts[chunk]

    def _part_chunk(self, chunk: int) -> _Parts:
        parts = self._parts[chunk]
        if parts is None:
            parts = self._parts[chunk] = _Parts(self._chunks[chunk].column("parts"), self.index.uri)
        return parts

    def _number_chunks(self, name: str) -> list[npt.NDArray[Any]]:
        if name not in self._numbers:
            column = self._named(name)
            try:
                chunks = [numbers(chunk.column(column)) for chunk in self._chunks]
            except pa.ArrowInvalid as error:  # text, or nulls between the numbers
                raise ShardError(f"{self.index.uri}: the column {name} is not one of numbers ({error})") from error
            self._numbers[name] = chunks
        return self._numbers[name]

    def _text_chunks(self, name: str) -> list[_Texts]:
        if name not in self._texts:
            column = self._named(name)
            self._texts[name] = [_Texts(chunk.column(column), self.index.uri) for chunk in self._chunks]
        return self._texts[name]

    def _named(self, name: str) -> str:
        names = self.index.table.schema.names
        if name not in names:
            raise ShardError(f"{self.index.uri}: the index has no column {name}; it has {', '.join(names)}")
        return name


class _Texts:
    """A string array, read value by value with its bounds checked; values that come again are kept once."""

    def __init__(self, array: pa.Array, uri: str) -> None:
        valid, offsets, data = array.buffers()
        self._first = array.offset
        self._valid = None if valid is None else np.frombuffer(valid, np.uint8)
        self._offsets = np.frombuffer(offsets, np.int32)[self._first : self._first + len(array) + 1]
        self._data = memoryview(data if data is not None else b"")
        self._known: dict[bytes, str] = {}
        self._uri = uri

    def get(self, rows: Rows) -> list[str | None]:
        """The values of these rows, which are rows of the array."""
        starts, stops = self._offsets[rows], self._offsets[rows + 1]
        if np.any((starts < 0) | (stops < starts) | (stops > len(self._data))):
            raise _damaged(self._uri)
        texts = [self._text(a, b) for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]
        if self._valid is None:
            return [*texts]
        bits = rows + self._first
        valid = (self._valid[bits >> 3] >> (bits & 7)) & 1
        return [text if is_valid else None for text, is_valid in zip(texts, valid.tolist(), strict=True)]

    def _text(self, start: int, stop: int) -> str:
        value = bytes(self._data[start:stop])
        text = self._known.get(value)
        if text is None:
            try:
                text = value.decode()
            except UnicodeDecodeError as error:
                raise _damaged(self._uri) from error
            if len(self._known) < 256:  # tasks, languages, names of parts; never all keys
                self._known[value] = text
        return text


class _Parts:
    """The parts of one chunk's rows."""

    def __init__(self, array: pa.Array, uri: str) -> None:
        values = array.values
        self._bounds = numbers(array.offsets)
        self._ext = _Texts(values.field("ext"), uri)
        self._offset, self._size, self._crc32 = (numbers(values.field(name)) for name in ("offset", "size", "crc32"))
        self._uri = uri

    def sizes(self, rows: Rows) -> Rows:
        first, last = self._spans(rows)
        spans = np.zeros(len(rows), np.int64)
        filled = first < last
        ends = last[filled] - 1
        spans[filled] = self._offset[ends] + self._size[ends] - self._offset[first[filled]]
        owners = np.repeat(np.arange(len(rows)), last - first)
        part_bytes = np.bincount(owners, self._size[_ranges_of(first, last)], len(rows)).astype(np.int64)
        far = (spans < part_bytes) | (spans > part_bytes + (last - first) * NEAR_BYTES)
        return np.where(far, part_bytes, spans)

    def places(self, rows: Rows, keys: Sequence[str | None], shards: Sequence[int]) -> list[SampleLocation]:
        first, last = self._spans(rows)
        split_points = np.cumsum([0, *(last - first)])
        parts = _ranges_of(first, last)
        offset, size = self._offset[parts], self._size[parts]
        if np.any((offset < 0) | (size < 0)):
            raise _damaged(self._uri)
        names = [name or "" for name in self._ext.get(parts)]
        flat = list(zip(names, offset.tolist(), size.tolist(), self._crc32[parts].tolist(), strict=True))
        locations = []
        for key, shard, (a, b) in zip(keys, shards, pairwise(split_points.tolist()), strict=True):
            row_parts = tuple(flat[a:b])
            start = min((offset for _, offset, _, _ in row_parts), default=0)
            stop = max((offset + size for _, offset, size, _ in row_parts), default=0)
            locations.append(SampleLocation(key or "", shard, row_parts, start, stop))
        return locations

    def _spans(self, rows: Rows) -> tuple[Rows, Rows]:
        """The first part of each row, and the one after its last."""
        first, last = self._bounds[rows].astype(np.int64), self._bounds[rows + 1].astype(np.int64)
        if np.any((first < 0) | (last < first) | (last > len(self._offset))):
            raise _damaged(self._uri)
        return first, last


def _ranges_of(first: Rows, last: Rows) -> Rows:
    """All numbers from ``first[i]`` up to ``last[i]``, for each i in turn."""
    counts = last - first
    ranges: Rows = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
    return ranges


def _among(column: pa.ChunkedArray, name: str, values: Sequence[Any]) -> Mask:
    texts = [value for value in values if value is not None]
    if not all(isinstance(value, str) for value in texts):
        raise LLaSOError(f"filter: {name} is a column of text; name the texts that are taken, not {texts}")
    column.validate(full=True)
    taken = pc.is_in(column, value_set=pa.array(texts, pa.string()))
    if None in values:
        taken = pc.or_(taken, pc.is_null(column))
    mask: Mask = taken.to_numpy()
    return mask


def _between(column: pa.ChunkedArray, name: str, values: Sequence[Any]) -> Mask:
    if len(values) != 2 or any(isinstance(value, str) for value in values):
        raise LLaSOError(f"filter: {name} is a column of numbers; give [least, most], not {list(values)}")
    low, high = values
    numbers_read = np.concatenate([np.zeros(0), *map(numbers, column.chunks)])
    at_least, at_most = -np.inf if low is None else low, np.inf if high is None else high
    mask: Mask = (numbers_read >= at_least) & (numbers_read <= at_most)
    return mask


def _damaged(uri: str) -> ShardError:
    return ShardError(f"{uri}: the index is damaged; build it again")
