"""Results of tasks: whole files named by digest, whose existence is the commit, and tables in pieces by number.

A task writes ``NAME.rows``, pieces one after the other, each a compressed Arrow stream of the rows of one number (a
bucket, an archive), and then ``NAME.json``: where each piece lies, with its checksum, and what the task counted. So a
later task reads what it needs of many files by a range each, and nothing besides.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

import pyarrow as pa

from llaso_data.io import checksums, storage
from llaso_data.io.store_errors import reading

_AT_ONCE = 64


class Piece(NamedTuple):
    """One table in a file of rows: where its bytes lie, and their CRC-32."""

    offset: int
    size_bytes: int
    crc: int


class Pieces:
    """Writes tables one after the other, and knows where they lie."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._offset = 0
        self.places: dict[int, list[Piece]] = {}

    def add(self, number: int, table: pa.Table) -> None:
        """Write one more table of a number."""
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
        with pa.ipc.new_stream(sink, table.schema, options=options) as stream:
            stream.write_table(table)
        data = sink.getvalue()
        self._file.write(data)
        self.places.setdefault(number, []).append(Piece(self._offset, data.size, zlib.crc32(data)))
        self._offset += data.size

    def stated(self) -> dict[str, list[Piece]]:
        """The places for JSON."""
        return {str(number): self.places[number] for number in sorted(self.places)}


def record_uri(work: str, name: str) -> str:
    """Where the record of a task lies."""
    return storage.join(work, f"{name}.json")


def rows_uri(work: str, name: str) -> str:
    """Where the rows of a task lie."""
    return storage.join(work, f"{name}.rows")


def read_record(work: str, name: str) -> dict[str, Any] | None:
    """What a task stated; None where it is to be run."""
    try:
        stated = checksums.read_json(record_uri(work, name), "; remove it")
    except (FileNotFoundError, ValueError):
        return None
    return stated if isinstance(stated, dict) else None


def write_record(work: str, name: str, stated: Mapping[str, Any]) -> None:
    """Commit a task; its rows are written before."""
    checksums.write_json(record_uri(work, name), stated)


@contextmanager
def writing_rows(work: str, name: str) -> Iterator[Pieces]:
    """The rows of a task, which appear whole."""
    with storage.whole(rows_uri(work, name)) as path, open(path, "wb") as file:
        yield Pieces(file)


def places_of(stated: Mapping[str, Any], number: int) -> list[Piece]:
    """Where the tables of a number lie, by a task's record."""
    return [Piece(*place) for place in stated["places"].get(str(number), ())]


def read_pieces(places: Iterable[tuple[str, Piece]], schema: pa.Schema) -> pa.Table:
    """The tables at places in files, joined.

    Args:
        places: (URI of a file of rows, place) of each.
        schema: Of them all; the answer where there are none.

    Raises:
        DamagedError: A piece is not what was written.
        FileNotFoundError: A file is gone.
    """
    wanted = list(places)
    tables = [schema.empty_table()]
    for start in range(0, len(wanted), _AT_ONCE):
        batch = wanted[start : start + _AT_ONCE]
        for (uri, place), data in zip(batch, _ranges(batch), strict=True):
            if len(data) != place.size_bytes or zlib.crc32(data) != place.crc:
                raise checksums.DamagedError(f"{uri} is damaged (at byte {place.offset}); remove it, and run again")
            tables.append(pa.ipc.open_stream(data).read_all())
    return pa.concat_tables(tables)


def _ranges(places: Sequence[tuple[str, Piece]]) -> list[bytes]:
    if all(storage.is_local(uri) for uri, _ in places):
        return [_range_here(uri, place) for uri, place in places]
    fs, _ = storage.filesystem(places[0][0])
    paths = [storage.filesystem(uri)[1] for uri, _ in places]
    starts = [place.offset for _, place in places]
    ends = [place.offset + place.size_bytes for _, place in places]
    with reading(places[0][0], False):
        answers: list[bytes] = fs.cat_ranges(paths, starts, ends, on_error="raise")
    return answers


def _range_here(uri: str, place: Piece) -> bytes:
    descriptor = os.open(storage.absolute(uri), os.O_RDONLY)
    try:
        return os.pread(descriptor, place.size_bytes, place.offset)
    finally:
        os.close(descriptor)


def keep_only(work: str, names: Iterable[str]) -> None:
    """Remove all results but those of these names."""
    kept = set(names)
    fs, root = storage.filesystem(work)
    for row in storage.listing(work):
        if row["path"] not in kept:
            fs.rm_file(storage.join(root, row["path"]))
