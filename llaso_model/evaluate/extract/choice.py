"""Which of the things that an answer mentions it gives as its answer. Labels and numbers are chosen alike.

Where an answer mentions several, in order: what it repeats of the question counts only where there is nothing else;
what it says to be its answer comes before what it mentions; what it asserts before what it says of such things in
general; what it prefers ("most likely") before what it allows for ("could be"). Two answers that contradict each other
stay two, unless the second one takes the first back.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from llaso_model.evaluate.extract import cues
from llaso_model.evaluate.extract.negation import joined

_BORDER = 90

Value = TypeVar("Value", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Mention:
    """A label, or a number as text, and where in the text it stands."""

    value: Hashable
    start: int
    end: int


def distinct(mentions: Iterable[Mention]) -> list[Hashable]:
    """The values, each once, in the order in which they are first met."""
    return list(dict.fromkeys(one.value for one in mentions))


def clauses(text: str) -> list[tuple[int, int]]:
    """Spans of the clauses of a text."""
    return _between(cues.CLAUSE, text)


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences of a text."""
    return _between(cues.SENTENCE, text)


def _between(boundary: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    edges = [0, *(place for match in boundary.finditer(text) for place in match.span()), len(text)]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]


def chosen(text: str, mentions: Sequence[Mention], all_values: int = 0) -> list[Mention]:
    """The mentions that are the answer. ``all_values`` is how many there are to choose from, 0 where that is open."""
    if len(distinct(mentions)) < 2:
        return list(mentions)
    rated = _by_score(text, mentions)
    if rated is not None:
        return [rated]
    left = _not_asked(text, mentions, all_values)
    for cue in (cues.FINAL, cues.ANSWER, cues.FIELD):
        concluded = _concluded(text, left, cue)
        if concluded is not None:
            left = concluded
            break
    for narrow in (_corrected, _bare, _conceded, _so, _no_reason, _preferred, _asserted):
        if len(distinct(left)) < 2:
            return left
        left = narrow(text, left) or left
    return left


def concluded_in(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions in what the text says to be its answer, if it says so."""
    return next(
        (concluded for cue in (cues.FINAL, cues.ANSWER, cues.FIELD) if (concluded := _concluded(text, mentions, cue))),
        [],
    )


def after_conclusions(text: str) -> list[int]:
    """Places behind the words that announce an answer, the last first."""
    return sorted({match.end() for cue in (cues.FINAL, cues.ANSWER) for match in cue.finditer(text)}, reverse=True)


def _by_score(text: str, mentions: Sequence[Mention]) -> Mention | None:
    """The mention with the highest share, where at least two have one: "male: 20 %, female: 80 %"."""
    scores: dict[Hashable, tuple[float, Mention]] = {}
    for one in mentions:
        match = cues.SCORE.match(text, one.end) or cues.SCORED.search(text, max(0, one.start - 40), one.start)
        if match and (match[2] or float(match[1]) <= 1):
            scores[one.value] = max(
                scores.get(one.value, (-1.0, one)), (float(match[1]), one), key=lambda pair: pair[0]
            )
    if len(scores) < 2 or len(scores) < len(distinct(mentions)):
        return None
    first, second = sorted(scores.values(), key=lambda pair: -pair[0])[:2]
    return first[1] if first[0] > second[0] else None


def runs(text: str, mentions: Sequence[Mention]) -> list[list[Mention]]:
    """The mentions, those of one list ("A, B or C") together."""
    grouped: list[list[Mention]] = []
    for one in mentions:
        gap = text[grouped[-1][-1].end : one.start] if grouped else ""
        if grouped and joined(gap) and not cues.HEDGED.search(gap):
            grouped[-1].append(one)
        else:
            grouped.append([one])
    return grouped


def _not_asked(text: str, mentions: Sequence[Mention], all_values: int) -> list[Mention]:
    """The mentions without those that repeat the question, the options or what is spoken, where others are left."""
    quoted = [match.span() for match in cues.SPEECH.finditer(text)]
    quoted += [match.span(1) for match in cues.SPOKEN.finditer(text)]
    asked = {
        one
        for one in mentions
        if any(
            start < one.start and one.end < end and re.search(r"\w", text[start : one.start] + text[one.end : end])
            for start, end in quoted
        )
    }
    start = 0
    for end in [*(match.end() for match in cues.SENTENCE.finditer(text)), len(text)]:
        sentence = text[start:end]
        inside = [one for one in mentions if start <= one.start < end]
        ends_in_question = re.search(r"[?？][\"')]*\s*$", sentence) is not None
        if inside and (ends_in_question and (len(distinct(inside)) > 1 or cues.ASKS.search(sentence))):
            asked.update(inside)
        start = end
    last = 0
    for run in runs(text, mentions):
        values = len(distinct(run))
        before = re.split(r"[.!?\n。！？]", text[max(last, run[0].start - 60) : run[0].start])[-1]
        last = run[-1].end
        if values < 2 or cues.SHARED.search(before):
            continue
        if cues.CHOICES.search(before) or (all_values and values >= all_values):
            asked.update(run)
    left = [one for one in mentions if one not in asked]
    return left if any(_is_evident(text, one) for one in left) else list(mentions)


def _is_evident(text: str, one: Mention) -> bool:
    """Whether a mention is said to be so, preferred, announced as the answer, or a clause by itself."""
    before = cues.SENTENCE.split(text[max(0, one.start - _BORDER) : one.start])[-1]
    if any(cue.search(before) for cue in (cues.ASSERTS, cues.EVIDENT, cues.STRONG, cues.SO)):
        return True
    return bool(concluded_in(text, [one]) or _bare(text, [one]))


def _concluded(text: str, mentions: Sequence[Mention], cue: re.Pattern[str]) -> list[Mention] | None:
    """What stands behind the words that announce an answer; [] where they quote something else; None without."""
    announced: list[tuple[int, list[Mention]]] = []
    quotes = False
    for match in cue.finditer(text):
        inside = _behind(text, mentions, match.end())
        if inside:
            announced.append((match.start(), inside))
        quotes = not inside and re.match(r"\s*\"[^\"]+\"", text[match.end() :]) is not None
    if quotes:
        return []
    if not announced:
        return None
    single = [(place, inside) for place, inside in announced if len(distinct(inside)) == 1]
    if not single:
        values = {one.value for _, inside in announced for one in inside}
        return [one for one in mentions if one.value in values]  # "the answer is A or B": nothing else
    kept = [inside[0] for _, inside in single]
    if len(distinct(kept)) > 1 and cues.TAKEN_BACK.search(text[kept[0].end : kept[-1].start]):
        return [kept[-1]]
    return kept


def _behind(text: str, mentions: Sequence[Mention], place: int) -> list[Mention]:
    """The mentions in the clause that begins at a place, be it on the next line."""
    opening = re.match(r"[\s:\"'(\[=-]*", text[place:])
    start = place + (opening.end() if opening else 0)
    ends = [match.start() for match in (cues.CLAUSE.search(text, start), cues.BECAUSE.search(text, start)) if match]
    end = min(ends, default=len(text))
    return [one for one in mentions if start <= one.start < end]


def _bare(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions that are a clause by themselves, or lead the answer: "Female. The voice …"."""
    spans = set(clauses(text))
    alone = [
        one
        for one in mentions
        if any(
            start <= one.start
            and one.end <= end
            and not re.search(r"[^\W_]", text[start : one.start] + text[one.end : end])
            for start, end in spans
        )
    ]
    first = mentions[0]
    if not re.search(r"[^\W_]", text[: first.start]) and cues.LEADS.match(text, first.end) and first not in alone:
        alone.append(first)
    return alone


def _corrected(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """What stands behind the words that take something back: "no wait, female"."""
    return _last_behind(text, mentions, cues.TAKEN_BACK)


def _conceded(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions without what is granted before something else: "although the words are happy, it is anger"."""
    granted: list[tuple[int, int]] = []
    for start, end in sentences(text):
        for cue in (cues.CAVEAT, cues.ALTHOUGH, cues.YET):
            match = cue.match(text, start, end)
            if match:
                granted.append((start, match.end()))
    left = [one for one in mentions if not any(start <= one.start < end for start, end in granted)]
    weak = [
        one
        for one in left
        if cues.ALLOWED.search(cues.SENTENCE.split(text[max(0, one.start - _BORDER) : one.start])[-1])
    ]
    return [] if weak else left


def _so(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """What stands behind the last word such as "therefore"."""
    return _last_behind(text, mentions, cues.SO)


def _no_reason(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions without those of a reason for one before: "it is anger, because anger goes with fear"."""
    reasons = [
        (
            match.start(),
            text.find(",", match.end(), end) if match.start() - start < 3 and "," in text[start:end] else end,
        )
        for start, end in sentences(text)
        for match in cues.BECAUSE.finditer(text, start, end)
    ]
    left = [one for one in mentions if not any(start <= one.start < end for start, end in reasons)]
    return left if left and left[0] == mentions[0] else []


def _last_behind(text: str, mentions: Sequence[Mention], cue: re.Pattern[str]) -> list[Mention]:
    for match in reversed(list(cue.finditer(text))):
        inside = _behind(text, mentions, match.end())
        if inside:
            return inside if len(distinct(inside)) == 1 else []
    return []


def _asserted(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """What is said to be so ("the instrument is a guitar"), where the others stand in other sentences."""
    every = sentences(text)

    def sentence(one: Mention) -> int:
        return next((number for number, (start, end) in enumerate(every) if start <= one.start < end), -1)

    first = next((one for one in mentions if cues.ASSERTS.search(text[max(0, one.start - _BORDER) : one.start])), None)
    if first is None:
        return []
    others = [one for one in mentions if one.value != first.value]
    place = sentence(first)
    for one in others:
        before = cues.SENTENCE.split(text[max(0, one.start - _BORDER) : one.start])[-1]
        if sentence(one) == place or cues.ASSERTS.search(before) or cues.ALLOWED.search(before) or "also" in before:
            return []
    return [first]


def _preferred(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions that are said with more certainty than the others; none where that is no single one."""
    strength: dict[Hashable, int] = {}
    last = 0
    for run in runs(text, mentions):
        start = max(last, run[0].start - _BORDER)
        before = cues.SENTENCE.split(text[start : run[0].start])[-1]
        before = re.sub(r"^\s*\([^)]*\)", "", before)
        after = re.split(r"[.,;!?\n。，；]", text[run[-1].end : run[-1].end + 60])[0]
        following = [one.start for one in mentions if one.start > run[-1].start]
        after = after[: max(0, following[0] - run[-1].end)] if following else after
        certainty = 2 * bool(
            cues.STRONG.search(before)
            or re.search(
                r"\b(?:is|seems|being|sounds?) (?:the )?(?:most|more) (?:likely|probable|fitting|prominent|"
                r"dominant|plausible)|"
                r"^\W*(?:(?:would be|is|as) )?my (?:first|best|top)|^\W*(?:as )?(?:the |a )?(?:more|"
                r"most) (?:likely|probable|plausible|fitting)|^\W*remains\b|^\W*(?:is|"
                r"seems) (?:the )?(?:closer|better)\b|\bis what i hear|\bfits? best|\bstands? out|最(?:可能|明显)|"
                r"\bbest (?:match|fit)",
                after,
            )
        )
        certainty -= cues.SECOND.search(after) is not None
        elsewhere = bool(last) and cues.SENTENCE.search(text[start : run[0].start]) is not None
        certainty -= bool(
            (cues.WEAK.search(before) and not cues.SHARED.search(before)) or (elsewhere and cues.ALLOWED.search(before))
        )
        for one in run:
            strength[one.value] = max(strength.get(one.value, -9), certainty)
        last = run[-1].end
    best = max(strength.values())
    values = {value for value, certainty in strength.items() if certainty == best}
    return [one for one in mentions if one.value in values] if len(values) < len(strength) else []
