"""Labels with times beside audio: what is said from when to when, as cues (utterances) or as words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from llaso_data.records import TIME_DECIMALS

PAUSES = frozenset(("", "sil", "sp", "spn", "pau", "h#", "silence", "#", "_", "<eps>", "<sil>", "<sp>", "<p:>", "<p>"))
"""Labels, in small letters, of what is no speech."""
WORDS_OVERLAP_S = 0.02
"""By how much the words of a tool may overlap, which rounds their times."""
_LONGEST_S = 1e9


class Label(NamedTuple):
    """A stretch of a recording and what is said in it.

    Attributes:
        start_s: Seconds from the start of the recording.
        end_s: Alike.
        text: What is said, with single spaces.
        line: The line of the file that says so.
        speaker: Who says it; None: the file does not say.
        problem: What is wrong with the times; None: nothing.
    """

    start_s: float
    end_s: float
    text: str
    line: int
    speaker: str | None = None
    problem: str | None = None


class Labels(NamedTuple):
    """What a file of labels holds.

    Attributes:
        cues: Utterances.
        words: Words of the recording.
        transcript: The text of the whole recording.
        unread: Why none of these is there, in words that follow "not read: ".
    """

    cues: tuple[Label, ...] = ()
    words: tuple[Label, ...] = ()
    transcript: str | None = None
    unread: str | None = None


def checked(start_s: float, end_s: float, text: str, line: int, speaker: str | None = None) -> Label:
    """A label with its times rounded, and what is wrong with them.

    Args:
        start_s: Seconds; any number, or none.
        end_s: Alike.
        text: What is said.
        line: The line of the file that says so.
        speaker: Who says it.
    """
    problem = None
    if not 0 <= start_s < _LONGEST_S or not 0 <= end_s < _LONGEST_S:
        problem = f"{start_s:g} to {end_s:g} s are no times"
    elif end_s <= start_s:
        problem = f"it ends at {end_s:g} s, before or where it starts ({start_s:g} s)"
    else:
        start_s, end_s = round(start_s, TIME_DECIMALS), round(end_s, TIME_DECIMALS)
    return Label(start_s, end_s, " ".join(text.split()), line, speaker, problem)


def is_pause(text: str) -> bool:
    """Whether a label says that nothing is said."""
    return text.strip().lower() in PAUSES


def in_order(labels: Iterable[Label]) -> tuple[Label, ...]:
    """Labels by their start; equal ones stay in their order."""
    return tuple(sorted(labels, key=lambda label: label.start_s))


def first_overlap(labels: Iterable[Label], tolerance_s: float = 0.0) -> Label | None:
    """The first label that begins before one before it has ended, by more than a tolerance; the labels are in order."""
    latest_s = 0.0
    for label in labels:
        if label.start_s < latest_s - tolerance_s:
            return label
        latest_s = max(latest_s, label.end_s)
    return None
