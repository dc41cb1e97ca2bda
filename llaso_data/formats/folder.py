"""A folder of audio at any depth; a transcript, where there is one, is ``NAME.txt`` or ``NAME.lab`` beside it."""

from __future__ import annotations

from collections.abc import Iterator

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.beside_audio.transcripts import (
    TRANSCRIPT_EXTENSIONS,
    Transcript,
    read_transcripts,
    transcript_files,
    transcript_of,
)
from llaso_data.formats.beside_audio.unread import note_unread
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.source_row import SourceMetadata, SourceRow, file_row
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.uris import extension

BATCH_FILES = 256  # audio files whose transcripts are read at once


def recognises(tree: FileTree) -> str | None:
    """An audio file, and every folder: this layout is the last that a source is compared with."""
    if not tree.is_file:
        return "it is a folder, and no other layout"
    kind = extension(tree.root)
    return f"its name ends in .{kind}" if kind in AUDIO_EXTENSIONS else None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every audio file that ``spec.pattern`` matches, with the transcript beside it.

    Raises:
        LLaSOError: There is no such file.
    """
    if tree.is_file:
        tree, audio = _folder_of(tree)
    else:
        audio = tree.audio_files(spec.pattern)
    if not audio:
        extensions = ", ".join(sorted(AUDIO_EXTENSIONS))
        raise LLaSOError(f"{spec.path}: no audio that matches {spec.pattern!r} in it; looked for {extensions}")
    return _rows(tree, audio)


def _folder_of(tree: FileTree) -> tuple[FileTree, list[ListedFile]]:
    """One audio file as the folder that holds it."""
    root, _, name = tree.root.rpartition("/")
    stat = storage.stat(tree.root)
    audio = ListedFile(name, stat["size"], stat["version"])
    stem = name.rpartition(".")[0]
    beside = {path: storage.join(root, path) for path in (f"{stem}.{kind}" for kind in TRANSCRIPT_EXTENSIONS)}
    transcripts = [
        ListedFile(path, storage.stat(uri)["size"], "") for path, uri in beside.items() if storage.exists(uri)
    ]
    return FileTree(root, files=(audio, *transcripts)), [audio]


def _rows(tree: FileTree, audio: list[ListedFile]) -> Iterator[SourceRow]:
    transcripts = transcript_files(tree)
    beside_audio = (transcript_of(file.path, transcripts) for file in audio)
    note_unread(tree, [file.path for file in audio], {file.path for file in beside_audio if file})
    for start in range(0, len(audio), BATCH_FILES):
        batch = audio[start : start + BATCH_FILES]
        beside = [transcript_of(file.path, transcripts) for file in batch]
        contents = read_transcripts(tree, [file for file in beside if file])
        for file, transcript_file in zip(batch, beside, strict=True):
            transcript = contents[transcript_file.path] if transcript_file else Transcript()
            if transcript.has_times and transcript_file:
                tree.note_example("not read: labels with times", transcript_file.path)
            yield file_row(tree, file, SourceMetadata(text=transcript.text), failure=transcript.failure)


LAYOUT = Layout(
    name="folder",
    title="folders of audio with NAME.txt",
    recognised_by="anything else; also one audio file",
    unit="an audio file",
    container="the folder",
    endings=AUDIO_EXTENSIONS,
    before=(),
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
