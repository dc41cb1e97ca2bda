"""A folder of audio at any depth; transcripts, subtitles and labels are files of the same name beside it."""

from __future__ import annotations

from collections.abc import Iterator

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.beside_audio.timed_rows import audio_rows
from llaso_data.formats.beside_audio.transcripts import (
    BESIDE_EXTENSIONS,
    beside_files,
    files_beside,
    read_transcripts,
)
from llaso_data.formats.beside_audio.unread import note_unread
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.source_row import SourceRow
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.uris import extension

BATCH_FILES = 256  # audio files of a store whose transcripts are fetched at once


def recognises(tree: FileTree) -> str | None:
    """An audio file, and every folder: this layout is the last that a source is compared with."""
    if not tree.is_file:
        return "it is a folder, and no other layout"
    kind = extension(tree.root)
    return f"its name ends in .{kind}" if kind in AUDIO_EXTENSIONS else None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every audio file that ``spec.pattern`` matches, with its transcript; or every cue of the subtitles beside it.

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
    names = [f"{stem}.{kind}" for kind in (*BESIDE_EXTENSIONS, "TextGrid")]
    beside = {path: storage.join(root, path) for path in names}
    files = [ListedFile(path, storage.stat(uri)["size"], "") for path, uri in beside.items() if storage.exists(uri)]
    return FileTree(root, files=(audio, *files), notes=tree.notes, labels=tree.labels), [audio]


def _rows(tree: FileTree, audio: list[ListedFile]) -> Iterator[SourceRow]:
    beside = beside_files(tree)
    read = {one.path for file in audio for one in files_beside(file.path, beside)}
    note_unread(tree, [file.path for file in audio], read)
    at_once = 1 if storage.is_local(tree.root) else BATCH_FILES
    for start in range(0, len(audio), at_once):
        batch = [(file, files_beside(file.path, beside)) for file in audio[start : start + at_once]]
        contents = read_transcripts(tree, [one for _, files in batch for one in files])
        for file, files in batch:
            yield from audio_rows(tree, file, [(one, contents[one.path]) for one in files])


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
