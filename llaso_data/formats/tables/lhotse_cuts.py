"""Lhotse's cuts, recordings and supervisions as JSON has them, and the rows that they are.

A supervision is an utterance: it starts at the cut's start plus its own. A cut without supervisions is an utterance
without a text. The times of an alignment count from the start of the recording.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.rows.source_row import RowError, SourceMetadata
from llaso_data.formats.tables.columns import canonical_values, cell_text
from llaso_data.records import TIME_DECIMALS, Word

_SAME_S = 0.0015  # times that differ by less are the same: they are stored to the millisecond
_OUTSIDE_S = 0.1  # further outside of its utterance no word is a rounding
_KEEPS_SOUND = "Resample"  # the one transform that is no other sound
_WORDS = "word"
_NOT_READ = frozenset(("MultiCut", "MixedCut", "PaddingCut"))


class Place(NamedTuple):
    """Where the sound of a recording is: what its source names, and the channel of that file, None for its only one."""

    name: str
    channel: int | None


class Spoken(NamedTuple):
    """One utterance of a cut: its span, None where it is the whole, and what is said of it."""

    start_s: float | None
    end_s: float | None
    metadata: SourceMetadata


def cut_kind(cut: Mapping[str, Any]) -> None:
    """Raises RowError where a cut is none of one recording."""
    kind = cut.get("type", "MonoCut")
    if kind in _NOT_READ:
        raise RowError(f"a {kind} is not read; only a MonoCut is one stretch of one recording")
    if kind != "MonoCut":
        raise RowError(f"a cut of the unknown type {str(kind)[:40]!r}")


def place_of(recording: Any, channel: Any) -> Place:
    """Where one channel of a recording is.

    Args:
        recording: A recording's JSON.
        channel: Of the cut or the supervision.

    Raises:
        RowError: The recording has no file, or its sound is made when it is read.
    """
    if not isinstance(recording, dict):
        raise RowError("it has no recording; features alone are no audio")
    for transform in recording.get("transforms") or ():
        name = transform.get("name") if isinstance(transform, dict) else transform
        if name != _KEEPS_SOUND:
            raise RowError(
                f"its recording is changed by {str(name)[:40]} when it is read; only {_KEEPS_SOUND} is known"
            )
    sources = recording.get("sources")
    if not isinstance(sources, list) or not sources or not all(isinstance(one, dict) for one in sources):
        raise RowError("its recording has no sources")
    wanted = _channel(channel)
    source = next((one for one in sources if wanted in (one.get("channels") or [0])), sources[0])
    kind = source.get("type")
    if kind == "command":
        raise RowError("its source is of the type command, and no command of a corpus is run; save the sound to a file")
    if kind not in ("file", "url", "shar"):
        raise RowError(f"its source is of the type {str(kind)[:40]}; file, url and shar are read")
    channels = source.get("channels") or [0]
    if wanted not in channels:
        raise RowError(f"its recording has no channel {wanted}")
    return Place(str(source.get("source") or ""), channels.index(wanted) if len(channels) > 1 else None)


def _channel(value: Any) -> int:
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise RowError(f"the channel of a cut is one number; got {str(value)[:40]!r}")
    return value


def spoken_of(
    tree: FileTree, cut: Mapping[str, Any], offset_s: float, whole_s: float | None
) -> Iterator[Callable[[], Spoken]]:
    """What makes the utterances of a cut, one for each supervision; each may raise RowError.

    Args:
        tree: Takes a note of words that lie outside of their utterance, and are not used.
        cut: A cut's JSON.
        offset_s: Where the cut starts in its audio, seconds.
        whole_s: The audio's length; a cut of all of it has no span. None: it is not known.
    """
    supervisions = cut.get("supervisions") or []
    if not isinstance(supervisions, list):
        raise RowError("`supervisions` is no list")
    for one in supervisions or [None]:
        yield partial(_spoken, tree, cut, one, offset_s, whole_s)


def _spoken(tree: FileTree, cut: Mapping[str, Any], supervision: Any, offset_s: float, whole_s: float | None) -> Spoken:
    cut_s = number(cut.get("duration"), "duration")
    begin, end = 0.0, cut_s
    metadata = SourceMetadata()
    if supervision is not None:
        if not isinstance(supervision, dict):
            raise RowError("a supervision is no JSON object")
        begin = number(supervision.get("start", 0.0), "start", least=-1e9)
        end = begin + number(supervision.get("duration"), "duration")
        if begin >= cut_s - _SAME_S / 2 or end <= 0:
            raise RowError(f"a supervision from {begin:g} s to {end:g} s is outside of its cut of {cut_s:g} s")
        begin, end = max(0.0, begin), min(end, cut_s)
        metadata = _metadata(tree, supervision, offset_s + begin, end - begin)
    first, last = offset_s + begin, offset_s + end
    if whole_s is not None and first < _SAME_S and abs(last - whole_s) < _SAME_S:
        return Spoken(None, None, metadata)
    return Spoken(round(first, TIME_DECIMALS), round(last, TIME_DECIMALS), metadata)


def number(value: Any, name: str, least: float = 0.0) -> float:
    """A time in seconds. Raises RowError where it is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value < least:
        raise RowError(f"{name} is not a number of seconds: {str(value)[:40]!r}")
    return float(value)


def _metadata(tree: FileTree, supervision: Mapping[str, Any], start_s: float, duration_s: float) -> SourceMetadata:
    """What a supervision says of an utterance that starts at ``start_s`` of the recording."""
    custom = supervision.get("custom")
    plain = custom.items() if isinstance(custom, dict) else ()
    values = canonical_values({name: value for name, value in plain if isinstance(value, (str, int, float))})
    words = _words(supervision.get("alignment"), start_s)
    if words and (min(word.start_s for word in words) < -_OUTSIDE_S or words[-1].end_s > duration_s + _OUTSIDE_S):
        tree.note("alignments that lie outside of their utterance, and are not used", 1)
        words = None
    return SourceMetadata(
        text=cell_text(supervision.get("text")),
        language=cell_text(supervision.get("language")),
        speaker=cell_text(supervision.get("speaker")),
        gender=cell_text(supervision.get("gender")),
        age=cell_text(values["age"]),
        accent=cell_text(values["accent"]),
        environment=cell_text(values["environment"]),
        words=words,
        more=dict(plain) if tree.labels else None,
    )


def _words(alignment: Any, start_s: float) -> tuple[Word, ...] | None:
    items = alignment.get(_WORDS) if isinstance(alignment, dict) else None
    if not isinstance(items, list) or not items:
        return None
    words: list[Word] = []
    for item in items:
        if not isinstance(item, list) or len(item) not in (3, 4) or not isinstance(item[0], str):
            raise RowError("an item of the alignment is [symbol, start, duration, score]")
        begin = number(item[1], "start of a word", least=-1e9) - start_s
        score = item[3] if len(item) == 4 else None
        if score is not None:
            score = number(score, "score of a word", least=-1e9)
        length = number(item[2], "duration of a word")
        words.append(Word(item[0], round(begin, TIME_DECIMALS), round(begin + length, TIME_DECIMALS), score))
    return tuple(words)
