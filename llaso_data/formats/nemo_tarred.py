"""NeMo's tarred sets: ``audio_N.tar`` and manifests whose rows name members, sharded or with ``shard_id``.

A manifest ``manifest_N.json`` (in ``sharded_manifests/``, or beside the tars) has the rows of ``audio_N.tar``. A whole
one (``tarred_audio_manifest.json``) says ``shard_id`` in each row. Rows that are spans of one recording are named
``stem-sub1.wav``, ``stem-sub2.wav``: they are spans of the member ``stem.wav``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.files.shards import named_files
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.mapping import keeps_columns
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceRow, failed_row, row_or_failure
from llaso_data.formats.tables.columns import metadata_of, stated_duration, time_span
from llaso_data.formats.tables.manifest_rows import UnusedColumns
from llaso_data.formats.tables.nemo_columns import AUDIO, NEMO_COLUMNS, SHARD, marked, nemo_values
from llaso_data.formats.tables.nemo_sets import FOLDER, TarredSet, tarred_sets
from llaso_data.formats.tables.table_rows import first_row, table_rows
from llaso_data.formats.writing.attributes import ATTRIBUTES, json_line
from llaso_data.formats.writing.nemo_row import nemo_row
from llaso_data.formats.writing.writer import LayoutWriter, Part, SoundedSample, no_transcript
from llaso_data.io import archive, storage, tar_headers
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure

_PART_OF_RECORDING = re.compile(r"(.+)-sub\d+(\.\w+)?")


def recognises(tree: FileTree) -> str | None:
    """Tars that a manifest beside them has the rows of; or a manifest whose rows say in which tar they are."""
    if tree.is_file and "{" not in tree.root:
        row = first_row(tree.root)
        return f"its first row has {SHARD}" if row is not None and {AUDIO, SHARD} <= row.keys() else None
    try:
        files = named_files(tree)
    except LLaSOError:
        return None
    sets = tarred_sets(tree, files, None)
    found = next((path for one in sets for path in (*one.sharded.values(), one.whole) if path is not None), None)
    if found is None or AUDIO not in (first_row(files.uri(found)) or {}):
        return None
    return f"{found} has the rows of tars beside it"


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row of the manifests, in the order of tars and members; each tar is a container.

    Raises:
        LLaSOError: There is no tar with a manifest, or no row.
    """
    files = named_files(tree)
    sets = tarred_sets(tree, files, spec.pattern)
    if not sets:
        message = "no audio_N.tar with a manifest_N.json, or a manifest that says shard_id"
        raise LLaSOError(f"{spec.path}: {message}; give the folder that has both")
    rows = sorted_rows(
        (row for one in sets for row in _rows(spec, files, one)),
        if_none=f"{spec.path}: the manifests hold no row; take it out of the sources, or fetch it again",
    )
    return _in_tars(files, rows)


def _rows(spec: SourceSpec, tree: FileTree, one: TarredSet) -> Iterator[SourceRow]:
    unused = UnusedColumns([], NEMO_COLUMNS | {SHARD})
    manifests = [(None, one.whole)] if one.whole else sorted(one.sharded.items())
    for number, manifest in manifests:
        assert manifest is not None
        for line, row in table_rows(tree.uri(manifest)):
            where = f"{manifest}:{line}"
            if isinstance(row, str):
                yield failed_row(tree.root, tree.uri(manifest), where, row)
                continue
            unused.add(row)
            if (why := marked(row)) is not None:
                tree.note(why, 1)
                continue
            if one.is_part and number is None and row.get(SHARD) not in one.tars:
                continue
            make = partial(_source_row, spec, tree, one.tars, number, row, where)
            yield row_or_failure(make, tree.root, tree.uri(manifest), where)
    unused.note(tree, one.whole or next(iter(one.sharded.values())))
    for number in sorted(one.tars.keys() - one.sharded.keys()) if one.sharded else ():
        tar = one.tars[number]
        yield failed_row(
            tree.root, tree.uri(tar), tar, f"no manifest_{number} has its rows; fetch it, or remove the tar"
        )


def _source_row(
    spec: SourceSpec, tree: FileTree, tars: dict[int, str], number: int | None, row: dict[str, Any], where: str
) -> SourceRow:
    """Raises RowError that says what is wrong with the row."""
    values = nemo_values(tree, row)
    name = values["audio"]
    if not isinstance(name, str) or not name:
        raise RowError(f"`{AUDIO}` is missing")
    if number is None:
        number = row.get(SHARD)
        if not isinstance(number, int) or isinstance(number, bool):
            raise RowError(f"`{SHARD}` is the number of a tar; got {str(number)[:40]!r}")
    if number not in tars:
        detail = f"no tar of the number {number} is there; fetch it, or take the rows out"
        return failed_row(tree.root, tree.root, where, detail, reason="missing")
    start_s, end_s = time_span(values)
    found = _PART_OF_RECORDING.fullmatch(name)
    return SourceRow(
        path=tars[number],
        uri=tree.uri(tars[number]),
        root=tree.root,
        container=tree.uri(tars[number]),
        member=name if found is None else found[1] + (found[2] or ""),
        start_s=start_s,
        end_s=end_s,
        metadata=metadata_of(values),
        stated_s=stated_duration(values),
        where=where,
        fields=row if keeps_columns(spec.map, tree.labels) else None,
    )


def _in_tars(tree: FileTree, rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    """Rows with the size and version of their members; those whose member is not there with a failure."""
    for (uri, in_tar), group in groupby(rows, key=lambda row: (row.uri, row.member is not None)):
        if in_tar:
            yield from _in_tar(tree, uri, group)
        else:
            yield from group


def _in_tar(tree: FileTree, uri: str, rows: Iterable[SourceRow]) -> Iterator[SourceRow]:
    try:
        directory = archive.directory(uri)
        version = storage.stat(uri)["version"]
    except LLaSOError as error:
        failure = Failure("unreadable", str(error))
        yield from (replace(row, failure=failure) for row in rows)
        return
    named: set[str] = set()
    for row in rows:
        named.add(row.member or "")
        yield _located(row, directory, version)
    tree.note("members of tars that no row names", len(directory.members.keys() - named))


def _located(row: SourceRow, directory: archive.Directory, version: str) -> SourceRow:
    place = directory.members.get(row.member or "")
    if place is not None:
        return replace(row, size_bytes=place[1], version=version)
    why = directory.broken.get(row.member or "") or directory.problem
    reason = "missing" if why is None else "unreadable" if directory.problem is None else "truncated"
    detail = f"{row.location}: {row.path} has no {row.member}"
    return replace(row, failure=Failure(reason, f"{detail} ({why})" if why else f"{detail}; take the row out"))


def write(part: Part, samples: Iterable[SoundedSample]) -> None:
    """Write one tar, and the manifest of its members."""
    with (
        part.file(f"audio_{part.number}.tar") as tar_path,
        part.file(f"{FOLDER}/manifest_{part.number}.jsonl") as manifest_path,
        open(tar_path, "wb") as tar,
        open(manifest_path, "w", encoding="utf-8", newline="\n") as manifest,
    ):
        for sounded in samples:
            (sound,) = sounded.sounds
            name = f"{sounded.key}.{sound.extension}"
            tar_headers.write_member(tar, name, sound.data or b"")
            manifest.write(json_line({**nemo_row(sounded, name), SHARD: part.number}) + "\n")
        tar.write(tar_headers.END)


LAYOUT = Layout(
    name="nemo_tarred",
    title="NeMo's tarred sets",
    recognised_by="`audio_N.tar` with `manifest_N.json` beside them or in `sharded_manifests/`, or a manifest that "
    "says `shard_id`; also as `manifest_{0..127}.json`, `audio__OP_0..127_CL_.tar`",
    unit="a row",
    container="each tar",
    before=("nemo", "webdataset", "manifest", "folder"),
    recognises=recognises,
    read=read,
    writer=LayoutWriter(write=write, holds=frozenset(("text", *ATTRIBUTES)), refuses=no_transcript, inside=True),
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
