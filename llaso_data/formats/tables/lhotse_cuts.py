"""Lhotse's cuts, recordings and supervisions as JSON has them, and the rows that they are.

A supervision is an utterance: it starts at the cut's start plus its own, and its alignment has its time base. A cut
without supervisions is an utterance without a text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from llaso_data.formats.rows.source_row import RowError, SourceMetadata
from llaso_data.formats.tables.columns import canonical_values, cell_text
from llaso_data.records import TIME_DECIMALS, Word

_SAME_S = 0.0015  # times that differ by less are the same: they are stored to the millisecond
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


def spoken_of(cut: Mapping[str, Any], offset_s: float, whole_s: float | None) -> Iterator[Callable[[], Spoken]]:
    """What makes the utterances of a cut, one for each supervision; each may raise RowError.

    Args:
        cut: A cut's JSON.
        offset_s: Where the cut starts in its audio, seconds.
        whole_s: The audio's length; a cut of all of it has no span. None: it is not known.
    """
    supervisions = cut.get("supervisions") or []
    if not isinstance(supervisions, list):
        raise RowError("`supervisions` is no list")
    for one in supervisions or [None]:
        yield lambda one=one: _spoken(cut, one, offset_s, whole_s)  # type: ignore[misc]


def _spoken(cut: Mapping[str, Any], supervision: Any, offset_s: float, whole_s: float | None) -> Spoken:
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
        metadata = metadata_of(supervision, max(0.0, begin))
        begin, end = max(0.0, begin), min(end, cut_s)
    first, last = offset_s + begin, offset_s + end
    if whole_s is not None and first < _SAME_S and abs(last - whole_s) < _SAME_S:
        return Spoken(None, None, metadata)
    return Spoken(round(first, TIME_DECIMALS), round(last, TIME_DECIMALS), metadata)


def number(value: Any, name: str, least: float = 0.0) -> float:
    """A time in seconds. Raises RowError where it is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value < least:
        raise RowError(f"{name} is not a number of seconds: {str(value)[:40]!r}")
    return float(value)


def metadata_of(supervision: Mapping[str, Any], start_s: float) -> SourceMetadata:
    """What a supervision says.

    Args:
        supervision: Its JSON.
        start_s: Where the utterance starts, on the time base of its alignment.

    Raises:
        RowError: A value is no text.
    """
    custom = supervision.get("custom")
    values = canonical_values(
        {name: value for name, value in custom.items() if isinstance(value, (str, int, float))}
        if isinstance(custom, dict)
        else {}
    )
    stated = {name: cell_text(supervision.get(name)) for name in ("text", "language", "speaker", "gender")}
    return SourceMetadata(
        **stated,
        **{name: cell_text(values[name]) for name in ("age", "accent", "environment")},
        words=_words(supervision.get("alignment"), start_s),
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
