"""Files beside audio that say what is said in it: ``NAME.txt``, ``NAME.TextGrid``, ``NAME.srt`` … for ``NAME.wav``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from llaso_data.errors import LLaSOError
from llaso_data.formats.beside_audio.label_lines import has_times, label_lines, prompt_of, word_lines
from llaso_data.formats.beside_audio.labels import Labels
from llaso_data.formats.beside_audio.subtitles import subtitles
from llaso_data.formats.beside_audio.textgrid import textgrid
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.files.text import (
    MAX_TEXT_BYTES,
    decode_text,
    decode_transcript,
    encoding_of,
    transcript_too_long,
)
from llaso_data.io import storage
from llaso_data.records import Failure
from llaso_data.uris import extension

TRANSCRIPT_EXTENSIONS = ("txt", "lab")
"""Transcripts, unless their lines have times. Where an audio file has several, the first counts."""
BESIDE_EXTENSIONS = (*TRANSCRIPT_EXTENSIONS, "textgrid", "vtt", "srt", "wrd")
"""All that is read beside audio, in the order in which it counts."""

_HEAD_BYTES = 1 << 16
"""Of a file; by them it is told whether its lines have times."""


class Transcript(NamedTuple):
    """What a file beside audio holds: a text, or labels with times, or what is wrong with it."""

    text: str | None = None
    failure: Failure | None = None
    labels: Labels | None = None


def beside_files(tree: FileTree) -> dict[str, ListedFile]:
    """The folder's files that may be read beside audio, by their paths with the extension in small letters."""
    files = (file for file in tree.files if extension(file.path) in BESIDE_EXTENSIONS)
    return {f"{file.path.rpartition('.')[0]}.{extension(file.path)}": file for file in files}


def files_beside(audio_path: str, beside: Mapping[str, ListedFile]) -> list[ListedFile]:
    """The files beside an audio file, among :func:`beside_files`, in the order in which they count."""
    stem = audio_path.rpartition(".")[0]
    names = (f"{stem}.{kind}" for kind in BESIDE_EXTENSIONS)
    return [beside[name] for name in names if name in beside]


def read_transcripts(tree: FileTree, files: list[ListedFile]) -> dict[str, Transcript]:
    """What some files of a folder hold, by path. Of a folder on a store they are fetched concurrently."""
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


def _read_local(path: str) -> Transcript:
    try:
        with storage.open_read(path) as file:
            data = file.read(_HEAD_BYTES)  # asked for all that a text may have, Python clears so much memory
            data += file.read(MAX_TEXT_BYTES + 1 - _HEAD_BYTES) if len(data) == _HEAD_BYTES else b""
            return _decoded(data, path)
    except OSError as error:
        return Transcript(failure=Failure("bad_text", f"{path}: the transcript cannot be read ({error.strerror})"))


def _fetched(data: bytes | None, uri: str) -> Transcript:
    if data is None:
        return Transcript(failure=Failure("bad_text", f"{uri}: the transcript is not there any more"))
    return _decoded(data, uri)


def _decoded(data: bytes, uri: str) -> Transcript:
    kind = extension(uri)
    if kind in TRANSCRIPT_EXTENSIONS and not _has_times(data):
        return Transcript(*decode_transcript(data, uri))
    text, failure = decode_text(data, uri)
    if text is None:
        return Transcript(failure=failure)
    try:
        return Transcript(labels=_labels(text, kind))
    except LLaSOError as error:
        return Transcript(failure=Failure("bad_text", f"{uri}: {error}"))


def _has_times(data: bytes) -> bool:
    head = data[:_HEAD_BYTES].decode(encoding_of(data[:4]), "replace")
    return has_times(head if len(data) <= _HEAD_BYTES else head.rpartition("\n")[0])


def _labels(text: str, kind: str) -> Labels:
    if not text.strip():
        return Labels(unread="an empty file")
    if kind == "textgrid":
        return textgrid(text)
    if kind in ("srt", "vtt"):
        return subtitles(text, kind)
    if kind == "wrd":
        return word_lines(text)
    prompt = prompt_of(text) if kind == "txt" else None
    return label_lines(text) if prompt is None else Labels(transcript=prompt)
