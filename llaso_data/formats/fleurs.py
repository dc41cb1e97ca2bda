"""FLEURS: ``en_us/SPLIT.tsv`` without a header, and ``en_us/audio/SPLIT/FILE.wav``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.audio_files import AudioFiles
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.list_rows import cells, file_name, list_rows, note_not_read, text_lines, with_unlisted
from llaso_data.formats.rows.mapping import keeps_columns
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import SourceMetadata, SourceRow, failed_row, file_row
from llaso_data.formats.tables.columns import cell_text
from llaso_data.recipe import SourceSpec

COLUMNS = ("id", "file", "raw_text", "text", "chars", "num_samples", "gender")
AUDIO = "audio"
_TABLE = re.compile(r"(.*/)?(train|dev|test)\.tsv")
_LANGUAGE = re.compile(r"([a-z]{2,3})(?:_[a-z]{4})?_(?:[a-z]{2}|419)")


def recognises(tree: FileTree) -> str | None:
    """A ``train.tsv``, ``dev.tsv`` or ``test.tsv`` with seven cells and no header, and ``audio`` beside it."""
    tables = _tables(tree)
    return f"{tables[0]} has the seven cells of FLEURS, and {AUDIO} is beside it" if tables else None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row of the tables, whether or not its audio is there, and audio without a row.

    The text is the one with capitals and punctuation; a map may take ``{text}``, which has neither. The language is
    that of the folder's name. The corpus does not name its speakers: several read the sentence of one id. A split
    whose audio is not unpacked fails once, as ``missing``.

    Raises:
        LLaSOError: There is no table, or neither a row nor audio.
    """
    tables = _tables(tree)
    if not tables:
        raise LLaSOError(f"{spec.path}: no train.tsv, dev.tsv or test.tsv of FLEURS with a folder {AUDIO} beside it")
    audio = AudioFiles(tree, spec.pattern)
    rows = (row for table in tables for row in _table_rows(tree, audio, table, keeps_columns(spec.map, tree.labels)))
    note_not_read(tree, {*tables, *(_packed(table) for table in tables)})
    if_none = f"{spec.path}: {', '.join(tables)} hold no row, and there is no audio; fetch it again"
    return sorted_rows(with_unlisted(tree, audio, rows, partial(_metadata, tree)), if_none=if_none)


def _tables(tree: FileTree) -> list[str]:
    return [path for path, _, _ in tree.not_audio if _TABLE.fullmatch(path) and _has_audio(tree, path)]


def _has_audio(tree: FileTree, table: str) -> bool:
    beside = any(tree.below(_folder(table))) or any(file.path == _packed(table) for file in tree.not_audio)
    if not beside:
        return False
    _, first = next(text_lines(tree.uri(table)), (1, ""))
    found = first.split("\t") if isinstance(first, str) else []
    return len(found) == len(COLUMNS) and found[0].strip("\ufeff ").isdigit()


def _folder(table: str) -> str:
    """``en_us/train.tsv`` → ``en_us/audio/train``."""
    folder, _, name = table.rpartition("/")
    return "/".join(filter(None, (folder, AUDIO, name.removesuffix(".tsv"))))


def _packed(table: str) -> str:
    return f"{_folder(table)}.tar.gz"


def _table_rows(tree: FileTree, audio: AudioFiles, table: str, with_fields: bool) -> Iterator[SourceRow]:
    if any(tree.below(_folder(table))):
        yield from list_rows(tree, table, partial(_line_row, tree, audio, table, with_fields))
    else:
        detail = f"its audio is in {_packed(table)}; unpack it there"
        yield failed_row(tree.root, tree.root, table, detail, reason="missing")


def _line_row(tree: FileTree, audio: AudioFiles, table: str, with_fields: bool, line: str, where: str) -> SourceRow:
    fields = dict(zip(COLUMNS, cells(line, "\t", COLUMNS), strict=True))
    path = f"{_folder(table)}/{file_name(fields['file'])}"
    file = audio.take(path) or ListedFile(path, 0, "")
    text = cell_text(fields["raw_text"]) or cell_text(fields["text"])
    metadata = replace(_metadata(tree, file), text=text, gender=fields["gender"])
    return replace(file_row(tree, file, metadata, where=where), fields=fields if with_fields else None)


def _metadata(tree: FileTree, file: ListedFile) -> SourceMetadata:
    """The language by the name of the folder above ``audio``: ``cmn_hans_cn`` → cmn."""
    parts = f"{tree.root}/{file.path}".split("/")
    match = _LANGUAGE.fullmatch(parts[-4]) if len(parts) > 3 else None
    return SourceMetadata(language=match[1] if match else None)


LAYOUT = Layout(
    name="fleurs",
    title="FLEURS",
    recognised_by="`train.tsv`, `dev.tsv` or `test.tsv` with seven cells and no header, and `audio/SPLIT` beside it",
    unit="a row or an audio file",
    container="the folder",
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
