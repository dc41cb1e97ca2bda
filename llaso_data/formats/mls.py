"""Multilingual LibriSpeech: ``SPLIT/transcripts.txt`` ("ID<tab>TEXT") and ``SPLIT/audio/SPEAKER/BOOK/ID.flac``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.audio_files import AudioFiles
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.list_rows import cells, list_rows, note_not_read, text_lines, with_unlisted
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, file_row
from llaso_data.formats.tables.columns import cell_text
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec

LIST = "transcripts.txt"
AUDIO = "audio"
SPEAKERS = "metainfo.txt"
LIMITED = "limited_supervision"
_ID = re.compile(r"(\d+)_(\d+)_\d+")
_FOLDER = re.compile(r"mls_([a-z]+?)(_opus)?")

Speakers = Mapping[str, str]
"""Speaker → M or F."""


def recognises(tree: FileTree) -> str | None:
    """A ``transcripts.txt`` whose first line is "SPEAKER_BOOK_NUMBER<tab>TEXT", with a folder ``audio`` beside it."""
    lists = _lists(tree)
    return f"{lists[0]} has lines of MLS, and {AUDIO} is beside it" if lists else None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every line of the splits' lists, whether or not its audio is there, and audio without a line.

    The language is that of the folder's name (``mls_german_opus``), the gender that of ``metainfo.txt``. The lists of
    ``limited_supervision`` name some of the same recordings and are not read.

    Raises:
        LLaSOError: There is no list, or neither a line nor audio.
    """
    lists = _lists(tree)
    if not lists:
        raise LLaSOError(f"{spec.path}: no {LIST} with a folder {AUDIO} beside it; is this the folder of MLS?")
    audio = AudioFiles(tree, spec.pattern)
    about = {folder: _speakers(tree, folder) for folder in {_release(path) for path in lists}}
    rows = (
        row
        for path in lists
        for row in list_rows(tree, path, partial(_line_row, tree, audio, path[: -len(LIST)], about[_release(path)]))
    )
    limited = [file.path for file in tree.not_audio if f"/{LIMITED}/" in f"/{file.path}"]
    tree.note(f"not read: the lists of {LIMITED}, which name some of the same recordings", len(limited))
    note_not_read(tree, {*lists, *limited, *(f"{folder}{SPEAKERS}" for folder in about)})
    if_none = f"{spec.path}: {', '.join(lists)} hold no line, and there is no audio; fetch it again"
    metadata_of = partial(_file_metadata, tree, about)
    return sorted_rows(with_unlisted(tree, audio, rows, metadata_of), if_none=if_none)


def _lists(tree: FileTree) -> list[str]:
    paths = [file.path for file in tree.not_audio if file.path.rpartition("/")[2] == LIST]
    return [path for path in paths if any(tree.below(f"{path[: -len(LIST)]}{AUDIO}")) and _is_list(tree, path)]


def _is_list(tree: FileTree, path: str) -> bool:
    _, first = next(text_lines(tree.uri(path)), (1, ""))
    return isinstance(first, str) and "\t" in first and _ID.fullmatch(first.partition("\t")[0]) is not None


def _release(path: str) -> str:
    """``mls_german/train/transcripts.txt`` → ``mls_german/``: what holds the splits."""
    folder = path.rpartition("/")[0].rpartition("/")[0]
    return f"{folder}/" if folder else ""


def _line_row(tree: FileTree, audio: AudioFiles, split: str, speakers: Speakers, line: str, where: str) -> SourceRow:
    id, text = cells(line, "\t", ("ID", "TEXT"))
    match = _ID.fullmatch(id)
    if match is None:
        raise RowError(f"{id[:80]!r} is no id; ids are SPEAKER_BOOK_NUMBER")
    stem = f"{split}{AUDIO}/{match[1]}/{match[2]}/{id}"
    language, is_opus = _language(tree, split)
    file = audio.take_stem(stem) or ListedFile(f"{stem}.{'opus' if is_opus else 'flac'}", 0, "")
    metadata = SourceMetadata(text=cell_text(text), language=language, speaker=match[1], gender=speakers.get(match[1]))
    return file_row(tree, file, metadata, where=where)


def _file_metadata(tree: FileTree, about: Mapping[str, Speakers], file: ListedFile) -> SourceMetadata:
    """What is known of a recording without a line."""
    match = _ID.fullmatch(file.path.rpartition("/")[2].rpartition(".")[0])
    if match is None:
        return SourceMetadata()
    folder = next((folder for folder in about if file.path.startswith(folder)), "")
    language, _ = _language(tree, file.path)
    return SourceMetadata(language=language, speaker=match[1], gender=about.get(folder, {}).get(match[1]))


def _language(tree: FileTree, path: str) -> tuple[str | None, bool]:
    """The language by the folder's name, and whether the folder says that the audio is Opus."""
    for part in reversed(f"{tree.root}/{path}".split("/")):
        match = _FOLDER.fullmatch(part)
        if match:
            return match[1], match[2] is not None
    return None, False


def _speakers(tree: FileTree, folder: str) -> dict[str, str]:
    """Speaker → M or F, of ``metainfo.txt`` in the release, or above the source where that is one split.

    A line is "SPEAKER | GENDER | PARTITION | …", and a reader has as many as chapters.
    """
    uri = tree.uri(f"{folder}{SPEAKERS}")
    if not folder and not storage.exists(uri):
        uri = storage.join(tree.root.rpartition("/")[0], SPEAKERS)
    if not storage.exists(uri):
        return {}
    rows = (line.split("|") for _, line in text_lines(uri) if isinstance(line, str))
    return {row[0].strip(): row[1].strip() for row in rows if len(row) > 1 and row[0].strip().isdigit()}


LAYOUT = Layout(
    name="mls",
    title="Multilingual LibriSpeech",
    recognised_by="`transcripts.txt` with ids `SPEAKER_BOOK_NUMBER`, and a folder `audio` beside it",
    unit="a line or an audio file",
    container="the folder",
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
