"""Which accepted record goes into which shard: a pure function of the records' ids, the seed and the shard's size.

Records of one file stay together, so that a long recording is decoded for few shards; files scatter at random.
Only the columns that decide this are read, and no step loops over rows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llaso_data import recipe, records
from llaso_data.errors import LLaSOError
from llaso_data.filters import columns
from llaso_data.filters.duplicates import Hashes
from llaso_data.io.prng import splitmix64
from llaso_data.pipeline import commit
from llaso_data.pipeline.seen_ids import SeenIds
from llaso_data.shards import layout
from llaso_data.shards.removal import Removed

_THREADS = 8
_FILES_AT_ONCE = 32
_COLUMNS = ("id", "recording", "source.uri", "source.member", "source.start_s", "source.end_s")
_OF_REMOVAL = ("audio_id", "speaker.id")

_FOREIGN = "{}: the verdicts do not belong to the observations; run `llaso-data build-align` again"

U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Samples in the order of the shards: sample ``i`` is row ``row[i]`` of observation file ``names[block[i]]``.

    ``dataset`` is the digest of what was accepted, ``provenance`` what the manifest says of it.
    """

    names: tuple[str, ...]
    block: I32
    row: I32
    samples_per_shard: int
    dataset: str
    provenance: dict[str, Any] = field(repr=False)

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.row)

    @property
    def shards(self) -> int:
        """How many the samples fill; the last may have fewer samples than the others."""
        return -(-self.samples // self.samples_per_shard)

    def rows(self, shard: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The shard's rows by observation file: files in the order of the manifest, rows ascending."""
        cut = slice(shard * self.samples_per_shard, (shard + 1) * self.samples_per_shard)
        block, row = self.block[cut], self.row[cut]
        order = np.lexsort((row, block))
        block, row = block[order], row[order]
        boundaries = np.flatnonzero(np.diff(block)) + 1
        groups = zip(np.split(block, boundaries), np.split(row, boundaries), strict=True)
        return tuple((self.names[int(blocks[0])], tuple(rows.tolist())) for blocks, rows in groups)


def plan(source: str, spec: recipe.Shard, known: SeenIds | None = None, removed: Removed | None = None) -> ShardPlan:
    """Read the manifest, the verdicts and the columns that decide.

    Args:
        source: The output of ``build-align``.
        spec: Samples per shard, and the seed of the order.
        known: Utterances that are in shards already, and are not planned again.
        removed: What was taken out of the set, and is not planned again.

    Raises:
        LLaSOError: Nothing was accepted, or verdicts and observations do not belong together.
    """
    stated = commit.manifest(source)
    names = tuple(stated["blocks"])
    ids, verdicts = _verdicts(source, stated["verdicts"])
    if not verdicts.any():
        raise LLaSOError(f"{source}: none of {len(ids)} records was accepted, so there is nothing to write")
    accepted = _accepted(source, names, ids, verdicts, removed)
    if known is not None:
        accepted = _of_rows(accepted, ~known.known(accepted.ids))
    del ids, verdicts
    chosen = order(accepted.ids, file_hashes(accepted.recordings, accepted.files), accepted.start_s, spec.seed)
    return ShardPlan(
        names=names,
        block=accepted.block[chosen],
        row=accepted.row[chosen],
        samples_per_shard=spec.samples_per_shard,
        dataset=records.digest("dataset", stated["format_version"], stated["verdicts"], *names),
        provenance={
            "blocks": len(names),
            "verdicts": stated["verdicts"],
            "recipe": records.digest(layout.canonical(stated.get("recipe"))),
        },
    )


def order(ids: Hashes, files: U64, start_s: F64, seed: int) -> I64:
    """The permutation that puts samples into shard order.

    Args:
        ids: The 128-bit ids, shape (n, 2).
        files: One hash per audio file, shape (n,).
        start_s: Where each sample begins in its file, seconds, shape (n,).
        seed: Decides the order of the files.

    Returns:
        Row numbers, shape (n,): files in the order of their hash mixed with the seed, samples of one file by start and
        id.
    """
    return np.lexsort((ids[:, 1], ids[:, 0], start_s, seeded(files, seed))).astype(np.int64)


def seeded(values: U64, seed: int) -> U64:
    """A bijective scramble of 64-bit numbers that depends on the seed."""
    return splitmix64(values ^ np.uint64(int(records.digest("splitmix64", seed, length=16), 16)))


def file_hashes(recordings: U64, files: U64) -> U64:
    """One number per row, equal where the audio lies in the same file, whatever folder the corpus stands in.

    Args:
        recordings: The first word of each recording's id, shape (n,): the result for a whole file.
        files: A key of the file where a row is a span of one, zero elsewhere, shape (n,). Spans that a manifest gave
            are recordings of their own, so the smallest number of the file stands for all.

    Returns:
        Shape (n,).
    """
    hashes: U64 = recordings.copy()
    spans = np.flatnonzero(files)
    if len(spans):
        keys, codes = np.unique(files[spans], return_inverse=True)
        smallest: U64 = np.full(len(keys), np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(smallest, codes, recordings[spans])
        hashes[spans] = smallest[codes]
    return hashes


@dataclass(frozen=True, slots=True)
class _Accepted:
    """What decides, one row per accepted record: 128-bit ids (n, 2), first words of the recordings' ids, keys of the
    files of spans (zero for whole files), starts, and where the record lies."""

    ids: Hashes
    recordings: U64
    files: U64
    start_s: F64
    block: I32
    row: I32


def _verdicts(source: str, digest: str) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """The ids of all verdicts, and which of them accept."""
    uri = commit.verdicts_uri(source, digest)
    ids, accepted = [np.zeros((0, 2), np.uint64)], [np.zeros(0, bool)]
    with columns.reading(uri) as file:
        for batch in pq.ParquetFile(file).iter_batches(columns=["id", "verdict"]):
            table = pa.Table.from_batches([batch])
            table.validate(full=True)
            ids.append(columns.hashes(table["id"], "id"))
            accepted.append(columns.flags(pc.equal(table["verdict"], records.ACCEPTED)))
    return np.concatenate(ids), np.concatenate(accepted)


def _of_rows(accepted: _Accepted, kept: npt.NDArray[np.bool_]) -> _Accepted:
    return _Accepted(*(getattr(accepted, field.name)[kept] for field in fields(_Accepted)))


def _accepted(
    source: str,
    names: tuple[str, ...],
    ids: Hashes,
    accepted: npt.NDArray[np.bool_],
    removed: Removed | None,
) -> _Accepted:
    """The accepted rows of the observations, which must have these ids in this order.

    Files are read a group at a time: what a rejected row says, and every text, is gone before the next group.
    """
    if not names:
        raise LLaSOError(f"{source}: the manifest names no blocks, so there is nothing to write")
    groups: list[_Accepted] = []
    wanted = (*_COLUMNS, *_OF_REMOVAL) if removed else _COLUMNS
    rows = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(names), _FILES_AT_ONCE):
            uris = [commit.block_uri(source, name) for name in names[start : start + _FILES_AT_ONCE]]
            tables = list(pool.map(lambda uri: columns.read(uri, wanted), uris))
            sizes = [len(table) for table in tables]
            table = pa.concat_tables(tables)
            cut = slice(rows, rows + len(table))
            rows += len(table)
            if not np.array_equal(columns.hashes(table["id"], "id"), ids[cut]):
                raise LLaSOError(_FOREIGN.format(source))
            block = np.repeat(np.arange(start, start + len(tables), dtype=np.int32), sizes)
            row = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
            kept = np.flatnonzero(accepted[cut] & ~_removed(table, removed) if removed else accepted[cut])
            table = table.take(pa.array(kept))
            groups.append(
                _Accepted(
                    ids=ids[cut][kept],
                    recordings=columns.hashes(table["recording"], "recording")[:, 0].copy(),
                    files=_file_keys(table),
                    start_s=pc.fill_null(table["source.start_s"], 0.0).to_numpy(),
                    block=block[kept],
                    row=row[kept],
                )
            )
    if rows != len(ids):
        raise LLaSOError(_FOREIGN.format(source))
    return _Accepted(*(np.concatenate([getattr(group, field.name) for group in groups]) for field in fields(_Accepted)))


def _removed(table: pa.Table, removed: Removed) -> npt.NDArray[np.bool_]:
    """Which rows were taken out."""
    names = pa.array(sorted(removed.names), pa.string())
    gone = np.zeros(len(table), bool)
    for column in ("id", "recording", "audio_id", "source.uri"):
        gone |= columns.flags(pc.fill_null(pc.is_in(table[column], value_set=names), False))
    speakers = pc.dictionary_encode(pc.struct_field(table["speaker.id"], "value").combine_chunks())
    is_removed = [removed.names_speaker(speaker) for speaker in speakers.dictionary.to_pylist()]
    gone |= np.array([*is_removed, False], bool)[pc.fill_null(speakers.indices, len(is_removed)).to_numpy()]
    return gone


def _file_keys(table: pa.Table) -> U64:
    """A number for the file of every span, zero for whole files. Two files with one number would share shards, and
    nothing else."""
    is_span = pc.or_(pc.is_valid(table["source.start_s"]), pc.is_valid(table["source.end_s"]))
    name = pc.binary_join_element_wise(table["source.uri"], pc.fill_null(table["source.member"], ""), "\0")
    keys: U64 = np.zeros(len(table), np.uint64)
    encoded = pc.dictionary_encode(name.filter(is_span).combine_chunks())
    of_file = [int(records.digest("file", file, length=16), 16) for file in encoded.dictionary.to_pylist()]
    if of_file:
        keys[columns.flags(is_span)] = np.array(of_file, np.uint64)[encoded.indices.to_numpy()]
    return keys
