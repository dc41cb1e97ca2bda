"""Subtitles: SubRip (``.srt``) and WebVTT (``.vtt``)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from llaso_data.records import Word
from llaso_data.text.word_spans import is_unspaced

KINDS = ("srt", "vtt")
_LINE = 42  # characters; the usual bound of subtitles
_CUE = 2 * _LINE
_LONGEST_S = 6.0
_PAUSE_S = 0.7  # a cue ends at a longer one
_SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？", "।", "؟")


@dataclass(frozen=True, slots=True)
class Cue:
    """A text that is shown from ``start_s`` to ``end_s``, in seconds."""

    start_s: float
    end_s: float
    text: str


def cues_of_words(text: str, words: Sequence[Word]) -> list[Cue]:
    """Cues of at most two lines, which end with sentences and at pauses.

    Args:
        text: The words in their text, which has what stands between them.
        words: In order, with times.
    """
    cues: list[Cue] = []
    spans = _spans(text, words)
    first = 0
    for number, word in enumerate(words):
        following = words[number + 1] if number + 1 < len(words) else None
        until = spans[number + 1][0] if following is not None else len(text)
        is_last = (
            following is None
            or following.start_s - word.end_s > _PAUSE_S
            or following.end_s - words[first].start_s > _LONGEST_S
            or spans[number + 1][1] - spans[first][0] > _CUE
            or text[spans[number][0] : until].rstrip().endswith(_SENTENCE_ENDS)
        )
        if is_last:
            begin = 0 if first == 0 else spans[first][0]
            cues.append(Cue(words[first].start_s, word.end_s, text[begin:until].strip()))
            first = number + 1
    return cues


def written(cues: Iterable[Cue], kind: Literal["srt", "vtt"]) -> str:
    """A file of subtitles."""
    blocks = ["WEBVTT\n"] if kind == "vtt" else []
    for number, cue in enumerate(cues, 1):
        times = f"{_clock(cue.start_s, kind)} --> {_clock(max(cue.end_s, cue.start_s + 0.001), kind)}"
        lines = _wrapped(cue.text if kind == "srt" else _escaped(cue.text))
        blocks.append(f"{number}\n{times}\n{lines}\n")
    return "\n".join(blocks)


def _spans(text: str, words: Sequence[Word]) -> list[tuple[int, int]]:
    """Where each word stands in the text: [first character, end)."""
    spans, at = [], 0
    for word in words:
        found = text.find(word.text, at)
        start = at if found < 0 else found
        at = start + len(word.text)
        spans.append((start, at))
    return spans


def _wrapped(text: str) -> str:
    """The text in one line or two of about the same length. An empty line would end the cue.

    It is broken at a space; where there is none, between two letters of a script without spaces.
    """
    text = " ".join(text.split())
    if len(text) <= _LINE:
        return text
    spaces = [place for place, character in enumerate(text) if character == " "]
    places = spaces or [n for n, two in enumerate(pairwise(text), 1) if is_unspaced(two[0]) and is_unspaced(two[1])]
    if not places:
        return text
    middle = min(places, key=lambda place: abs(2 * place - len(text)))
    return f"{text[:middle]}\n{text[middle:].lstrip()}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, kind: str) -> str:
    milliseconds = round(max(seconds, 0.0) * 1000)
    hours, milliseconds = divmod(milliseconds, 3_600_000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    point = "," if kind == "srt" else "."
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
