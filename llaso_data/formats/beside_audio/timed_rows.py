"""The rows of one audio file, by what lies beside it: one row of the whole file, or one for each cue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from llaso_data.formats.beside_audio.labels import WORDS_OVERLAP_S, Label, Labels, first_overlap
from llaso_data.formats.beside_audio.transcripts import Transcript
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.rows.source_row import BAD_ROW, SourceMetadata, SourceRow, file_row
from llaso_data.records import TIME_DECIMALS, Failure, Word
from llaso_data.uris import extension

Beside = Sequence[tuple[ListedFile, Transcript]]
"""Files beside an audio file with what they hold, in the order in which they count."""


def audio_rows(tree: FileTree, audio: ListedFile, beside: Beside) -> list[SourceRow]:
    """The rows of an audio file, in their order.

    A transcript is the text of the whole file. Without one, cues are utterances, and the whole file is no row; else
    the words of a file of words are its text. Words with times come with the text that they are of.

    Args:
        tree: The folder, which takes notes of what is not read.
        audio: The audio file.
        beside: What lies beside it.
    """
    whole = next((one for one in beside if one[1].labels is None and (one[1].text or one[1].failure)), None)
    if whole is not None and whole[1].failure and extension(whole[0].path) not in ("txt", "lab"):
        whole = None  # of a damaged file of labels another one may take the place
    whole = whole or next((one for one in beside if one[1].labels and one[1].labels.transcript), None)
    cues = None if whole else next((one for one in beside if one[1].labels and one[1].labels.cues), None)
    words = next((one for one in beside if one[1].labels and one[1].labels.words), None)
    damaged = None if whole or cues or words else next((one for one in beside if one[1].failure), None)
    _note_unread(tree, beside, [one[0].path for one in (whole, cues, words, damaged) if one])
    if cues:
        assert cues[1].labels
        return _cue_rows(tree, audio, cues[0].path, cues[1].labels.cues, _usable_words(tree, words))
    return [_whole_row(tree, audio, whole or damaged, words)]


def _whole_row(
    tree: FileTree,
    audio: ListedFile,
    whole: tuple[ListedFile, Transcript] | None,
    words: tuple[ListedFile, Transcript] | None,
) -> SourceRow:
    text, failure = None, None
    if whole:
        labels = whole[1].labels or Labels()
        text, failure = whole[1].text or labels.transcript, whole[1].failure
    elif words:
        labels = words[1].labels or Labels()
        wrong = next((word for word in labels.words if word.problem), None)
        if wrong:  # a transcript without one of its words would be another
            failure = Failure("bad_text", f"{tree.uri(words[0].path)}:{wrong.line}: {wrong.problem}; correct it")
        text = None if wrong else " ".join(word.text for word in labels.words)
    usable = () if failure else _usable_words(tree, words)
    metadata = SourceMetadata(text=text, words=_relative(usable, 0.0) or None)
    return file_row(tree, audio, metadata, failure=failure)


def _usable_words(tree: FileTree, words: tuple[ListedFile, Transcript] | None) -> tuple[Label, ...]:
    """The words, where all their times are times and follow each other."""
    labels = words[1].labels if words else None
    if words is None or labels is None:
        return ()
    wrong = next((word for word in labels.words if word.problem), None) or first_overlap(labels.words, WORDS_OVERLAP_S)
    if wrong is None:
        return labels.words
    tree.note_example("times of words not used", f"{words[0].path}:{wrong.line}: {wrong.problem or 'words overlap'}")
    return ()


def _cue_rows(
    tree: FileTree, audio: ListedFile, path: str, cues: tuple[Label, ...], words: tuple[Label, ...]
) -> list[SourceRow]:
    overlap = first_overlap([cue for cue in cues if not cue.problem])
    if overlap:
        tree.note_example("cues that overlap", f"{path}:{overlap.line}")
        words = ()  # whose they are is not known
    rows, at = [], 0
    for cue in cues:
        where = f"{path}:{cue.line}"
        if cue.problem:
            failure = Failure(BAD_ROW, f"{tree.uri(path)}:{cue.line}: {cue.problem}; correct it")
            rows.append(file_row(tree, audio, SourceMetadata(), failure=failure, where=where))
            continue
        while at < len(words) and _middle_s(words[at]) < cue.start_s:
            at += 1
        inside = list(_until(words, at, cue.end_s))
        metadata = SourceMetadata(
            text=cue.text, speaker=cue.speaker, words=_relative(inside, cue.start_s, cue.end_s) or None
        )
        row = file_row(tree, audio, metadata, where=where)
        rows.append(replace(row, start_s=cue.start_s, end_s=cue.end_s))
    return sorted(rows, key=SourceRow.sort_key)


def _until(words: Sequence[Label], first: int, end_s: float) -> Iterator[Label]:
    for number in range(first, len(words)):
        if _middle_s(words[number]) >= end_s:
            return
        yield words[number]


def _middle_s(word: Label) -> float:
    return (word.start_s + word.end_s) / 2


def _relative(words: Sequence[Label], start_s: float, end_s: float = float("inf")) -> tuple[Word, ...]:
    """Words with times from the start of the utterance, inside of it."""
    if not start_s and end_s == float("inf"):
        return tuple(Word(word.text, word.start_s, word.end_s) for word in words)
    return tuple(
        Word(
            word.text,
            round(max(0.0, word.start_s - start_s), TIME_DECIMALS),
            round(min(word.end_s, end_s) - start_s, TIME_DECIMALS),
        )
        for word in words
    )


def _note_unread(tree: FileTree, beside: Beside, used: Sequence[str]) -> None:
    for file, found in beside:
        if file.path in used or not (found.text or found.labels or found.failure):
            continue
        if found.labels and found.labels.unread:
            tree.note_example(f"not read: {found.labels.unread}", file.path)
        elif found.failure:
            tree.note_example("not read: damaged files beside audio", file.path)
        else:
            tree.note_example(f"not read: .{extension(file.path)} beside audio", file.path)
