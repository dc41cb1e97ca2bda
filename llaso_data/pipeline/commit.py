"""A block's file: one immutable Parquet object named by the block's digest. Its existence is the commit.

Block files and verdict tables carry a checksum of their bytes, which whoever reads one compares.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llaso_data.errors import LLaSOError
from llaso_data.filters import columns
from llaso_data.io import checksums, sealed, storage
from llaso_data.records import FORMAT_VERSION, Utterance, Verdict, completed, from_table, schema, to_table

_ROWS_AT_ONCE = 1 << 16


def block_uri(out: str, block: str) -> str:
    """Where the utterances of a block lie."""
    return storage.join(out, "observations", f"{block}.parquet")


def verdicts_uri(out: str, name: str) -> str:
    """Where the verdicts of this name lie."""
    return storage.join(out, "verdicts", f"{name}.parquet")


def manifest_uri(out: str) -> str:
    """Where the summary of a run lies."""
    return storage.join(out, "manifest.json")


def manifest(out: str) -> dict[str, Any]:
    """The summary of a finished run.

    Raises:
        LLaSOError: There is none, it is damaged, or it is of another format.
    """
    path = manifest_uri(out)
    try:
        stated: dict[str, Any] = checksums.read_json(path, "; remove it and run `llaso-data build-align` again")
    except FileNotFoundError as error:
        raise LLaSOError(
            f"{out}: no finished run of build-align ({path} is missing); run `llaso-data build-align` to its end first"
        ) from error
    except ValueError as error:
        raise LLaSOError(f"{path} is not JSON: {error}; remove it and run `llaso-data build-align` again") from error
    if not is_manifest(stated):
        raise LLaSOError(f"{path} is not the manifest of `llaso-data build-align`")
    if stated.get("format_version") != FORMAT_VERSION:
        raise LLaSOError(f"{path} has format version {stated.get('format_version')}, this LLaSO reads {FORMAT_VERSION}")
    return stated


def is_manifest(stated: Any) -> bool:
    """Whether JSON has what every version's manifest of build-align has."""
    named = stated.get("blocks") if isinstance(stated, dict) else None
    return isinstance(named, list) and all(map(_is_name, [*named, stated.get("verdicts")]))


def _is_name(name: object) -> bool:
    """Whether it is a digest's, and leads nowhere else."""
    return isinstance(name, str) and re.fullmatch(r"[\w-]+", name, re.ASCII) is not None


def committed(out: str) -> set[str]:
    """The names of all blocks that are observed, by one listing."""
    rows = storage.listing(storage.join(out, "observations"))
    return {row["path"].removesuffix(".parquet") for row in rows if row["path"].endswith(".parquet")}


def write_block(out: str, block: str, utterances: Sequence[Utterance]) -> None:
    """Commit the utterances of a block."""
    write_table(block_uri(out, block), to_table(utterances, Utterance))


def read_block(out: str, block: str) -> list[Utterance]:
    """The utterances of a block.

    Raises:
        LLaSOError: Its file is damaged or missing.
    """
    with columns.reading(block_uri(out, block)) as file:
        return from_table(pq.read_table(file), Utterance)


def voices_uri(out: str, block: str) -> str:
    """Where the vectors of a block's voices lie, where ``observe.speakers`` is enabled."""
    return storage.join(out, "voices", f"{block}.parquet")


def write_voices(out: str, block: str, voices: pa.Table) -> None:
    """Write the vectors of a block's voices, before the block is committed."""
    write_table(voices_uri(out, block), voices)


def read_voices(out: str, block: str) -> pa.Table:
    """The vectors of a block's voices, a table of ``observe_voices.SCHEMA``.

    Raises:
        LLaSOError: The file is damaged or missing.
    """
    with columns.reading(voices_uri(out, block)) as file:
        return pq.read_table(file)


def observed(out: str) -> Iterator[Utterance]:
    """All utterances of a finished run, in the order of the manifest's blocks; one block in memory at a time."""
    for block in manifest(out)["blocks"]:
        yield from read_block(out, block)


def judged(out: str, stated: Mapping[str, Any], wanted: Sequence[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The verdicts of every block, and beside them columns of its observations.

    Args:
        out: The run's output.
        stated: Its manifest.
        wanted: Which columns; ``id`` is among them.

    Yields:
        (verdicts, observations) of a block, row by row of the same utterances.

    Raises:
        LLaSOError: Verdicts and observations do not belong together.
    """
    table = verdicts_uri(out, stated["verdicts"])
    with columns.reading(table) as file:
        parquet = pq.ParquetFile(file)
        columns.check(table, parquet.schema_arrow, Verdict, schema(Verdict).names)
        verdicts = _Rows(parquet)
        for block in stated["blocks"]:
            observations = columns.nested(block_uri(out, block), wanted)
            judgements = completed(verdicts.take(len(observations)), Verdict, schema(Verdict).names)
            if not judgements["id"].equals(observations["id"]):
                raise LLaSOError(f"{out}: the verdicts do not belong to the observations; run build-align again")
            yield judgements, observations


class _Rows:
    """The rows of a Parquet file in order, as many as asked for at a time; few are in memory."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._batches = file.iter_batches(batch_size=_ROWS_AT_ONCE)
        self._rest = file.schema_arrow.empty_table()

    def take(self, count: int) -> pa.Table:
        pieces = [self._rest]
        have = len(self._rest)
        while have < count and (batch := next(self._batches, None)) is not None:
            batch.validate(full=True)
            pieces.append(pa.Table.from_batches([batch]))
            have += len(batch)
        table = pa.concat_tables(pieces)
        self._rest = table.slice(count)
        return table.slice(0, count)


def write_table(uri: str, table: pa.Table) -> None:
    """The same table gives the same bytes with the same pyarrow."""
    sealed.write_parquet(uri, table, compression="zstd", compression_level=3)
