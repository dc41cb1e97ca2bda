"""A LibriSpeech tree: ``SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt`` with lines "ID TEXT", and ID.flac beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.files.text import MAX_TEXT_BYTES, TOO_LONG, decode_transcript
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.list_rows import text_lines
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import (
    RowError,
    SourceMetadata,
    SourceRow,
    failed_row,
    file_row,
    row_or_failure,
)
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure

TRANSCRIPTS = ".trans.txt"
SPEAKERS = "SPEAKERS.TXT"


def recognises(tree: FileTree) -> str | None:
    """A folder with a ``*.trans.txt`` at any depth."""
    first = next((file.path for file in tree.files if file.path.endswith(TRANSCRIPTS)), None)
    return None if first is None else f"it has {first}"


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every audio file of the tree and every transcript line, whether or not its audio is there.

    The speaker is the first part of the file's name; SPEAKERS.TXT, in the root or above it, gives the gender.

    Raises:
        LLaSOError: There is no transcript file, or neither a line nor audio.
    """
    transcripts = [file.path for file in tree.files if file.path.endswith(TRANSCRIPTS)]
    if not transcripts:
        raise LLaSOError(f"{spec.path}: no *{TRANSCRIPTS} below it; is this the folder of a LibriSpeech set?")
    audio_by_stem = {file.path.rpartition(".")[0]: file for file in tree.audio_files(spec.pattern)}
    rows = _rows(tree, transcripts, audio_by_stem, _genders(tree))
    if_none = f"{spec.path}: its *{TRANSCRIPTS} have no line, and there is no audio; fetch it again"
    return sorted_rows(rows, if_none=if_none)


def _rows(
    tree: FileTree, transcripts: list[str], audio_by_stem: dict[str, ListedFile], genders: dict[str, str]
) -> Iterator[SourceRow]:
    transcribed: set[str] = set()
    for transcript in transcripts:
        folder = transcript.rpartition("/")[0]
        for number, line in text_lines(tree.uri(transcript)):
            where = f"{transcript}:{number}"
            if isinstance(line, Failure):
                yield failed_row(tree.root, tree.root, where, line.detail, reason=line.reason)
                continue
            name, _, rest = line.encode("utf-8", "surrogateescape").strip().partition(b" ")
            if not name:
                continue
            make = partial(_line_row, tree, folder, name, rest, where, audio_by_stem, genders)
            yield row_or_failure(make, tree.root, tree.root, where)
            if name.isascii():
                transcribed.add("/".join(filter(None, (folder, name.decode("ascii")))))
    for stem, file in audio_by_stem.items():
        if stem not in transcribed:
            speaker = _speaker(file.path)
            yield file_row(tree, file, SourceMetadata(speaker=speaker, gender=genders.get(speaker)))


def _line_row(
    tree: FileTree,
    folder: str,
    name: bytes,
    text: bytes,
    where: str,
    audio_by_stem: Mapping[str, ListedFile],
    genders: Mapping[str, str],
) -> SourceRow:
    if not name.isascii():
        raise RowError(f"a line is `ID TEXT`, got {name[:20]!r}")
    id = name.decode("ascii")
    if "/" in id:
        raise RowError(f"{id!r} is not an id")
    stem = "/".join(filter(None, (folder, id)))
    transcript, failure = decode_transcript(text, tree.uri(where))
    file = audio_by_stem.get(stem) or ListedFile(f"{stem}.flac", 0, "")
    speaker = _speaker(file.path)
    metadata = SourceMetadata(text=transcript, speaker=speaker, gender=genders.get(speaker))
    return file_row(tree, file, metadata, failure=failure, where=where)


def _speaker(path: str) -> str:
    """``dev-clean/84/121123/84-121123-0000.flac`` → ``84``."""
    return path.rpartition("/")[2].rpartition(".")[0].split("-")[0]


def _genders(tree: FileTree) -> dict[str, str]:
    """Speaker → M or F from SPEAKERS.TXT ("14 | F | train-clean-360 | 25.03 | Name"); empty where it is not there."""
    for folder in (tree.root, tree.root.rpartition("/")[0]):
        uri = storage.join(folder, SPEAKERS)
        if not storage.exists(uri):
            continue
        with storage.open_read(uri) as file:
            data = file.read(MAX_TEXT_BYTES + 1)
        if len(data) > MAX_TEXT_BYTES:
            raise LLaSOError(f"{uri}: {TOO_LONG}; no list of speakers is, take it out")
        cells = [line.split("|") for line in data.decode("utf-8", "replace").splitlines() if not line.startswith(";")]
        return {row[0].strip(): row[1].strip() for row in cells if len(row) > 2}
    return {}


LAYOUT = Layout(
    name="librispeech",
    title="LibriSpeech",
    recognised_by="`*.trans.txt` below the folder",
    unit="an audio file or a transcript line",
    container="the folder",
    before=("webdataset", "folder"),
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
