"""Transcripts beside audio: ``NAME.txt`` or ``NAME.lab`` for ``NAME.wav``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.files.text import MAX_TEXT_BYTES, decode_transcript, encoding_of, transcript_too_long
from llaso_data.io import storage
from llaso_data.records import Failure
from llaso_data.uris import extension

TRANSCRIPT_EXTENSIONS = ("txt", "lab")
"""Where an audio file has several, the first counts."""

_HEAD_BYTES = 1 << 16
"""Of a file; by them it is told whether its lines have times."""
_AUDACITY = re.compile(r"\d+[.,]\d+[ \t]+\d+[.,]\d+([ \t]+\S.*)?|\\\t.*|\d+(\.\d+)?\t\d+(\.\d+)?(\t.*)?")  # seconds
_HTK = re.compile(r"(0|\d{4,})[ \t]+\d{4,}([ \t]+\S.*)?")  # 100 ns


class Transcript(NamedTuple):
    """What a transcript file holds: its text, or what is wrong with it, or labels with times and so no transcript."""

    text: str | None = None
    failure: Failure | None = None
    has_times: bool = False


def transcript_files(tree: FileTree) -> dict[str, ListedFile]:
    """The folder's files that may be transcripts, by their paths with the extension in small letters."""
    files = (file for file in tree.files if extension(file.path) in TRANSCRIPT_EXTENSIONS)
    return {f"{file.path.rpartition('.')[0]}.{extension(file.path)}": file for file in files}


def transcript_of(audio_path: str, transcripts: Mapping[str, ListedFile]) -> ListedFile | None:
    """The transcript beside an audio file, among :func:`transcript_files`; None where there is none."""
    stem = audio_path.rpartition(".")[0]
    names = (f"{stem}.{kind}" for kind in TRANSCRIPT_EXTENSIONS)
    return next((transcripts[name] for name in names if name in transcripts), None)


def read_transcripts(tree: FileTree, files: list[ListedFile]) -> dict[str, Transcript]:
    """The transcripts in some files of a folder, by path. Of a folder on a store they are fetched concurrently."""
    files = list(dict.fromkeys(files))  # a.wav and a.flac share a.txt
    if storage.is_local(tree.root):
        return {file.path: _read_local(tree.uri(file.path)) for file in files}
    read: dict[str, Transcript] = {}
    to_fetch: list[str] = []
    for file in files:
        if file.size_bytes > MAX_TEXT_BYTES:
            read[file.path] = Transcript(failure=transcript_too_long(tree.uri(file.path)))
        else:
            to_fetch.append(file.path)
    contents = storage.read_many([tree.uri(path) for path in to_fetch])
    for path, data in zip(to_fetch, contents, strict=True):
        read[path] = _fetched(data, tree.uri(path))
    return read


def has_times(text: str) -> bool:
    """Whether every line begins with a start and an end, as labels of Audacity (seconds) and HTK (100 ns) do."""
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    return bool(lines) and all(_AUDACITY.fullmatch(line) or _HTK.fullmatch(line) for line in lines)


def _read_local(path: str) -> Transcript:
    try:
        with storage.open_read(path) as file:
            return _decoded(file.read(MAX_TEXT_BYTES + 1), path)
    except OSError as error:
        return Transcript(failure=Failure("bad_text", f"{path}: the transcript cannot be read ({error.strerror})"))


def _fetched(data: bytes | None, uri: str) -> Transcript:
    if data is None:
        return Transcript(failure=Failure("bad_text", f"{uri}: the transcript is not there any more"))
    return _decoded(data, uri)


def _decoded(data: bytes, uri: str) -> Transcript:
    head = data[:_HEAD_BYTES].decode(encoding_of(data[:4]), "replace")
    if has_times(head if len(data) <= _HEAD_BYTES else head.rpartition("\n")[0]):
        return Transcript(has_times=True)
    return Transcript(*decode_transcript(data, uri))
