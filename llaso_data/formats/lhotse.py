"""Lhotse's manifests: cuts (``cuts.jsonl.gz``), or recordings with supervisions (``supervisions.jsonl.gz``).

Sound of the source type ``command`` is refused, and none is run. Cuts of several recordings are refused by their type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from typing import Any, NamedTuple

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.bases import base_of
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, describe_error, failed_row
from llaso_data.formats.tables.columns import audio_location, audio_stat
from llaso_data.formats.tables.lhotse_cuts import Place, Spoken, cut_kind, number, place_of, spoken_of
from llaso_data.formats.tables.lhotse_recipes import prepared, recipe_of
from llaso_data.formats.tables.table_rows import JSON_EXTENSIONS, first_row, table_kind, table_rows
from llaso_data.formats.writing.attributes import json_line
from llaso_data.formats.writing.lhotse_cut import HOLDS, cut_of
from llaso_data.formats.writing.writer import LayoutWriter, Part, SoundedSample, no_transcript
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec

CUTS, RECORDINGS, SUPERVISIONS = "cuts", "recordings", "supervisions"
_LOOKED_AT = 20  # rows in which paths are looked for, to find where relative ones begin


class _Tables(NamedTuple):
    """One table of cuts, or a pair of recordings and supervisions; paths are relative to the root."""

    cuts: str | None
    recordings: str | None = None
    supervisions: str | None = None


def recognises(tree: FileTree) -> str | None:
    """A table of cuts, a table of recordings with its supervisions beside it, or a folder of such tables."""
    if tree.is_file and ("{" in tree.root or table_kind(tree.root) not in JSON_EXTENSIONS):
        return None
    root, tables = _tables(tree)
    for one in tables:
        first = one.cuts or one.recordings or ""
        if _kind(first_row(storage.join(root, first))) == (CUTS if one.cuts else RECORDINGS):
            return f"{first} holds {CUTS if one.cuts else RECORDINGS}"
    return None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every supervision, and every cut without one, in the order of (audio, start, end).

    In memory are, besides what is sorted, the recordings of a pair of tables: about 300 bytes each.

    Raises:
        LLaSOError: There is no such table, or no row.
    """
    root, tables = _tables(tree)
    if not tables:
        raise LLaSOError(f"{spec.path}: no cuts, and no recordings with supervisions; name the file of Lhotse's")
    rows = (row for one in tables for row in _rows(FileTree(root, notes=tree.notes, labels=tree.labels), one))
    if_none = f"{spec.path}: the manifests hold no row; take them out of the sources, or write them again"
    return sorted_rows(rows, if_none=if_none)


def _tables(tree: FileTree) -> tuple[str, list[_Tables]]:
    """The root, and the tables of a source."""
    if tree.is_file:
        root, _, name = tree.root.rpartition("/")
        for this, other in ((RECORDINGS, SUPERVISIONS), (SUPERVISIONS, RECORDINGS)):
            beside = other.join(name.rsplit(this, 1))
            if this in name and storage.exists(storage.join(root, beside)):
                pair = (name, beside) if this == RECORDINGS else (beside, name)
                return root, [_Tables(None, *pair)]
        return root, [_Tables(name)]
    paths = [path for path, _, _ in tree.files if table_kind(path) == "jsonl"]
    known = set(paths)
    tables: list[_Tables] = []
    for path in paths:
        folder, _, name = path.rpartition("/")
        beside = f"{folder}/".lstrip("/") + SUPERVISIONS.join(name.rsplit(RECORDINGS, 1))
        if RECORDINGS in name and beside in known:
            tables.append(_Tables(None, path, beside))
        elif CUTS in name:
            tables.append(_Tables(path))
    return tree.root, tables


def _kind(row: Mapping[str, Any] | None) -> str | None:
    """What a table's first row is."""
    if row is None:
        return None
    if str(row.get("type", "")).endswith("Cut") or ({"id", "start", "duration"} <= row.keys() and "recording" in row):
        return CUTS
    return RECORDINGS if {"id", "sources", "sampling_rate"} <= row.keys() else None


def _rows(tree: FileTree, one: _Tables) -> Iterator[SourceRow]:
    table = one.cuts or one.recordings or ""
    reader = _Reader(tree, storage.join(tree.root, table), _base(tree, table, one.cuts is not None))
    return _cut_rows(reader, table) if one.cuts else _pair_rows(reader, table, one.supervisions or "")


def _base(tree: FileTree, table: str, are_cuts: bool) -> str:
    names: list[str] = []
    for _, row in islice(table_rows(tree.uri(table)), _LOOKED_AT):
        recording = row.get("recording") if are_cuts and isinstance(row, dict) else row
        sources = recording.get("sources") if isinstance(recording, dict) else None
        for source in sources if isinstance(sources, list) else ():
            if isinstance(source, dict) and source.get("type") == "file":
                names.append(str(source.get("source")))
    return base_of(tree.uri(table).rpartition("/")[0], names)


class _Reader:
    """Makes rows of the JSON of one table."""

    def __init__(self, tree: FileTree, container: str, base: str) -> None:
        self.tree = tree
        self.container = container
        self._base = base
        self._stat: Callable[[str], tuple[int, str]] = lru_cache(maxsize=4096)(audio_stat)

    def rows(self, cut: Mapping[str, Any], where: str) -> Iterator[SourceRow]:
        """The utterances of a cut; a failed row for what is broken of it."""
        try:
            cut_kind(cut)
            recording = cut.get("recording")
            offset_s = number(cut.get("start", 0.0), "start")
            whole = recording.get("duration") if isinstance(recording, dict) else None
            whole_s = float(whole) if isinstance(whole, (int, float)) else None
            for make in spoken_of(self.tree, cut, offset_s, whole_s):
                yield self._row(cut, recording, make, where)
        except Exception as error:
            yield failed_row(self.tree.root, self.container, where, describe_error(error))

    def _row(self, cut: Mapping[str, Any], recording: Any, make: Callable[[], Spoken], where: str) -> SourceRow:
        try:
            return self._located(place_of(recording, cut.get("channel")), make(), where)
        except Exception as error:
            return failed_row(self.tree.root, self.container, where, describe_error(error))

    def _located(self, place: Place, spoken: Spoken, where: str) -> SourceRow:
        if not place.name or "\0" in place.name:
            raise RowError("its source names no file")
        path, uri = audio_location(place.name, self._base)
        if uri.startswith(f"{self.tree.root}/"):
            path = uri[len(self.tree.root) + 1 :]
        size_bytes, version = self._stat(uri)
        return SourceRow(
            path=path,
            uri=uri,
            root=self.tree.root,
            container=self.container,
            start_s=spoken.start_s,
            end_s=spoken.end_s,
            metadata=_on_channel(spoken.metadata, place.channel),
            size_bytes=size_bytes,
            version=version,
            where=where,
        )


def _on_channel(metadata: SourceMetadata, channel: int | None) -> SourceMetadata:
    return metadata if channel is None else replace(metadata, channels=(channel,))


def _cut_rows(reader: _Reader, table: str) -> Iterator[SourceRow]:
    for number_, row in table_rows(reader.tree.uri(table)):
        where = f"{table}:{number_}"
        if isinstance(row, str):
            yield failed_row(reader.tree.root, reader.container, where, row)
        else:
            yield from reader.rows(row, where)


def _pair_rows(reader: _Reader, recordings: str, supervisions: str) -> Iterator[SourceRow]:
    tree = reader.tree
    known: dict[str, str] = {}
    for number_, row in table_rows(tree.uri(recordings)):
        where = f"{recordings}:{number_}"
        if isinstance(row, str) or not isinstance(row.get("id"), str):
            yield failed_row(tree.root, reader.container, where, row if isinstance(row, str) else "it has no `id`")
        elif row["id"] in known:
            detail = f"the id {row['id'][:80]!r} stands there more than once; take one out"
            yield failed_row(tree.root, reader.container, where, detail)
        else:
            kept = {name: row[name] for name in ("sources", "transforms", "duration") if row.get(name) is not None}
            known[row["id"]] = json.dumps(kept)
    named: set[str] = set()
    for number_, row in table_rows(tree.uri(supervisions)):
        where = f"{supervisions}:{number_}"
        if isinstance(row, str):
            yield failed_row(tree.root, reader.container, where, row)
            continue
        id = row.get("recording_id")
        if not isinstance(id, str) or id not in known:
            yield failed_row(tree.root, reader.container, where, f"{recordings} has no recording {str(id)[:80]!r}")
            continue
        named.add(id)
        yield from reader.rows(_as_cut(json.loads(known[id]), row), where)
    tree.note(f"recordings of {recordings} without a supervision", len(known) - len(named))


def _as_cut(recording: dict[str, Any], supervision: dict[str, Any]) -> dict[str, Any]:
    """A supervision of a recording as the cut of all of it."""
    channel = supervision.get("channel")
    whole = {"start": 0.0, "duration": recording.get("duration"), "recording": recording, "channel": channel}
    return {**whole, "supervisions": [supervision]}


def recipe_layout(name: str) -> Layout:
    """The layout ``lhotse:NAME``: a folder that Lhotse's own recipe of that name reads.

    Raises:
        LLaSOError: Lhotse is not installed, or has no such recipe.
    """
    recipe_of(name)
    return replace(LAYOUT, name=f"lhotse:{name}", read=partial(_read_by_recipe, name), writer=None, variant=None)


def _read_by_recipe(name: str, spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    reader = _Reader(tree, tree.root, tree.root)
    rows = (row for where, cut in prepared(name, tree.root) for row in reader.rows(cut, where))
    return sorted_rows(rows, if_none=f"{spec.path}: Lhotse's recipe {name} found no utterance; is this its folder?")


def write(part: Part, samples: Iterable[SoundedSample]) -> None:
    """Write the lines of ``cuts.jsonl.gz``, and the sounds that are not pointed to."""
    for sounded in samples:
        part.line("cuts.jsonl.gz", json_line(cut_of(sounded, "file", part.sound(sounded))))


LAYOUT = Layout(
    name="lhotse",
    title="Lhotse's manifests",
    recognised_by="`.jsonl` or `.jsonl.gz` of cuts, or of recordings with `supervisions` beside it; a folder of such",
    unit="a supervision, or a cut without one",
    container="the manifest",
    before=("librispeech", "webdataset", "texts", "manifest", "folder"),
    recognises=recognises,
    read=read,
    writer=LayoutWriter(write=write, holds=HOLDS, refuses=no_transcript, spans=True),
    variant=recipe_layout,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
