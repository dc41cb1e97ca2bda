"""TIMIT: ``TRAIN/DR1/FCJF0/SA1.WAV`` with ``SA1.TXT``, ``SA1.WRD`` and ``SA1.PHN``, whose lines begin with samples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile, compile_glob
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.list_rows import text_lines
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import SourceMetadata, SourceRow, failed_row, file_row
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure
from llaso_data.uris import extension

SPEAKERS = "SPKRINFO.TXT"
LABELS = ("txt", "wrd", "phn")
DIALECTS = (
    *("New England", "Northern", "North Midland", "South Midland", "Southern", "New York City", "Western"),
    "Army Brat",
)
"""Of the folders DR1 to DR8."""
_UTTERANCE = re.compile(r"(?:.*/)?DR([1-8])/(([FM])[A-Z]{3}\d)/S[AIX]\d+", re.IGNORECASE)
_LINE = re.compile(r"\s*[0-9]+\s+[0-9]+\s+\S.*")
_YEAR = re.compile(r"\d\d/\d\d/(\d\d)")

Labels = Mapping[str, Mapping[str, str]]
"""Path of an utterance without extension → extension in small letters → path."""


def recognises(tree: FileTree) -> str | None:
    """A file of labels such as ``DR1/FCJF0/SA1.PHN``, in capitals or not."""
    first = next((file.path for file in tree.not_audio if _is_labels(file.path)), None)
    return None if first is None else f"it has {first}"


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every recording with the text of its ``.TXT``, else of its ``.WRD``; labels without a recording are ``missing``.

    The folders say speaker, gender and dialect, ``SPKRINFO.TXT`` the age. The times of words and phones are not read.

    Raises:
        LLaSOError: There are no labels of TIMIT, or nothing matches the source's pattern.
    """
    labels = _labels(tree)
    if not labels:
        raise LLaSOError(f"{spec.path}: no labels such as DR1/FCJF0/SA1.PHN; is this the folder of TIMIT?")
    matches = compile_glob(spec.pattern).fullmatch
    audio, ages = _audio(tree), _ages(tree)
    rows = (_row(tree, labels, ages, stem, file) for stem, file in audio.items() if matches(file.path))
    unheard = (next(iter(kinds.values())) for stem, kinds in labels.items() if stem not in audio)
    missing = (
        failed_row(tree.root, tree.root, path, "no recording beside it; fetch it again", reason="missing")
        for path in unheard
        if matches(path)
    )
    for kind in LABELS[1:]:
        tree.note(f"not read: the times in .{kind}", sum(kind in kinds for kinds in labels.values()))
    return sorted_rows(chain(rows, missing), if_none=f"{spec.path}: nothing in it matches {spec.pattern!r}")


def _is_labels(path: str) -> bool:
    return extension(path) in LABELS and _UTTERANCE.fullmatch(path.rpartition(".")[0]) is not None


def _labels(tree: FileTree) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for file in tree.not_audio:
        if _is_labels(file.path):
            stem, _, kind = file.path.rpartition(".")
            found.setdefault(stem, {})[kind.lower()] = file.path
    return found


def _audio(tree: FileTree) -> dict[str, ListedFile]:
    """Path without extension → recording. Beside ``SA1.WAV`` some copies have the same as ``SA1.WAV.wav``."""
    found: dict[str, ListedFile] = {}
    for file in tree.files:
        if extension(file.path) not in AUDIO_EXTENSIONS:
            continue
        stem = file.path.rpartition(".")[0]
        stem = stem.rpartition(".")[0] if extension(stem) == "wav" else stem
        if _UTTERANCE.fullmatch(stem) and found.setdefault(stem, file) is not file:
            tree.note_example("not read: a second file of the same recording", file.path)
    return found


def _row(tree: FileTree, labels: Labels, ages: Mapping[str, str], stem: str, file: ListedFile) -> SourceRow:
    match = _UTTERANCE.fullmatch(stem)
    assert match is not None, stem
    dialect, speaker, gender = match.groups()
    metadata = SourceMetadata(
        language="en",
        speaker=speaker.upper(),
        gender=gender,
        age=ages.get(speaker.upper()),
        accent=DIALECTS[int(dialect) - 1],
    )
    kinds = labels.get(stem, {})
    path = kinds.get("txt") or kinds.get("wrd")
    if path is None:
        return file_row(tree, file, metadata)
    said = _text(tree, path)
    if isinstance(said, Failure):
        return file_row(tree, file, metadata, failure=said, where=path)
    return file_row(tree, file, replace(metadata, text=said or None), where=path)


def _text(tree: FileTree, path: str) -> str | Failure:
    """What labels say, without the samples where each begins and ends."""
    said: list[str] = []
    for number, line in text_lines(tree.uri(path)):
        if isinstance(line, Failure):
            return Failure(line.reason, f"{tree.uri(path)}:{number}: {line.detail}")
        if line.strip() and not _LINE.fullmatch(line):
            return Failure("bad_text", f"{tree.uri(path)}:{number}: a line is `START END TEXT`, in samples")
        said += line.split()[2:]
    return " ".join(said)


def _ages(tree: FileTree) -> dict[str, str]:
    """Speaker → age: years between the dates of recording and birth, "CJF0  F  1  TRN  03/03/87  08/03/65 …"."""
    ages: dict[str, str] = {}
    for file in tree.not_audio:
        if file.path.rpartition("/")[2].upper() != SPEAKERS:
            continue
        for _, line in text_lines(tree.uri(file.path)):
            words = line.split() if isinstance(line, str) else []
            recorded, born = (_YEAR.fullmatch(word) for word in words[4:6]) if len(words) > 5 else (None, None)
            if recorded and born:
                ages[f"{words[1]}{words[0]}".upper()] = str(int(recorded[1]) - int(born[1]))
    return ages


LAYOUT = Layout(
    name="timit",
    title="TIMIT",
    recognised_by="labels such as `DR1/FCJF0/SA1.PHN`",
    unit="a recording",
    container="the folder",
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
