"""TED-LIUM: ``stm/TALK.stm`` with lines "TALK CHANNEL SPEAKER START END <LABEL> WORDS", and ``sph/TALK.sph``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile, compile_glob
from llaso_data.formats.files.text import TOO_LONG, numbered_lines, open_text
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import (
    RowError,
    SourceMetadata,
    SourceRow,
    failed_row,
    file_row,
    row_or_failure,
)
from llaso_data.formats.tables.columns import time_span
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.uris import extension

_NOT_SCORED = "ignore_time_segment_in_scoring"
_LABEL = re.compile(r"<([^<>]*)>")
_CHANNELS = {"1": 0, "a": 0, "2": 1, "b": 1}
_NOT_READ_BESIDE_LEGACY = "data/"
"""Release 3 has the training set twice: in ``data``, and in ``legacy`` by links to it."""


def recognises(tree: FileTree) -> str | None:
    """A folder with an ``.stm`` that lies in a folder ``stm``, beside a folder ``sph``, or beside its own audio."""
    stems = {file.path.rpartition(".")[0] for file in tree.files if extension(file.path) == "sph"}
    folders = {stem.rpartition("/")[0] for stem in stems}
    for file in tree.files:
        if extension(file.path) == "stm" and (_sph_folder(file.path) in folders or file.path[:-4] in stems):
            return f"it has {file.path} and its sph"
    return None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every line of the ``.stm`` files but those that are not to be scored, which are a note.

    Raises:
        LLaSOError: There is no ``.stm``, or no line in any.
    """
    tables = [file.path for file in tree.files if extension(file.path) == "stm"]
    legacy = [path for path in tables if path.startswith("legacy/")]
    left_out = [path for path in tables if legacy and path.startswith(_NOT_READ_BESIDE_LEGACY)]
    for path in left_out:
        tree.note_example("not read: .stm of `data`, which `legacy` has too", path)
    tables = [path for path in tables if path not in set(left_out)]
    if not tables:
        raise LLaSOError(f"{spec.path}: no .stm below it; is this the folder of a TED-LIUM release?")
    audio = {file.path.rpartition(".")[0]: file for file in tree.audio_files("**/*")}
    matches = compile_glob(spec.pattern).fullmatch
    rows = (row for table in tables for row in _rows(tree, table, audio) if row.is_bad_row or matches(row.path))
    return sorted_rows(rows, if_none=f"{spec.path}: its .stm files have no line that matches; fetch them again")


def _rows(tree: FileTree, table: str, audio: Mapping[str, ListedFile]) -> Iterator[SourceRow]:
    number = 0
    try:
        with storage.open_read(tree.uri(table)) as file:
            for number, line in numbered_lines(open_text(file)):
                where = f"{table}:{number}"
                if line is None:
                    yield failed_row(tree.root, tree.root, where, f"a line {TOO_LONG}")
                    continue
                cells = line.split(None, 5)
                if not cells or line.startswith(";;"):
                    continue
                if len(cells) == 6 and cells[5].rstrip().lower().endswith(_NOT_SCORED):
                    tree.note_example("lines that are not to be scored", where)
                    continue
                yield row_or_failure(partial(_row, tree, table, cells, audio, where), tree.root, tree.root, where)
    except (OSError, UnicodeDecodeError, LLaSOError) as error:
        if isinstance(error, storage.StoreError):
            raise
        reason = getattr(error, "strerror", None) or error
        yield failed_row(tree.root, tree.root, f"{table}:{number + 1}", f"the file cannot be read on ({reason})")


def _row(tree: FileTree, table: str, cells: list[str], audio: Mapping[str, ListedFile], where: str) -> SourceRow:
    if len(cells) < 5:
        raise RowError("a line is `TALK CHANNEL SPEAKER START END <LABEL> WORDS`")
    talk, channel, speaker, start, end = cells[:5]
    rest = cells[5] if len(cells) > 5 else ""
    if "/" in talk:
        raise RowError(f"{talk[:80]!r} is not the name of a talk")
    if channel.lower() not in _CHANNELS:
        raise RowError(f"{channel[:80]!r} is no channel; they are 1 and 2, or A and B")
    start_s, end_s = time_span({"start": start, "end": end, "duration": None})
    label = _LABEL.match(rest)
    text = " ".join(rest[label.end() if label else 0 :].split())
    metadata = SourceMetadata(
        text=text or None,
        speaker=speaker,
        gender=label[1].split(",")[-1] if label and "," in label[1] else None,
        channels=(_CHANNELS[channel.lower()],),
    )
    folder, own = _sph_folder(table), table.rpartition("/")[0]
    stems = [f"{place}/{talk}" if place else talk for place in (folder, own)]
    file = next((audio[stem] for stem in stems if stem in audio), ListedFile(f"{stems[0]}.sph", 0, ""))
    return replace(file_row(tree, file, metadata, where=where), start_s=start_s, end_s=end_s)


def _sph_folder(stm: str) -> str:
    """``legacy/dev/stm/TALK.stm`` → ``legacy/dev/sph``; the file's own folder where that is not named stm."""
    folder = stm.rpartition("/")[0]
    above, slash, name = folder.rpartition("/")
    return f"{above}{slash}sph" if name == "stm" else folder


LAYOUT = Layout(
    name="tedlium",
    title="TED-LIUM",
    recognised_by="`*.stm` in a folder `stm` beside `sph`, or beside their `.sph`",
    unit="a line",
    container="the folder",
    before=("librispeech", "webdataset", "folder"),
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
