"""The third stage: each row of a bucket finds the member of an archive that it means."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llaso_data.formats.conversations.llaso_files import llaso_file
from llaso_data.formats.conversations.llaso_reader import LlasoReader
from llaso_data.pipeline.convert.by_archive import work
from llaso_data.pipeline.convert.by_archive.directories import LOOSE, MEMBERS
from llaso_data.pipeline.convert.by_archive.origin import Cost
from llaso_data.pipeline.convert.by_archive.scan import NO_BUCKET, OTHERS, ROWS, decoded
from llaso_data.pipeline.convert.by_archive.suffix_join import I64, longest_common_ends, preferred_order
from llaso_data.pipeline.convert.problems import KEPT, Problems
from llaso_data.records import Failure

FOUND = pa.schema(
    {
        "file": pa.int32(),
        "row": pa.int64(),
        "json": pa.binary(),
        "order": pa.int64(),
        "member": pa.string(),
        "size": pa.int64(),
        "version": pa.string(),
        "broken": pa.string(),
        "others": pa.string(),
    }
)
"""Rows of an archive: the row and its number, and the member of its first audio, as MEMBERS has it. ``member`` is the
stored name; of a loose file its path; null where no archive was searched. ``others``: JSON of [voice, archive, member,
size, version, broken] of each further audio."""
RESOLVED = pa.schema(
    {
        "file": pa.int32(),
        "row": pa.int64(),
        "voice": pa.string(),
        "archive": pa.int32(),
        "member": pa.string(),
        "size": pa.int64(),
        "version": pa.string(),
        "broken": pa.string(),
    }
)
"""Further audios of rows, by the rows' buckets."""

Places = tuple[tuple[str, work.Piece], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTask:
    """One bucket to join: where its rows, the further audios in it and its members lie.

    ``resolved`` are further audios of its rows.
    """

    name: str
    work: str
    bucket: int
    buckets: int
    root: str
    tables: tuple[str, ...]
    rows: Places = ()
    others: Places = ()
    members: Places = ()
    resolved: Places = ()


def resolve_others(task: JoinTask) -> Cost:
    """Find the members of further audios, for the joins of their rows."""
    others = work.read_pieces(task.others, OTHERS)
    members = _members(task)
    found, _ = longest_common_ends(_column(others, "path"), _column(members, "name"))
    others, found = others.filter(pa.array(found >= 0)), found[found >= 0]
    chosen = members.take(pa.array(found))
    arrays = [others["file"], others["row"], others["voice"], *(chosen[name] for name in RESOLVED.names[3:])]
    table = pa.table(arrays, schema=RESOLVED).combine_chunks()
    home = np.asarray(others["home"])
    with work.writing_rows(task.work, task.name) as pieces:
        for bucket in np.unique(home):
            pieces.add(int(bucket), table.filter(pa.array(home == bucket)))
    work.write_record(task.work, task.name, {"places": pieces.stated()})
    return Cost()


def join(task: JoinTask) -> Cost:
    """Join one bucket. Rows without a member are counted as the reader counts them, members without a row too."""
    rows = work.read_pieces(task.rows, ROWS)
    members = _members(task)
    archives = np.asarray(members["archive"])
    if task.bucket == NO_BUCKET:
        found = np.zeros(len(rows), np.int64)
        archives = np.full(1, LOOSE)
        members = pa.table([[None]] * len(members.schema), schema=members.schema)  # one that says nothing
        used, by_name = 0, []
    else:
        found, shared = longest_common_ends(_column(rows, "path"), _column(members, "name"))
        by_name = _by_name(rows, members, found, shared)
        others = work.read_pieces(task.others, OTHERS)
        other, _ = longest_common_ends(_column(others, "path"), _column(members, "name"))
        reached = np.unique(np.concatenate([found, other]))
        used = int(np.count_nonzero(archives[reached[reached >= 0]] != LOOSE))
    problems = _missing(rows.filter(pa.array(found < 0)), task)
    rows, found = rows.filter(pa.array(found >= 0)), found[found >= 0]
    counts = _write(rows, found, members, archives, task)
    unused = int(np.count_nonzero(archives != LOOSE)) - used
    stated: dict[str, Any] = {"unused": unused, "problems": dict(problems.counts), "examples": problems.examples}
    work.write_record(task.work, task.name, {**stated, **counts, "by_name": by_name})
    return Cost()


def _by_name(rows: pa.Table, members: pa.Table, found: I64, shared: I64) -> list[Any]:
    """How many rows have their member by its name alone though both have folders, and the first; else nothing.

    Where an archive was not published, what has its clips' names may be other clips.
    """
    import pyarrow.compute as pc  # here: importing it takes long, and most who import this module run no join

    paths = rows["path"].combine_chunks()
    has_folder = np.asarray(pc.match_substring(paths, "/").to_numpy(zero_copy_only=False), bool)
    places = np.flatnonzero((shared == 1) & has_folder)
    names = members["name"].take(pa.array(found[places]))
    places = places[np.asarray(pc.match_substring(names, "/").to_numpy(), bool)]
    if not len(places):
        return []
    order = np.lexsort((np.asarray(rows["row"])[places], np.asarray(rows["file"])[places]))
    first = places[order[0]]
    return [len(places), paths[int(first)].as_py(), members["name"][int(found[first])].as_py()]


def _members(task: JoinTask) -> pa.Table:
    """The members of a bucket, the preferred first."""
    import pyarrow.compute as pc

    members = work.read_pieces(task.members, MEMBERS).combine_chunks()
    archives, orders = (np.asarray(members[name], np.int64) for name in ("archive", "order"))
    members = members.take(pa.array(preferred_order(_column(members, "name"), archives, orders)))
    stored = pc.coalesce(members["stored"], members["name"])
    return members.append_column("member", stored)


def _write(rows: pa.Table, found: I64, members: pa.Table, archives: npt.NDArray[Any], task: JoinTask) -> dict[str, Any]:
    """Write the rows of each archive in the order of its members."""
    chosen = members.take(pa.array(found))
    others = _others(task)
    numbers = zip(rows["file"].to_pylist(), rows["row"].to_pylist(), strict=True) if others else ()
    stated = [others.get(number) for number in numbers] if others else pa.nulls(len(rows), pa.string())
    arrays = [*(rows[name] for name in FOUND.names[:3]), *(chosen[name] for name in FOUND.names[3:8]), stated]
    table = pa.table(arrays, schema=FOUND).combine_chunks()
    of_row = archives[found]
    member_order = np.asarray(chosen["order"].fill_null(0))
    order = np.lexsort((np.asarray(table["row"]), np.asarray(table["file"]), member_order, of_row))
    table, of_row = table.take(pa.array(order)), of_row[order]
    starts = np.flatnonzero(np.diff(of_row, prepend=LOOSE - 1))
    ends = [*starts[1:], len(of_row)][: len(starts)]
    counts: dict[str, int] = {}
    with work.writing_rows(task.work, task.name) as pieces:
        for start, end in zip(starts, ends, strict=True):
            archive = int(of_row[start])
            pieces.add(archive, table.slice(start, end - start))
            counts[str(archive)] = int(end - start)
    return {"rows": counts, "places": pieces.stated()}


def _others(task: JoinTask) -> dict[tuple[int, int], str]:
    """The further audios of rows, by file and row."""
    found: dict[tuple[int, int], list[list[Any]]] = {}
    for one in work.read_pieces(task.resolved, RESOLVED).to_pylist():
        found.setdefault((one["file"], one["row"]), []).append([one[name] for name in RESOLVED.names[2:]])
    return {number: json.dumps(others) for number, others in found.items()}


def _missing(rows: pa.Table, task: JoinTask) -> Problems:
    """What the reader says of rows whose first audio is nowhere; it also tells those that are broken besides."""
    problems = Problems(kept=KEPT // task.buckets + 1)
    readers: dict[int, LlasoReader] = {}
    for one in rows.select(["file", "row", "json"]).sort_by([("file", "ascending"), ("row", "ascending")]).to_pylist():
        number = one["file"]
        if number not in readers:
            path = task.tables[number]
            uri = f"{task.root}/{path}"
            readers[number] = LlasoReader(task.root, path, uri, llaso_file(path), lambda path: None, None)
        failure = readers[number].conversation(decoded(one["json"]), one["row"])
        assert isinstance(failure, Failure)
        problems.add(failure)
    return problems


def _column(table: pa.Table, name: str) -> Any:
    return table[name].combine_chunks()
