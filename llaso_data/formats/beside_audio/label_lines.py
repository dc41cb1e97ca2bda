"""Label files with a label a line: Audacity's tracks (seconds), HTK's labels (100 ns), TIMIT's words (samples)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from llaso_data.formats.beside_audio.labels import Label, Labels, checked, in_order, is_pause

_AUDACITY = re.compile(
    r"(-?\d+[.,]\d+)[ \t]+(-?\d+[.,]\d+)(?:[ \t]+(\S.*))?|\\\t.*|(-?\d+(?:\.\d+)?)\t(-?\d+(?:\.\d+)?)(?:\t(.*))?"
)
_HTK = re.compile(r"(-?0|-?\d{4,})[ \t]+(-?\d{4,})(?:[ \t]+(\S.*))?")
_SAMPLES = re.compile(r"(-?\d+)[ \t]+(-?\d+)[ \t]+(\S.*)")
_PROMPT = re.compile(r"0[ \t]+\d{4,}[ \t]+(\S+[ \t]+\S.*)")  # TIMIT: the whole file, in samples
_HTK_UNITS_PER_S = 10_000_000
_TIMIT_RATE_HZ = 16_000
_SCORE = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_PHONE = re.compile(
    r"(?:aa|ae|ah|ao|aw|ax|axr|ax-h|ay|b|bcl|ch|d|dcl|dh|dx|eh|el|em|en|eng|epi|er|ey|f|g|gcl|hh|hv|ih|ix|iy|jh|k|kcl|l"
    r"|m|n|ng|nx|ow|oy|p|pcl|q|r|s|sh|t|tcl|th|uh|uw|ux|v|w|y|z|zh)[0-2]?|\S*[-+^=]\S*[-+^=]\S*",
    re.IGNORECASE,
)
"""ARPAbet and TIMIT's additions; triphones and HTS's full contexts."""
_SHARE_WITH_TIMES = 0.9  # of the lines, from which a file is one of labels
_NO_TIME_S = float("inf")
PHONES = "labels of phones"


def has_times(text: str) -> bool:
    """Whether lines begin with a start and an end, as labels of Audacity (seconds) and HTK (100 ns) do.

    All of them have to, or of three and more nine in ten.
    """
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines() if line.strip()]
    timed = sum(1 for line in lines if _AUDACITY.fullmatch(line) or _HTK.fullmatch(line))
    return timed > 0 and (timed == len(lines) or (timed >= 3 and timed >= _SHARE_WITH_TIMES * len(lines)))


def prompt_of(text: str) -> str | None:
    """The text of TIMIT's ``.TXT``: one line, with the first and the last sample before it. None: it is none."""
    match = _PROMPT.fullmatch(text.strip())
    return " ".join(match[1].split()) if match else None


def label_lines(text: str) -> Labels:
    """Labels of Audacity, which are cues, or of HTK, which are words where each is one."""
    numbered = list(_numbered(text))
    htk = sum(1 for _, line in numbered if _HTK.fullmatch(line))
    if htk >= sum(1 for _, line in numbered if not _HTK.fullmatch(line)):
        return _of_htk([_label(_HTK, line, number, 1 / _HTK_UNITS_PER_S) for number, line in numbered])
    cues = [_audacity_label(line, number) for number, line in numbered if not line.startswith("\\\t")]
    cues = [cue for cue in cues if cue.problem or not is_pause(cue.text)]
    return Labels(cues=in_order(cues)) if cues else Labels(unread="labels without text")


def word_lines(text: str) -> Labels:
    """The words of TIMIT's ``.WRD``, whose times are samples at 16 kHz."""
    found = [_label(_SAMPLES, line, number, 1 / _TIMIT_RATE_HZ) for number, line in _numbered(text)]
    words = in_order(word for word in found if word.problem or not is_pause(word.text))
    return Labels(words=words) if words else Labels(unread="labels without text")


def _numbered(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if stripped := line.strip():
            yield number, stripped


def _label(pattern: re.Pattern[str], line: str, number: int, unit_s: float) -> Label:
    match = pattern.fullmatch(line)
    if match is None:
        return Label(0.0, 0.0, "", number, problem="a line is `START END LABEL`")
    first, last, text = match.group(1, 2, 3)
    start_s = int(first) * unit_s if len(first) < 20 else _NO_TIME_S
    end_s = int(last) * unit_s if len(last) < 20 else _NO_TIME_S
    return checked(start_s, end_s, text or "", number)


def _audacity_label(line: str, number: int) -> Label:
    match = _AUDACITY.fullmatch(line)
    if match is None:
        return Label(0.0, 0.0, "", number, problem="a line is `START END LABEL`")
    start, end, text = match.groups()[:3] if match[1] else match.groups()[3:]
    return checked(float(start.replace(",", ".")), float(end.replace(",", ".")), text or "", number)


def _of_htk(labels: Sequence[Label]) -> Labels:
    named = [label._replace(text=_without_score(label.text)) for label in labels]
    named = [label for label in named if label.problem or not is_pause(label.text)]
    texts = [label.text for label in named if label.text]
    if not texts:
        return Labels(unread="labels without text")
    if all(_PHONE.fullmatch(text) for text in texts) or all(len(text) <= 2 and text.isascii() for text in texts):
        return Labels(unread=PHONES)
    if any(" " in text for text in texts):
        return Labels(cues=in_order(named))
    return Labels(words=in_order(named))


def _without_score(text: str) -> str:
    """HTK writes ``START END LABEL [SCORE]``, and a label with spaces in quotes."""
    if len(text) > 1 and text[0] in "\"'" and text.endswith(text[0]):
        return text[1:-1]
    label, _, score = text.rpartition(" ")
    return label if label and " " not in label and _SCORE.fullmatch(score) else text
