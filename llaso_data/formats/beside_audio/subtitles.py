"""Subtitles: SubRip's ``.srt`` and WebVTT's ``.vtt``, whose cues are utterances."""

from __future__ import annotations

import html
import re

from llaso_data.formats.beside_audio.labels import Label, Labels, checked, in_order

_TIME = r"(-?(?:\d{1,6}:)?\d{1,6}:\d{1,2}(?:[.,]\d{1,9})?)"
_TIMING = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_COUNTER = re.compile(r"\s*\d+\s*")
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+([^<>]{1,200})>")
_TAG = re.compile(r"</?(?:i|b|u|s|c|v|font|ruby|rt|lang)(?:[.\s][^<>]*)?/?>|<\d[\d:.]*>|\{\\[^{}]*\}", re.IGNORECASE)


def subtitles(text: str, kind: str) -> Labels:
    """The cues of subtitles, without the format's own tags.

    A cue's voice (``<v Ann>``) is its speaker where it has one.

    Args:
        text: All of the file.
        kind: ``srt`` or ``vtt``. In WebVTT ``&amp;`` and the like are characters.
    """
    lines = text.split("\n")
    cues: list[Label] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if "-->" not in line:
            continue
        first, said = number, []
        while number < len(lines) and lines[number].strip() and not _begins_cue(lines, number):
            said.append(lines[number])
            number += 1
        cue = _cue(line, "\n".join(said), first, kind)
        if cue.problem or cue.text:
            cues.append(cue)
    return Labels(cues=in_order(cues)) if cues else Labels(unread=f".{kind} without a cue")


def _begins_cue(lines: list[str], number: int) -> bool:
    """Whether a cue begins here though no empty line is before it: with its times, or with its number and times."""
    if "-->" in lines[number]:
        return True
    return number + 1 < len(lines) and "-->" in lines[number + 1] and _COUNTER.fullmatch(lines[number]) is not None


def _cue(timing: str, text: str, line: int, kind: str) -> Label:
    match = _TIMING.fullmatch(timing.rstrip())
    if match is None:
        return Label(0.0, 0.0, "", line, problem="times are `HOURS:MINUTES:SECONDS --> HOURS:MINUTES:SECONDS`")
    voices = {" ".join(voice.split()) for voice in _VOICE.findall(text)}
    said = _TAG.sub("", text)
    if kind == "vtt":
        said = html.unescape(said)
    return checked(_seconds(match[1]), _seconds(match[2]), said, line, voices.pop() if len(voices) == 1 else None)


def _seconds(clock: str) -> float:
    sign = -1 if clock.startswith("-") else 1
    seconds = 0.0
    for part in clock.lstrip("-").replace(",", ".").split(":"):
        seconds = seconds * 60 + float(part)
    return sign * seconds
