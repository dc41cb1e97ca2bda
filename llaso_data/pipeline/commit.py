"""A block's part: one immutable Parquet object named by the block's digest. Its existence is the commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from llaso_data import storage
from llaso_data.records import Utterance, from_table, to_table


def part_uri(out: str, block: str) -> str:
    return storage.join(out, "observations", f"{block}.parquet")


def verdicts_uri(out: str, name: str) -> str:
    return storage.join(out, "verdicts", f"{name}.parquet")


def manifest_uri(out: str) -> str:
    return storage.join(out, "manifest.json")


def committed(out: str) -> set[str]:
    """The names of all blocks that are observed, by one listing."""
    rows = storage.listing(storage.join(out, "observations"))
    return {row["path"].removesuffix(".parquet") for row in rows if row["path"].endswith(".parquet")}


def write_part(out: str, block: str, utterances: Sequence[Utterance]) -> None:
    write_table(part_uri(out, block), to_table(utterances, Utterance))


def read_part(out: str, block: str) -> list[Utterance]:
    with storage.open_read(part_uri(out, block)) as file:
        return from_table(pq.read_table(file), Utterance)


def observed(out: str) -> Iterator[Utterance]:
    """All utterances of a finished run, in the order of the manifest's blocks; one block in memory at a time."""
    for block in storage.read_json(manifest_uri(out))["blocks"]:
        yield from read_part(out, block)


def write_table(uri: str, table: pa.Table) -> None:
    """The same table gives the same bytes with the same pyarrow."""
    with storage.whole(uri) as path:
        pq.write_table(table, path, compression="zstd", compression_level=3)
