"""VoxPopuli: ``asr_LANG.tsv.gz`` or ``asr_SPLIT.tsv``, with the audio of whole sessions or of cut utterances."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from llaso_data import languages
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile, compile_glob, open_tree
from llaso_data.formats.files.text import open_text
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
from llaso_data.formats.tables.columns import cell_text, note_unused, time_span
from llaso_data.formats.tables.delimited import delimited_rows
from llaso_data.formats.tables.table_rows import unpacked
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec

_NAME = re.compile(r"(?:.*/)?asr_([A-Za-z]+)[A-Za-z_-]{0,20}\.tsv(?:\.gz)?")
_SPLITS = frozenset(("train", "dev", "test"))
_TEXTS = ("original_text", "raw_text", "normed_text", "normalized_text")
_USED = frozenset(("session_id", "id_", "id", "speaker_id", "gender", "accent", "start_time", "end_time"))
_SAYS_NOTHING = frozenset(("none", "nan", "n/a", "unk", "unknown", "false"))
_HEADER_CHARACTERS = 1 << 16
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def recognises(tree: FileTree) -> str | None:
    """A table ``asr_….tsv`` or ``asr_….tsv.gz`` with VoxPopuli's columns: the source itself, or in the source."""
    if tree.is_file:
        columns = _header(tree.root) if _NAME.fullmatch(tree.root) else []
        return "it has the columns of VoxPopuli" if _is_header(columns) else None
    table = next(iter(_tables(tree)), None)
    return None if table is None else f"{table} has the columns of VoxPopuli"


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row of the tables. Where an utterance was cut, its file is taken; else its span of the session's audio.

    Raises:
        LLaSOError: There is no such table, or no row in any.
    """
    if tree.is_file:
        root, _, name = tree.root.rpartition("/")
        tree = FileTree(root, files=open_tree(root, ()).files, notes=tree.notes, labels=tree.labels)
        tables = [name] if _is_header(_header(tree.uri(name))) else []
    else:
        tables = _tables(tree)
    if not tables:
        raise LLaSOError(f"{spec.path}: no asr_….tsv or asr_….tsv.gz with the columns of VoxPopuli (session_id, id_)")
    audio = {file.path.rpartition("/")[2].rpartition(".")[0]: file for file in tree.audio_files("**/*")}
    matches = compile_glob(spec.pattern).fullmatch
    rows = (row for table in tables for row in _rows(tree, table, audio) if row.is_bad_row or matches(row.path))
    return sorted_rows(rows, if_none=f"{spec.path}: {', '.join(tables)} hold no row; fetch them again")


def _tables(tree: FileTree) -> list[str]:
    named = [file.path for file in tree.files if _NAME.fullmatch(file.path)]
    return [path for path in named if _is_header(_header(tree.uri(path)))]


def _is_header(columns: list[str]) -> bool:
    return {"session_id", "id_"} <= set(columns) or {"id", "raw_text", "normalized_text"} <= set(columns)


@contextmanager
def _opened(uri: str) -> Iterator[io.TextIOWrapper]:
    """The table's text, unpacked where its name ends in .gz. Raises LLaSOError and OSError where it cannot be read."""
    with storage.open_read(uri) as file:
        yield open_text(unpacked(file, uri))


def _header(uri: str) -> list[str]:
    """The columns of a table; empty where it cannot be read."""
    try:
        with _opened(uri) as text:
            line = text.readline(_HEADER_CHARACTERS)
    except (OSError, UnicodeDecodeError, LLaSOError) as error:
        if isinstance(error, storage.StoreError):
            raise
        return []
    return [name.strip() for name in line.split("|" if "|" in line else "\t")]


def _rows(tree: FileTree, table: str, audio: Mapping[str, ListedFile]) -> Iterator[SourceRow]:
    columns = _header(tree.uri(table))
    language = _language(table)
    number = 0
    try:
        with _opened(tree.uri(table)) as text:
            has_pipes = "|" in text.readline(_HEADER_CHARACTERS)
            text.seek(0)
            cells = delimited_rows(text, "csv", "|") if has_pipes else delimited_rows(text, "tsv")
            for number, row in cells:
                where = f"{table}:{number}"
                if isinstance(row, str):
                    yield failed_row(tree.root, tree.root, where, row)
                elif number > 1:
                    values = dict(zip(columns, row, strict=True))
                    make = partial(_source_row, tree, values, language, audio, where)
                    yield row_or_failure(make, tree.root, tree.root, where)
    except (OSError, UnicodeDecodeError, LLaSOError) as error:
        if isinstance(error, storage.StoreError):
            raise
        reason = getattr(error, "strerror", None) or error
        yield failed_row(tree.root, tree.root, f"{table}:{number + 1}", f"the table cannot be read on ({reason})")
    finally:  # a preview reads only the first rows
        text_column = next((name for name in _TEXTS if name in columns), "")
        note_unused(tree, table, columns, _USED | {text_column, "" if "start_time" in columns else "vad"})


def _source_row(
    tree: FileTree, values: Mapping[str, str], language: str | None, audio: Mapping[str, ListedFile], where: str
) -> SourceRow:
    session, id = values.get("session_id", "").strip(), (values.get("id_") or values.get("id", "")).strip()
    if not id or "/" in f"{session}{id}":
        raise RowError(f"{(session + id)[:80]!r} is no id of an utterance")
    metadata = SourceMetadata(
        text=next(filter(None, (cell_text(values.get(name)) for name in _TEXTS)), None),
        language=language,
        speaker=_said(values.get("speaker_id")),
        gender=_said(values.get("gender")),
        accent=_said(values.get("accent")),
    )
    cut = audio.get(f"{session}-{id}" if session else id)
    if cut is not None or not session:
        return file_row(tree, cut or ListedFile(f"{id}.ogg", 0, ""), metadata, where=where)
    stems = (f"{session}_original", f"{session}_{language}", session)
    missing = ListedFile(f"raw_audios/original/{session[:4]}/{session}_original.ogg", 0, "")
    file = next((audio[stem] for stem in stems if stem in audio), missing)
    start_s, end_s = _span(values)
    return replace(file_row(tree, file, metadata, where=where), start_s=start_s, end_s=end_s)


def _span(values: Mapping[str, str]) -> tuple[float, float]:
    """Start and end in the session, seconds; of ``vad``'s spans the first start and the last end."""
    start, end = values.get("start_time"), values.get("end_time")
    if not start or not end:
        times = _NUMBER.findall(values.get("vad", ""))
        start, end = (times[0], times[-1]) if times and len(times) % 2 == 0 else (None, None)
    start_s, end_s = time_span({"start": start, "end": end, "duration": None})
    if start_s is None or end_s is None:
        raise RowError("no start_time and end_time, no spans in vad, and no file of its own")
    return start_s, end_s


def _said(cell: str | None) -> str | None:
    text = cell_text(cell)
    return None if text is None or text.lower() in _SAYS_NOTHING else text


def _language(table: str) -> str | None:
    """``transcribed_data/de/asr_train.tsv`` → ``de``, and ``asr_fr.tsv.gz`` → ``fr``."""
    named = _NAME.fullmatch(table)
    name = named[1] if named else ""
    if name in _SPLITS:
        name = table.rpartition("/")[0].rpartition("/")[2]
    return languages.language(name) if len(name) in (2, 3) else None


LAYOUT = Layout(
    name="voxpopuli",
    title="VoxPopuli",
    recognised_by="`asr_….tsv.gz` or `asr_….tsv` with `session_id` and `id_`, or `id`, `raw_text`, `normalized_text`",
    unit="a row",
    container="the folder",
    endings=frozenset(("tsv", "tsv.gz")),
    before=("librispeech", "manifest", "webdataset", "folder"),
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
