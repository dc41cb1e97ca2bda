"""Read samples: map the index, then one positioned read per part, each checked against its CRC-32."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
from isal.isal_zlib import crc32  # a tenth of the time of zlib's, which would be a third of all reading

from llaso_data import uris
from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, storage
from llaso_data.records import Sample
from llaso_data.shards import layout
from llaso_data.shards.index import SHARD_COLUMN, numbers, open_arrow, stated
from llaso_data.shards.tar import ShardError

CONTAINERS = (".tar", ".zip", ".parquet", ".arrow")
"""Endings of the files that an index may name: tars, and what is indexed in place."""
NOT_SUMMED = 0
"""The CRC-32 of parts whose bytes nobody has read: of sets that are indexed in place."""
_LARGE_BYTES = 1 << 24  # a damaged index may ask for more than there is memory, or than there are places


@dataclass(frozen=True, slots=True)
class Index:
    """A dataset's index: ``table`` has one row per sample, ``shards`` the URI of each tar by shard number.

    The rows of shard ``i`` are ``first_rows[i]`` up to ``first_rows[i + 1]``.
    """

    uri: str
    table: pa.Table
    shards: tuple[str, ...]
    first_rows: tuple[int, ...]
    digest: str

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def row(self, number: int) -> dict[str, Any]:
        """One row as plain Python."""
        row: dict[str, Any] = self.table.slice(number, 1).to_pylist()[0]
        return row

    def rows_of(self, shard: int) -> list[dict[str, Any]]:
        """The rows of one tar, in its order."""
        first, last = self.first_rows[shard : shard + 2]
        rows: list[dict[str, Any]] = self.table.slice(first, last - first).to_pylist()
        return rows


def index_uri(uri: str, generation: int | None = None) -> str:
    """Where the index of a folder of shards lies; of an earlier generation, the index that was kept of it."""
    root = storage.absolute(uri)
    if generation is None:
        return storage.join(root, layout.INDEX)
    stated = read_manifest(root)
    if generation == stated.get("generation", 1):
        return storage.join(root, layout.INDEX)
    kept = {one["generation"]: one["index"] for one in stated.get("generations", [])}
    if generation not in kept:
        known = ", ".join(map(str, [*kept, stated.get("generation", 1)]))
        raise LLaSOError(f"{uri} has no generation {generation}; there are {known}")
    return storage.join(root, f"index-{generation:06d}.arrow")


def open_index(
    uri: str, whole: bool = True, copy: str | None = None, trusted: bool = False, generation: int | None = None
) -> Index:
    """The index of a folder of shards, checked as :func:`~llaso_data.shards.index.open_arrow` does.

    Args:
        uri: The folder.
        whole: Look at every value; without it only at the structure of the table.
        copy: A local copy of the index, to be mapped instead.
        trusted: Its checksum was compared before.
        generation: Of a set that has grown, the generation to read, counted from 1; None: the last.

    Raises:
        LLaSOError: There is none, or it cannot be read.
    """
    path = copy or index_uri(uri, generation)
    try:
        table = open_arrow(path, whole, trusted)
    except FileNotFoundError as error:
        raise LLaSOError(
            f"{uri} has no {layout.INDEX}: run `llaso-data shard` to the end, or `llaso-data index` for other tars"
        ) from error
    metadata = stated(table, path)
    check_version(metadata.get("llaso.format_version"), path)
    try:
        names = json.loads(metadata["llaso.shards"])
        shards = tuple(locate(uri, name) for name in names)
        column = table["shard"].cast(SHARD_COLUMN.type)
        shard_of = np.concatenate([np.zeros(0, np.int32), *map(numbers, column.chunks)])
        digest = metadata["llaso.dataset"]
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, pa.ArrowException) as error:
        raise ShardError(f"{path} does not list its shards; build the index again") from error
    disordered = np.any(shard_of[1:] < shard_of[:-1])
    if len(shard_of) and (disordered or shard_of[0] < 0 or shard_of[-1] >= len(shards)):
        raise ShardError(f"{path} names shards that it does not list, or in no order; build the index again")
    first_rows = np.searchsorted(shard_of, np.arange(len(shards) + 1)).tolist()
    return Index(storage.absolute(uri), table, shards, tuple(first_rows), digest)


def read_manifest(uri: str) -> dict[str, Any]:
    """The manifest of a folder of shards.

    Raises:
        LLaSOError: There is none, it is damaged, or it is of another format.
    """
    path = storage.join(storage.absolute(uri), layout.MANIFEST)
    try:
        manifest = storage.read_json(path)
    except FileNotFoundError as error:
        raise LLaSOError(f"{uri} has no {layout.MANIFEST}: it is no finished set of shards") from error
    except ValueError as error:
        raise LLaSOError(f"{path} is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != layout.FORMAT:
        raise LLaSOError(f"{path} is not the manifest of shards")
    check_version(manifest.get("format_version"), path)
    return checksums.opened(manifest, path, "; fetch it again, or remove it and write the shards or the index again")


def check_version(version: object, path: str) -> None:
    """Refuse what a newer LLaSO wrote.

    Args:
        version: The format version that is stated.
        path: Where, for the error.

    Raises:
        LLaSOError: It is higher than this version knows, or no version.
    """
    if str(version) not in map(str, range(layout.FORMAT_VERSION + 1)):
        raise LLaSOError(f"{path} has format version {version}; this LLaSO reads up to {layout.FORMAT_VERSION}")


def locate(uri: str, path: str) -> str:
    """The URI of a tar that a manifest or an index names.

    Args:
        uri: The dataset's folder.
        path: Relative to it, or in full.

    Raises:
        ShardError: No index of ours has such a path. A set that was fetched could name any file here.
    """
    if (why := _misplaced(path, storage.scheme(uri))) is not None:
        raise ShardError(f"{uri} names {uris.shown(path)!r} as a shard, which {why}; do not trust it, or index it anew")
    return path if uris.scheme(path) or path.startswith("/") else storage.join(storage.absolute(uri), path)


def _misplaced(path: str, home: str) -> str | None:
    """Why a path is none of a shard: only tars are, below the dataset's folder or named in full as `index` does it."""
    if (why := uris.refused(path, home)) is not None:
        return why
    if uris.scheme(path) == "file" or not path.endswith(CONTAINERS) or "\0" in path:
        return f"is no path of a {', '.join(CONTAINERS)}"
    if path.startswith("/") and home in ("http", "https", "hf"):
        return "is a file of this machine"  # nothing writes an index there; it came from elsewhere
    inside = path.partition("://")[2] or path
    if ".." in inside.split("/"):
        return "leads out of its folder"
    return None


def read_sample(shard: str, row: Mapping[str, Any]) -> dict[str, bytes]:
    """The parts of one sample.

    Args:
        shard: The tar's path or URI.
        row: The sample's row of the index.

    Returns:
        The bytes of each part by name.

    Raises:
        ShardError: The tar or bytes of it are missing, or they do not have the CRC-32 of the index.
    """
    with open_shard(shard) as file:
        return read_parts(file, shard, row)


@contextmanager
def open_shard(shard: str) -> Iterator[IO[bytes]]:
    """A tar open for reading.

    Raises:
        ShardError: It is not there.
    """
    try:
        with storage.open_read(shard) as file:
            yield file
    except FileNotFoundError as error:
        raise ShardError(f"{shard} is missing; fetch or write the shards again") from error


def read_parts(file: IO[bytes], shard: str, row: Mapping[str, Any]) -> dict[str, bytes]:
    """As :func:`read_sample`, from a tar that is open already. On a local file it does not move the position."""
    return {part["ext"]: _read(file, shard, row["key"], part) for part in row["parts"]}


def iterate(uri: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Every sample of a dataset as (key, parts), in the order of the index; each tar is opened once."""
    index = open_index(uri)
    for number, shard in enumerate(index.shards):
        with open_shard(shard) as file:
            for row in index.rows_of(number):
                yield row["key"], read_parts(file, shard, row)


def samples(uri: str) -> Iterator[tuple[Sample, dict[str, bytes]]]:
    """Every sample of a dataset as a record, in the order of the index, with its encoded sound.

    Args:
        uri: A folder of shards that ``llaso-data`` wrote. Tars made elsewhere have other JSON, or none: those are for
            :func:`iterate`.

    Yields:
        The sample, and the bytes of its audios by part name, in the order of ``sample.audios``.

    Raises:
        LLaSOError: There is no index, a part is damaged, or a JSON is not of the form of ``shards/SPEC.md``.
    """
    for key, parts in iterate(uri):
        try:
            sample, names = _described(parts)
            sounds = {name: parts[name] for name in names}
        except (KeyError, LLaSOError) as error:
            why = f"it has no part {error}" if isinstance(error, KeyError) else str(error)
            raise ShardError(f"{uri}: sample {key}: {why}; `llaso-data validate` says more") from error
        yield sample, sounds


@dataclass(frozen=True, slots=True)
class StoredSample:
    """A sample of shards without its sound.

    Attributes:
        shard: The tar's URI.
        key: Its key.
        sample: What its JSON says.
        parts: The name of the part that holds each of its audios.
        row: Its row of the index.
    """

    shard: str
    key: str
    sample: Sample
    parts: tuple[str, ...]
    row: Mapping[str, Any]


def stored_samples(uri: str) -> Iterator[StoredSample | ShardError]:
    """Every sample of a dataset without its sound, in the order of the index; only the JSON parts are read.

    Of a set that is indexed in place the JSON lies in the index, and ``llaso_data.shards.in_place`` reads it.

    Yields:
        The sample, or what is wrong with it.

    Raises:
        LLaSOError: There is no index, or a tar is missing.
    """
    index = open_index(uri)
    for number, shard in enumerate(index.shards):
        with open_shard(shard) as file:
            for row in index.rows_of(number):
                described = [part for part in row["parts"] if part["ext"] == layout.JSON_PART]
                try:
                    parts = read_parts(file, shard, {**row, "parts": described})
                    sample, names = _described(parts)
                except (KeyError, LLaSOError) as error:
                    yield ShardError(f"{shard}: sample {row['key']}: {error}")
                    continue
                yield StoredSample(shard, row["key"], sample, tuple(names), row)


def _described(parts: Mapping[str, bytes]) -> tuple[Sample, list[str]]:
    """The sample that a JSON part describes, and the names of its audio parts."""
    try:
        content = json.loads(parts[layout.JSON_PART])
    except (ValueError, RecursionError) as error:
        raise LLaSOError(f"its JSON cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise LLaSOError(f"its JSON is of type {type(content).__name__}, not an object")
    check_version(content.get("format_version"), "its JSON")
    return layout.decode_sample(content), [entry["part"] for entry in content["audios"]]


def _read(file: IO[bytes], shard: str, key: str, part: Mapping[str, Any]) -> bytes:
    if part["offset"] < 0 or part["size"] < 0:
        raise ShardError(f"{shard}: the index says that {key}.{part['ext']} lies before the start; build it again")
    data = _piece(file, part["offset"], part["size"])
    if (damage := fault(data, part["size"], part["crc32"])) is not None:
        raise ShardError(f"{shard}: {key}.{part['ext']} {damage}; the file is damaged")
    return data


def fault(data: bytes, size: int, crc: int) -> str | None:
    """What is wrong with the bytes of a part, or None; ``size`` and ``crc`` are what the index says of it."""
    if len(data) != size:
        return f"is cut short ({len(data)} of {size} bytes)"
    return None if crc in (NOT_SUMMED, crc32(data)) else "has another CRC-32 than the index"


def pread(descriptor: int, offset: int, size: int) -> bytes:
    """Up to ``size`` bytes of an open local file; fewer only where it ends."""
    plain = size < _LARGE_BYTES and offset < 1 << 62
    length = offset + size if plain else os.fstat(descriptor).st_size
    return _whole(lambda at, count: os.pread(descriptor, count, at), offset, size, length)


def _piece(file: IO[bytes], offset: int, size: int) -> bytes:
    """The same of any file."""

    def read(at: int, count: int) -> bytes:
        file.seek(at)
        return file.read(count)

    try:
        descriptor = file.fileno()
    except (OSError, AttributeError):
        return _whole(read, offset, size, file.seek(0, os.SEEK_END))
    return pread(descriptor, offset, size)


def _whole(read: Callable[[int, int], bytes], offset: int, size: int, length: int) -> bytes:
    """What ``read(offset, size)`` gives, asked again where a signal or a network's file system gave less."""
    left = min(size, length - offset)
    pieces: list[bytes] = []
    while left > 0 and (piece := read(offset, left)):
        pieces.append(piece)
        offset, left = offset + len(piece), left - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
