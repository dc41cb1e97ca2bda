"""Which accepted record goes into which shard: a pure function of the records' ids, the seed and the shard's size.

Records of one file stay together, so that a long recording is decoded for few shards; files scatter at random.
Only the columns that decide this are read, and no step loops over rows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llaso_data import records, storage
from llaso_data.errors import LLaSOError
from llaso_data.pipeline import commit, recipe
from llaso_data.shards import layout

_THREADS = 8
_COLUMNS = ("id", "recording", "source.uri", "source.member", "source.start_s", "source.end_s")

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Plan:
    """Samples in the order of the shards: sample ``i`` is row ``row[i]`` of observation file ``names[part[i]]``.

    ``dataset`` is the digest of what was accepted, ``provenance`` what the manifest says of it.
    """

    names: tuple[str, ...]
    part: I64
    row: I64
    samples_per_shard: int
    dataset: str
    provenance: dict[str, Any] = field(repr=False)

    @property
    def samples(self) -> int:
        return len(self.row)

    @property
    def shards(self) -> int:
        return -(-self.samples // self.samples_per_shard)

    def rows(self, shard: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The shard's rows by observation file: files in the order of the manifest, rows ascending."""
        cut = slice(shard * self.samples_per_shard, (shard + 1) * self.samples_per_shard)
        part, row = self.part[cut], self.row[cut]
        order = np.lexsort((row, part))
        part, row = part[order], row[order]
        borders = np.flatnonzero(np.diff(part)) + 1
        groups = zip(np.split(part, borders), np.split(row, borders), strict=True)
        return tuple((self.names[int(parts[0])], tuple(rows.tolist())) for parts, rows in groups)


def plan(source: str, spec: recipe.Shard) -> Plan:
    """Read the manifest, the verdicts and the columns that decide. Raises LLaSOError where they do not fit."""
    stated = _manifest(source)
    names = tuple(stated["blocks"])
    ids, verdicts = _verdicts(source, stated["verdicts"])
    observed = _observed(source, names)
    if not np.array_equal(ids, observed.ids):
        raise LLaSOError(
            f"{source}: the verdicts do not belong to the observations; run `llaso-data build-align` again"
        )
    accepted = np.flatnonzero(verdicts)
    if not len(accepted):
        raise LLaSOError(f"{source}: none of {len(ids)} records was accepted, so there is nothing to write")
    observed = observed.take(accepted)
    chosen = order(observed.ids, file_hashes(observed.recordings, observed.files), observed.start_s, spec.seed)
    return Plan(
        names=names,
        part=observed.part[chosen],
        row=observed.row[chosen],
        samples_per_shard=spec.samples_per_shard,
        dataset=records.digest("dataset", stated["format_version"], stated["verdicts"], *names),
        provenance={
            "blocks": len(names),
            "verdicts": stated["verdicts"],
            "recipe": records.digest(layout.canonical(stated.get("recipe"))),
        },
    )


def order(ids: U64, files: U64, start_s: F64, seed: int) -> I64:
    """The permutation that puts samples into shard order.

    ``ids`` has shape (n, 2) (the 128-bit ids), ``files`` (n,) one hash per audio file, ``start_s`` (n,). Files come
    in the order of their hash mixed with the seed, samples of one file by start and id.
    """
    return np.lexsort((ids[:, 1], ids[:, 0], start_s, splitmix64(files, seed))).astype(np.int64)


def splitmix64(values: U64, seed: int) -> U64:
    """A bijective scramble of 64-bit numbers that depends on the seed (Steele et al. 2014, "splitmix64")."""
    mixed = values ^ np.uint64(int(records.digest("splitmix64", seed, length=16), 16))
    mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return cast(U64, mixed ^ (mixed >> np.uint64(31)))


def hex_words(column: pa.Array) -> U64:
    """Ids of 32 hex digits as (n, 2) 64-bit words, the first digits in the first word."""
    text = pc.cast(column, pa.binary())
    if not pc.all(pc.fill_null(pc.match_substring_regex(column, "^[0-9a-f]{32}$"), False), min_count=0).as_py():
        raise LLaSOError("an id does not have 32 hexadecimal digits; the observations are damaged")
    digits = np.frombuffer(text.buffers()[2] or b"", np.uint8)[32 * text.offset :][: 32 * len(text)].reshape(-1, 32)
    # The low nibble of '0' to '9' is the digit; that of 'a' to 'f', whose codes are above 63, is nine less.
    nibbles = (digits & 0x0F) + 9 * (digits >> 6)
    packed = np.ascontiguousarray((nibbles[:, 0::2] << 4) | nibbles[:, 1::2])
    return cast(U64, packed.view(">u8").astype(np.uint64))


def file_hashes(recordings: U64, files: pa.ChunkedArray) -> U64:
    """One number per row, equal where the audio lies in the same file, whatever folder the corpus stands in.

    ``recordings`` (n,) is the first word of the recording's id and the answer for a whole file. ``files`` names the
    file where a row is a span of one, null elsewhere: spans that a manifest gave are recordings of their own, so the
    smallest number of the file stands for all.
    """
    hashes: U64 = recordings.copy()
    spans = np.flatnonzero(pc.is_valid(files).to_numpy())
    if len(spans):
        codes = files.drop_null().combine_chunks().dictionary_encode().indices.to_numpy()
        smallest: U64 = np.full(int(codes.max()) + 1, np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(smallest, codes, recordings[spans])
        hashes[spans] = smallest[codes]
    return hashes


@dataclass(frozen=True, slots=True)
class _Observed:
    """What decides, one row per record: 128-bit ids (n, 2), first words of the recordings' ids, names of the files
    of spans (null for whole files), starts, and where the record lies."""

    ids: U64
    recordings: U64
    files: pa.ChunkedArray
    start_s: F64
    part: I64
    row: I64

    def take(self, rows: I64) -> _Observed:
        return _Observed(
            self.ids[rows],
            self.recordings[rows],
            self.files.take(pa.array(rows)),
            self.start_s[rows],
            self.part[rows],
            self.row[rows],
        )


def _manifest(source: str) -> dict[str, Any]:
    path = commit.manifest_uri(source)
    try:
        stated = storage.read_json(path)
    except FileNotFoundError as error:
        raise LLaSOError(f"{path} does not exist: run `llaso-data build-align` to its end first") from error
    except ValueError as error:
        raise LLaSOError(f"{path} is not JSON: {error}") from error
    if not isinstance(stated, dict) or not {"blocks", "verdicts", "format_version"} <= stated.keys():
        raise LLaSOError(f"{path} is not the manifest of `llaso-data build-align`")
    if stated["format_version"] != records.FORMAT_VERSION:
        raise LLaSOError(
            f"{path} has format version {stated['format_version']}, this LLaSO reads {records.FORMAT_VERSION}"
        )
    return stated


def _verdicts(source: str, digest: str) -> tuple[U64, npt.NDArray[np.bool_]]:
    """The ids of all verdicts, and which of them accept."""
    table = _read(commit.verdicts_uri(source, digest), ["id", "verdict"])
    ids = [hex_words(chunk) for chunk in table["id"].chunks]
    accepted = pc.equal(table["verdict"], records.ACCEPTED).to_numpy()
    return np.concatenate(ids) if ids else np.zeros((0, 2), np.uint64), accepted


def _observed(source: str, names: tuple[str, ...]) -> _Observed:
    if not names:
        raise LLaSOError(f"{source}: the manifest names no blocks, so there is nothing to write")

    def read(number: int) -> _Observed:
        table = _read(commit.part_uri(source, names[number]), list(_COLUMNS)).flatten()
        count = table.num_rows
        table = table.combine_chunks()
        is_span = pc.or_(pc.is_valid(table["source.start_s"]), pc.is_valid(table["source.end_s"]))
        name = pc.binary_join_element_wise(table["source.uri"], pc.fill_null(table["source.member"], ""), "\0")
        return _Observed(
            ids=hex_words(_one(table["id"])),
            recordings=hex_words(_one(table["recording"]))[:, 0],
            files=pc.cast(pc.if_else(is_span, name, None), pa.large_string()),
            start_s=pc.fill_null(table["source.start_s"], 0.0).to_numpy(),
            part=np.full(count, number, np.int64),
            row=np.arange(count, dtype=np.int64),
        )

    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(read, range(len(names))))
    return _Observed(
        ids=np.concatenate([part.ids for part in parts]),
        recordings=np.concatenate([part.recordings for part in parts]),
        files=pa.chunked_array([chunk for part in parts for chunk in part.files.chunks], pa.large_string()),
        start_s=np.concatenate([part.start_s for part in parts]),
        part=np.concatenate([part.part for part in parts]),
        row=np.concatenate([part.row for part in parts]),
    )


def _one(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; a block's file is small."""
    return column.combine_chunks()


def _read(uri: str, columns: list[str]) -> pa.Table:
    try:
        with storage.open_read(uri) as file:
            return pq.ParquetFile(file).read(columns)
    except FileNotFoundError as error:
        raise LLaSOError(f"{uri} is missing; run `llaso-data build-align` again") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise LLaSOError(f"{uri} cannot be read ({error}); run `llaso-data build-align` again") from error
