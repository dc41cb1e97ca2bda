"""Lhotse Shar: ``cuts.000000.jsonl.gz`` and ``recording.000000.tar``, with the sound of each cut as ``CUT.flac``.

Tars and cuts of the same number belong together. What the tar has is the cut alone, so that a cut starts at 0. Where it
began in its recording Lhotse forgets, though its alignment counts from there. A cut whose recording names a file of its
own is no item of a Shar, and is read by the layout ``lhotse``.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, compile_glob
from llaso_data.formats.files.shards import named_files
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceRow, describe_error, failed_row, row_or_failure
from llaso_data.formats.tables.lhotse_cuts import Spoken, cut_kind, number, place_of, spoken_of
from llaso_data.formats.tables.table_rows import table_rows
from llaso_data.formats.writing.attributes import json_line
from llaso_data.formats.writing.lhotse_cut import HOLDS, cut_of, recording_of
from llaso_data.formats.writing.writer import LayoutWriter, Part, SoundedSample, no_transcript
from llaso_data.io import archive, storage, tar_headers
from llaso_data.recipe import SourceSpec
from llaso_data.uris import extension

_CUTS = re.compile(r"cuts\.(\d+)\.jsonl(\.gz)?")
FOLDER = "shar"
"""The folder that is written. Lhotse takes every file beside the cuts for a field of theirs."""
_NO_AUDIO = frozenset(("json", "nodata", "nometa"))


def recognises(tree: FileTree) -> str | None:
    """A folder with ``cuts.NNNNNN.jsonl.gz`` and ``recording.NNNNNN.tar``."""
    found = next(((cuts, tar) for cuts, tar in _shards(tree) if tar is not None), None)
    return None if found is None else f"{found[0]} has the cuts of {found[1]}"


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every supervision of every cut, and every cut without one; each tar is a container.

    Raises:
        LLaSOError: There is no shard, or no cut.
    """
    matches = compile_glob(spec.pattern).fullmatch
    is_part, tree = tree.is_file, named_files(tree)
    shards = [(cuts, tar) for cuts, tar in _shards(tree) if matches(cuts) or (tar is not None and matches(tar))]
    if is_part:  # some tars were named
        shards = [(cuts, tar) for cuts, tar in shards if tar is not None]
    if not shards:
        raise LLaSOError(f"{spec.path}: no cuts.NNNNNN.jsonl.gz below it; is this the folder of a Shar?")
    for path, _, _ in tree.files:
        name = path.rpartition("/")[2]
        if extension(name) == "tar" and not name.startswith("recording."):
            tree.note_example("not read: another field of a Shar", path)
    rows = (row for cuts, tar in shards for row in _rows(tree, cuts, tar))
    return sorted_rows(
        rows, if_none=f"{spec.path}: its cuts have no row; take it out of the sources, or fetch it again"
    )


def _shards(tree: FileTree) -> list[tuple[str, str | None]]:
    """The tables of cuts, each with the tar of its recordings; paths are relative to the root."""
    known = {path for path, _, _ in tree.files}
    shards: list[tuple[str, str | None]] = []
    for path in sorted(known):
        folder, slash, name = path.rpartition("/")
        found = _CUTS.fullmatch(name)
        if found is not None:
            tar = f"{folder}{slash}recording.{found[1]}.tar"
            shards.append((path, tar if tar in known else None))
    return shards


def _rows(tree: FileTree, cuts: str, tar: str | None) -> Iterator[SourceRow]:
    if tar is None:
        yield failed_row(tree.root, tree.uri(cuts), cuts, "the tar of its recordings is not there; fetch it", "missing")
        return
    uri = tree.uri(tar)
    try:
        directory = archive.directory(uri)
        version = storage.stat(uri)["version"]
    except LLaSOError as error:
        yield failed_row(tree.root, uri, tar, str(error).removeprefix(f"{uri}: "), reason="unreadable")
        return
    by_id = {name.rpartition(".")[0]: name for name in directory.members if extension(name) not in _NO_AUDIO}
    left_out = {name.rpartition(".")[0] for name in directory.members if extension(name) == "nodata"}
    if directory.problem:
        yield failed_row(tree.root, uri, tar, f"{directory.problem}; fetch it again", reason="truncated")
    for line, cut in table_rows(tree.uri(cuts)):
        where = f"{cuts}:{line}"
        if isinstance(cut, str):
            yield failed_row(tree.root, uri, where, cut)
            continue
        id = cut.get("id")
        member = by_id.get(id) if isinstance(id, str) else None
        if member is None:
            why = f"{tar} has no sound of the cut {str(id)[:80]!r}{', which was left out' if id in left_out else ''}"
            yield failed_row(tree.root, uri, where, f"{why}; take it out", reason="missing")
            continue
        base = SourceRow(
            path=tar,
            uri=uri,
            root=tree.root,
            container=uri,
            member=member,
            size_bytes=directory.members[member][1],
            version=version,
            where=where,
        )
        yield from _cut_rows(tree, base, cut)


def _cut_rows(tree: FileTree, base: SourceRow, cut: Mapping[str, Any]) -> Iterator[SourceRow]:
    try:
        cut_kind(cut)
        for make in spoken_of(tree, cut, 0.0, number(cut.get("duration"), "duration")):
            yield row_or_failure(partial(_row, base, cut, make), tree.root, base.container, base.where)
    except Exception as error:
        yield failed_row(tree.root, base.container, base.where, describe_error(error))


def _row(base: SourceRow, cut: Mapping[str, Any], make: Any) -> SourceRow:
    """The member has the sound of the cut's channel alone."""
    recording = cut.get("recording")
    if recording is not None and place_of(recording, cut.get("channel")).name:
        raise RowError("its recording is a file, and no item of a Shar; read the file of cuts as `lhotse`")
    spoken: Spoken = make()
    whole_s = number(cut.get("duration"), "duration")
    return replace(base, start_s=spoken.start_s, end_s=spoken.end_s, metadata=spoken.metadata, stated_s=whole_s or None)


def write(part: Part, samples: Iterable[SoundedSample]) -> None:
    """Write one shard: its cuts, and the tar of their sounds, each with its recording's JSON after it."""
    with (
        part.file(f"{FOLDER}/recording.{part.number:06d}.tar") as tar_path,
        part.file(f"{FOLDER}/cuts.{part.number:06d}.jsonl.gz") as cuts_path,
        open(tar_path, "wb") as tar,
        open(cuts_path, "wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as cuts,
    ):
        for sounded in samples:
            (sound,) = sounded.sounds
            tar_headers.write_member(tar, f"{sounded.key}.{sound.extension}", sound.data or b"")
            recording = recording_of(sounded.key, sound, "shar", "")
            tar_headers.write_member(tar, f"{sounded.key}.json", json_line(recording).encode() + b"\n")
            cuts.write(json_line(cut_of(sounded, "shar", "")).encode() + b"\n")
        tar.write(tar_headers.END)


LAYOUT = Layout(
    name="shar",
    title="Lhotse Shar",
    recognised_by="`cuts.NNNNNN.jsonl.gz` and `recording.NNNNNN.tar` in a folder",
    unit="a supervision, or a cut without one",
    container="each tar",
    before=("lhotse", "librispeech", "webdataset", "manifest", "folder"),
    recognises=recognises,
    read=read,
    writer=LayoutWriter(write=write, holds=HOLDS, refuses=no_transcript, inside=True),
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
