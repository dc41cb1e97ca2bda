"""What lies in a folder of audio, looks like its transcripts and is not read: it is named in the summary."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from llaso_data.errors import LLaSOError
from llaso_data.formats.rows.source_row import Tree, extension
from llaso_data.formats.tables.table_rows import TABLE_EXTENSIONS, header

_ENDINGS = "json xml trn srt vtt textgrid stm ctm eaf rttm cha ass ssa sbv lrc ttml dfxp phn wrd seg tg trs"
_SIDECARS = frozenset(_ENDINGS.split())
_TABLES = re.compile(
    r"(text|wav\.scp|segments|utt2spk|txt\.done\.data|.*\.(trn|stm|ctm)"
    r"|.*(transcri|metadata|prompts|line_index|sentences|manifest).*)",
    re.IGNORECASE,
)
"""Names of lists of transcripts without a table's ending: Kaldi's, MLS's, Festvox's …"""
_AUDACITY = re.compile(r"\d+[.,]\d+[ \t]+\d+[.,]\d+([ \t]+\S.*)?|\\\t.*|\d+(\.\d+)?\t\d+(\.\d+)?(\t.*)?")
_HTK = re.compile(r"(0|\d{4,})[ \t]+\d{4,}([ \t]+\S.*)?")  # 100 ns


def holds_times(data: str) -> bool:
    """Whether a label file has a start and an end in every line, as Audacity and HTK write; not a transcript."""
    lines = [line.strip() for line in data.lstrip("\ufeff").splitlines() if line.strip()]
    return bool(lines) and all(_AUDACITY.fullmatch(line) or _HTK.fullmatch(line) for line in lines)


def note_unread(tree: Tree, chosen: Iterable[str], read: Collection[str]) -> None:
    """Notes of a folder's files that look like transcripts and are not read.

    Args:
        tree: The folder, which takes the notes.
        chosen: Paths of the audio files that are read.
        read: Paths of the transcripts that are.
    """
    stems = {path.rpartition(".")[0] for path in chosen}
    names = {stem.rpartition("/")[2] for stem in stems}
    for path, _, _ in tree.rows:
        if path in read or path in stems:
            continue
        kind, name = extension(path), path.rpartition("/")[2]
        if _is_beside(path, stems) and (kind in _SIDECARS or kind in ("txt", "lab")):
            tree.note_first(f"not read: .{kind} beside audio", path)
        elif kind in TABLE_EXTENSIONS - {"json"}:
            tree.note_first("not read: a table", f"{path}{_advice(tree, path)}")
        elif _TABLES.fullmatch(name):
            tree.note_first("not read: a list", path)
        elif kind in ("txt", "lab") and _is_of(name.rpartition(".")[0], names):
            tree.note_first(f"not read: .{kind} in another folder than its audio", path)


def _is_beside(path: str, stems: set[str]) -> bool:
    """Whether the path is an audio's but for what follows a dot of its name: ``a.srt``, ``a.en.srt``, ``a.wav.txt``."""
    stem = path.rpartition(".")[0]
    while stem not in stems:
        stem, dot, rest = stem.rpartition(".")
        if not dot or "/" in rest:
            return False
    return True


def _is_of(stem: str, names: set[str]) -> bool:
    """VCTK has ``txt/p225_001.txt`` for ``p225_001_mic1.flac``."""
    return stem in names or any(f"{stem}_mic{number}" in names for number in (1, 2))


def _advice(tree: Tree, path: str) -> str:
    from llaso_data.formats.manifest import NAMES

    if extension(path) not in ("csv", "tsv"):
        return " (a manifest is read where it is the source itself)"
    try:
        columns = [name.lower() for name in header(tree.uri(path))]
    except (LLaSOError, OSError):
        return ""
    if set(columns) & set(NAMES["audio"]):
        return " (name the table as the source, and it is read as a manifest)"
    return " (its cells are parted by |)" if any("|" in name for name in columns) else ""
