"""What lies in a folder of audio, looks like its transcripts and is not read: the summary of a run names it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from llaso_data.errors import LLaSOError
from llaso_data.formats.beside_audio.transcripts import TRANSCRIPT_EXTENSIONS
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.tables.columns import COLUMN_NAMES
from llaso_data.formats.tables.table_rows import TABLE_EXTENSIONS, header
from llaso_data.uris import extension

_ANNOTATIONS = "json xml trn srt vtt textgrid stm ctm eaf rttm cha ass ssa sbv lrc ttml dfxp phn wrd seg tg trs"
_BESIDE_EXTENSIONS = frozenset((*_ANNOTATIONS.split(), *TRANSCRIPT_EXTENSIONS))
_LIST_NAMES = re.compile(
    r"(text|wav\.scp|segments|utt2spk|txt\.done\.data|.*\.(trn|stm|ctm)"
    r"|.*(transcri|metadata|prompts|line_index|sentences|manifest).*)",
    re.IGNORECASE,
)
"""Names of lists of transcripts without a table's extension: Kaldi's, MLS's, Festvox's …"""


def note_unread(tree: FileTree, audio: Iterable[str], read: Collection[str]) -> None:
    """Note the files of a folder that look like transcripts and are not read.

    Args:
        tree: The folder, which takes the notes.
        audio: Paths of the audio files that are read.
        read: Paths of the transcripts that are read.
    """
    stems = {path.rpartition(".")[0] for path in audio}
    names = {stem.rpartition("/")[2] for stem in stems}
    for path, _, _ in tree.files:
        if path in read or path in stems:
            continue
        kind, name = extension(path), path.rpartition("/")[2]
        if kind in _BESIDE_EXTENSIONS and _is_beside(path, stems):
            tree.note_example(f"not read: .{kind} beside audio", path)
        elif kind in TABLE_EXTENSIONS - {"json"}:
            tree.note_example("not read: a table", f"{path}{_advice(tree, path)}")
        elif _LIST_NAMES.fullmatch(name):
            tree.note_example("not read: a list", path)
        elif kind in TRANSCRIPT_EXTENSIONS and _is_transcript_of(name.rpartition(".")[0], names):
            tree.note_example(f"not read: .{kind} in another folder than its audio", path)


def _is_beside(path: str, stems: set[str]) -> bool:
    """Whether the path is an audio's but for what follows a dot of its name: ``a.srt``, ``a.en.srt``, ``a.wav.txt``."""
    stem = path.rpartition(".")[0]
    while stem not in stems:
        stem, dot, rest = stem.rpartition(".")
        if not dot or "/" in rest:
            return False
    return True


def _is_transcript_of(stem: str, names: set[str]) -> bool:
    """VCTK has ``txt/p225_001.txt`` for ``p225_001_mic1.flac``."""
    return stem in names or any(f"{stem}_mic{number}" in names for number in (1, 2))


def _advice(tree: FileTree, path: str) -> str:
    if extension(path) not in ("csv", "tsv"):
        return " (a manifest is read where it is the source itself)"
    try:
        columns = [name.lower() for name in header(tree.uri(path))]
    except (LLaSOError, OSError):
        return ""
    if set(columns) & set(COLUMN_NAMES["audio"]):
        return " (name the table as the source, and it is read as a manifest)"
    return " (its cells are parted by |)" if any("|" in name for name in columns) else ""
