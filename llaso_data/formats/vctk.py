"""VCTK: ``wav48_silence_trimmed/p225/p225_001_mic1.flac`` (0.92) or ``wav48/p225/p225_001.wav``, and ``txt/p225/…``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from llaso_data.errors import LLaSOError
from llaso_data.formats.beside_audio.transcripts import read_transcripts
from llaso_data.formats.files.file_tree import FileTree, ListedFile, compile_glob
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.list_rows import text_lines
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import SourceMetadata, SourceRow, failed_row, file_row
from llaso_data.recipe import SourceSpec

AUDIO_FOLDERS = ("wav48_silence_trimmed", "wav48")
"""Of several the first is read: the second holds the same recordings."""
TEXTS = "txt"
SPEAKERS = "speaker-info.txt"
_TEXT = re.compile(rf"(?:(.*)/)?{TEXTS}/([ps]\d+)/\2_\d+\.txt")
_AUDIO = re.compile(r"((\w+?)_\d+)(?:_mic\d+)?\.\w+")
_ACCENTS = {"English": "England English"}
"""Its accents are countries'; "English" alone would be a language."""
_BATCH_FILES = 256  # transcripts that are read at once


def recognises(tree: FileTree) -> str | None:
    """A transcript ``txt/p225/p225_001.txt`` with one of the folders of audio beside ``txt``."""
    root = _root(tree)
    return None if root is None else f"it has {root}{_audio_folder(tree, root)} and {root}{TEXTS}"


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every recording, of either microphone, and a ``missing`` failure for every transcript without a recording.

    Raises:
        LLaSOError: The source has no such folders.
    """
    root = _root(tree)
    if root is None:
        folders = " or ".join(AUDIO_FOLDERS)
        raise LLaSOError(f"{spec.path}: no {folders} with {TEXTS} beside it; is this the folder of VCTK?")
    folder = f"{root}{_audio_folder(tree, root)}"
    matches = compile_glob(spec.pattern).fullmatch
    audio = [file for file in tree.audio_files(spec.pattern) if file.path.startswith(f"{folder}/")]
    texts = {file.path: file for file in tree.below(f"{root}{TEXTS}")}
    whole = {_text_path(root, file.path) for file in tree.below(folder)}
    _note_others(tree, folder)
    missing = (
        failed_row(tree.root, tree.root, path, "there is no recording of it; fetch it again", reason="missing")
        for path in texts
        if path not in whole and matches(path)
    )
    rows = chain(_audio_rows(tree, root, audio, texts, _speakers(tree, root)), missing)
    return sorted_rows(rows, if_none=f"{spec.path}: no recording in it matches {spec.pattern!r}")


def _root(tree: FileTree) -> str | None:
    """The path before ``txt``, with its slash; None where there are no such folders."""
    for file in tree.not_audio:
        match = _TEXT.fullmatch(file.path)
        root = f"{match[1]}/" if match and match[1] else ""
        if match and _audio_folder(tree, root):
            return root
    return None


def _audio_folder(tree: FileTree, root: str) -> str:
    return next((name for name in AUDIO_FOLDERS if any(tree.below(f"{root}{name}"))), "")


def _text_path(root: str, path: str) -> str:
    """``wav48…/p225/p225_001_mic1.flac`` → ``txt/p225/p225_001.txt``; empty for another name."""
    match = _AUDIO.fullmatch(path.rpartition("/")[2])
    return f"{root}{TEXTS}/{match[2]}/{match[1]}.txt" if match else ""


def _audio_rows(
    tree: FileTree,
    root: str,
    audio: list[ListedFile],
    texts: dict[str, ListedFile],
    speakers: dict[str, SourceMetadata],
) -> Iterator[SourceRow]:
    for start in range(0, len(audio), _BATCH_FILES):
        batch = [(file, texts.get(_text_path(root, file.path))) for file in audio[start : start + _BATCH_FILES]]
        contents = read_transcripts(tree, [text for _, text in batch if text is not None])
        for file, text in batch:
            speaker = file.path.rpartition("/")[2].partition("_")[0]
            metadata = speakers.get(speaker) or SourceMetadata(language="en", speaker=speaker)
            if text is None:
                yield file_row(tree, file, metadata)
            else:
                said = contents[text.path]
                metadata = replace(metadata, text=said.text)
                yield file_row(tree, file, metadata, failure=said.failure, where=text.path)


def _speakers(tree: FileTree, root: str) -> dict[str, SourceMetadata]:
    """Speaker → what ``speaker-info.txt`` says: "p225  23  F    English    Southern  England"; 0.80 has no p."""
    path = f"{root}{SPEAKERS}"
    speakers: dict[str, SourceMetadata] = {}
    if not any(file.path == path for file in tree.not_audio):
        return speakers
    for _, line in text_lines(tree.uri(path)):
        words = line.split() if isinstance(line, str) else []
        if len(words) < 3 or not re.fullmatch(r"[ps]?\d+", words[0]):
            continue
        name = f"p{words[0]}" if words[0].isdigit() else words[0]
        accent = _ACCENTS.get(words[3], words[3]) if len(words) > 3 else None
        speakers[name] = SourceMetadata(language="en", speaker=name, age=words[1], gender=words[2], accent=accent)
    return speakers


def _note_others(tree: FileTree, folder: str) -> None:
    other = f"{folder.removesuffix(AUDIO_FOLDERS[0])}{AUDIO_FOLDERS[1]}"
    if folder.endswith(AUDIO_FOLDERS[0]):
        tree.note(f"not read: {other}, the same recordings as {folder}", sum(1 for _ in tree.below(other)))


LAYOUT = Layout(
    name="vctk",
    title="VCTK",
    recognised_by="`wav48_silence_trimmed` or `wav48`, with `txt/p225/p225_001.txt` beside it",
    unit="an audio file",
    container="the folder",
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
