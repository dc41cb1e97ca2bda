"""TIMIT: ``TRAIN/DR1/FCJF0/SA1.WAV`` with ``SA1.TXT``, ``SA1.WRD`` and ``SA1.PHN``, whose lines begin with samples."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.beside_audio.timed_rows import audio_rows
from llaso_data.formats.beside_audio.transcripts import Transcript, read_transcripts
from llaso_data.formats.files.file_tree import FileTree, ListedFile, compile_glob
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.list_rows import text_lines
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import SourceRow, failed_row
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
_YEAR = re.compile(r"\d\d/\d\d/(\d\d)")


def recognises(tree: FileTree) -> str | None:
    """A file of labels such as ``DR1/FCJF0/SA1.PHN``, in capitals or not."""
    first = next((file.path for file in tree.not_audio if _is_labels(file.path)), None)
    return None if first is None else f"it has {first}"


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every recording with the text of its ``.TXT``, else of its ``.WRD``; labels without a recording are ``missing``.

    The words of the ``.WRD`` come with their times. The folders say speaker, gender and dialect, ``SPKRINFO.TXT`` the
    age. The times of phones are not read.

    Raises:
        LLaSOError: There are no labels of TIMIT, or nothing matches the source's pattern.
    """
    labels = _labels(tree)
    if not labels:
        raise LLaSOError(f"{spec.path}: no labels such as DR1/FCJF0/SA1.PHN; is this the folder of TIMIT?")
    matches = compile_glob(spec.pattern).fullmatch
    audio, ages = _audio(tree), _ages(tree)
    rows = (_row(tree, labels.get(stem, {}), ages, stem, file) for stem, file in audio.items() if matches(file.path))
    unheard = (next(iter(kinds.values())).path for stem, kinds in labels.items() if stem not in audio)
    missing = (
        failed_row(tree.root, tree.root, path, "no recording beside it; fetch it again", reason="missing")
        for path in unheard
        if matches(path)
    )
    tree.note("not read: the times of phones in .phn", sum("phn" in kinds for kinds in labels.values()))
    return sorted_rows(chain(rows, missing), if_none=f"{spec.path}: nothing in it matches {spec.pattern!r}")


def _is_labels(path: str) -> bool:
    return extension(path) in LABELS and _UTTERANCE.fullmatch(path.rpartition(".")[0]) is not None


def _labels(tree: FileTree) -> dict[str, dict[str, ListedFile]]:
    """Path of an utterance without extension → extension in small letters → file."""
    found: dict[str, dict[str, ListedFile]] = {}
    for file in tree.not_audio:
        if _is_labels(file.path):
            stem, _, kind = file.path.rpartition(".")
            found.setdefault(stem, {})[kind.lower()] = file
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


def _row(
    tree: FileTree, labels: Mapping[str, ListedFile], ages: Mapping[str, str], stem: str, file: ListedFile
) -> SourceRow:
    read = [labels[kind] for kind in ("txt", "wrd") if kind in labels]
    found = read_transcripts(tree, read)
    (row,) = audio_rows(tree, file, [(one, _prompt(tree, one, found[one.path])) for one in read])
    match = _UTTERANCE.fullmatch(stem)
    dialect, speaker, gender = match.groups() if match else ("1", "", "")
    metadata = replace(
        row.metadata,
        language="en",
        speaker=speaker.upper(),
        gender=gender,
        age=ages.get(speaker.upper()),
        accent=DIALECTS[int(dialect) - 1],
    )
    return replace(row, metadata=metadata)


def _prompt(tree: FileTree, file: ListedFile, found: Transcript) -> Transcript:
    """What a file of labels holds; a ``.TXT`` of several lines, or without samples before its text, is none."""
    if found.text is None and not (found.labels and found.labels.cues):
        return found
    detail = f"{tree.uri(file.path)}: it is not one line `START END TEXT`, in samples; correct it"
    return Transcript(failure=Failure("bad_text", detail))


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
