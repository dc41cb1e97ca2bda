"""The end of a conversion: tables are made of the parts' lines, shards get their index and manifest."""

from __future__ import annotations

import gzip
import heapq
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

from llaso_data.errors import LLaSOError
from llaso_data.formats import LAYOUTS
from llaso_data.io import storage
from llaso_data.pipeline.convert.part import SHARDS, PartResult, lines_uri
from llaso_data.shards import index, layout, manifest, reader
from llaso_data.shards.index import ShardInfo

_MERGED_AT_ONCE = 256
_COPY_BYTES = 1 << 20


def finish_group(
    out: str, results: Sequence[PartResult], to: str, dataset: str, options: Mapping[str, Any], grows: bool = False
) -> dict[str, Any]:
    """Finish the set in one folder.

    Args:
        out: The folder.
        results: Its parts, in order.
        to: What is written.
        dataset: Digest of the conversion.
        options: What it was made with, for the manifest of shards.
        grows: Whether some of the parts are of an earlier generation, whose index of shards is kept.

    Returns:
        What the summary says of the set.
    """
    samples = sum(result.samples for result in results)
    seconds = sum(result.duration_s for result in results)
    stated: dict[str, Any] = {
        "samples": samples,
        "hours": manifest.hours(seconds),
        "bytes": sum(result.bytes for result in results),
        "parts": len(results),
    }
    if to == SHARDS:
        infos = [result.info for result in results if result.info is not None]
        grows = grows and storage.exists(storage.join(out, layout.MANIFEST))  # earlier parts may all be empty
        if grows:
            infos = [*_earlier(out, {info.path for info in infos}), *infos]
        if infos:
            pairs = [(storage.join(out, layout.sidecar_name(info.path)), info) for info in infos]
            made = manifest.finish(
                out,
                pairs,
                profile=manifest.LLASO,
                plan=dataset,
                options=dict(options),
                source={"convert": dataset},
                grows=grows,
            )
            stated |= {"digest": made["digest"], "languages": made["languages"], "shards": len(infos)}
        return stated
    for name, order, header in _tables(results):
        _assemble(out, name, order, header, results)
    writer = LAYOUTS[to].writer
    if writer is not None and writer.once is not None:
        writer.once(out, len(results))
    return stated


def _earlier(out: str, new: Collection[str]) -> list[ShardInfo]:
    """The shards that the manifest names and this run did not write."""
    paths = [entry["path"] for entry in reader.read_manifest(out)["shards"] if entry["path"] not in new]
    infos = [(path, index.sidecar_info(storage.join(out, layout.sidecar_name(path)))) for path in paths]
    gone = [path for path, info in infos if info is None]
    if gone:
        raise LLaSOError(f"{out}: the index of {gone[0]} is gone or damaged; convert everything again")
    return [info for _, info in infos if info is not None]


def _tables(results: Sequence[PartResult]) -> list[tuple[str, str, str | None]]:
    tables: dict[str, tuple[str, str, str | None]] = {}
    for result in results:
        for table in result.tables:
            tables.setdefault(table[0], table)
    return [tables[name] for name in sorted(tables)]


def _assemble(out: str, name: str, order: str, header: str | None, results: Sequence[PartResult]) -> None:
    """Make one table, whole, of the lines of all parts."""
    parts = [
        lines_uri(out, result.number, number)
        for result in results
        for number, table in enumerate(result.tables)
        if table[0] == name
    ]
    with storage.whole(storage.join(out, name)) as path, open(path, "wb") as raw:
        file: Any = gzip.GzipFile("", "wb", 6, raw, mtime=0) if name.endswith(".gz") else raw
        if header is not None:
            file.write(header.encode() + b"\n")
        if order == "json_list":
            _write_list(file, parts)
        else:
            for line in _sorted_lines(parts) if order == "sorted" else _lines(parts):
                file.write(line)
        if file is not raw:
            file.close()


def _lines(parts: Iterable[str]) -> Iterator[bytes]:
    for uri in parts:
        with storage.open_read(uri) as file:
            while piece := file.read(_COPY_BYTES):
                yield piece


def _sorted_lines(parts: Sequence[str]) -> Iterator[bytes]:
    """The lines of all parts in the order of their bytes; few files are open at once."""
    with ExitStack() as stack:
        runs = [stack.enter_context(_sorted_run(parts[at : at + 64])) for at in range(0, len(parts), 64)]
        while len(runs) > _MERGED_AT_ONCE:
            joined = stack.enter_context(_spilled(heapq.merge(*runs[:_MERGED_AT_ONCE])))
            runs = [*runs[_MERGED_AT_ONCE:], joined]
        yield from heapq.merge(*runs)


def _sorted_run(parts: Sequence[str]) -> IO[bytes]:
    lines: list[bytes] = []
    for uri in parts:
        with storage.open_read(uri) as file:
            lines += file.readlines()
    return _spilled(iter(sorted(lines)))


def _spilled(lines: Iterator[bytes]) -> IO[bytes]:
    import tempfile

    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.writelines(lines)
    file.seek(0, os.SEEK_SET)
    return file


def _write_list(file: Any, parts: Iterable[str]) -> None:
    """Lines that are the JSON of an item each, as one list; an item's own lines are indented by two."""
    separator = b"[\n"
    for uri in parts:
        with storage.open_read(uri) as lines:
            for line in lines:
                file.write(separator + b"  " + line.rstrip(b"\n"))
                separator = b",\n"
    file.write(b"[]\n" if separator == b"[\n" else b"\n]\n")
