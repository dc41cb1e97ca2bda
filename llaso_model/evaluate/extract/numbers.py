"""The number that an answer gives: an age, a MIDI pitch. One, several, none, a refusal, or empty.

A range is its middle ("between 20 and 30": 25), a decade too ("40s" and "forties": 45, "teens": 16), as is a choice of
two neighbouring decades ("20s or 30s": 30); an early decade is its second year, a late one its eighth. Spelled numbers
count, in English and Chinese. Numbers of other things (Hertz, seconds, percent, note names, list items) do not. Which
of several numbers is the answer is decided as for labels (:mod:`choice`): what the answer says to be the one asked for
("the MIDI number is 69", "45 years old", "the answer is 45") comes before others that it mentions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llaso_model.evaluate.extract import choice, negation, relevance, replies
from llaso_model.evaluate.extract.choice import Mention, clauses, distinct
from llaso_model.evaluate.extract.labels import AnswerKind, without_echo
from llaso_model.evaluate.extract.refusals import PATTERN as REFUSAL
from llaso_model.evaluate.extract.replies import is_empty

_UNITS = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
_DECADES = {
    "teens": 16.0, "teenager": 16.0, "teenage": 16.0, "twenties": 25.0, "thirties": 35.0, "forties": 45.0,
    "fourties": 45.0, "fifties": 55.0, "sixties": 65.0, "seventies": 75.0, "eighties": 85.0, "nineties": 95.0,
}  # fmt: skip
_CHINESE = {character: value for value, character in enumerate("零一二三四五六七八九")}
_SPELLED = re.compile(
    rf"\b(?:(?P<hundred>a|one) hundred(?:\s+and)?[\s-]*)?(?:(?P<tens>{'|'.join(_TENS)})(?:[\s-]+(?P<unit>one|"
    rf"two|three|four|five|six|"
    rf"seven|eight|nine))?|(?P<small>{'|'.join(sorted(_UNITS, key=len, reverse=True))}))\b|\b(?:a|one) hundred\b"
)
_CHINESE_NUMBER = re.compile(
    r"(?:(?P<hundred>[一两]?)百(?P<zero>零)?)?(?P<tens>[一二三四五六七八九])?十(?P<unit>[一二三四五六七八九])?|一百(?:零(?P<rest>[一二三四五六七八九]))?"
)
_PART = r"(?P<part>early|mid|middle|late)(?:[\s-]*(?:to|/|or|and)[\s-]*(?P<other>mid|middle|late))?[\s-]*(?:or )?"
_DECADE = re.compile(
    rf"(?:\b{_PART})?(?<![a-z0-9.])'?(?:(?P<digits>[1-9]0)(?:'?s|[\s-]?something)|"
    rf"(?P<name>{'|'.join(_DECADES)}))\b|(?P<chinese>[1-9]0)多岁"
)
_YEAR_OF = {"early": 2.0, "mid": 5.0, "middle": 5.0, "late": 8.0}
_NUMBER = r"\d+(?:\.\d+)?"
_UNIT = r"(?:[\s-]*(?:years?(?: old| of age)?|yrs?|岁|歳|ans|años|anos|anni|jahre?|лет|살|세|ปี))?"
_RANGE = re.compile(
    rf"(?<![a-z0-9.])({_NUMBER}){_UNIT}\s*(?:-+|~|to|and|到|至|or|和|a|à|y|bis|до|から|에서|ถึง|through|"
    rf"\bup to\b)\s*({_NUMBER})(?![a-z0-9-]|\.\d)"
)
_SINGLE = re.compile(
    rf"(?<![a-z0-9.#])({_NUMBER})(?!\.?\d|[a-z]|'?s\b)|(?<![a-z0-9.#])({_NUMBER})(?=(?:ish|"
    rf"yo|yrs?|y/o|ans|st|nd|rd|th)\b)"
)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d+),(\d{1,2})(?![\d,]|\s*,?\s*(?:and|or|y|et|und)\s*\d)")
_OF_OTHER_THINGS = re.compile(
    rf"\b(?:confidence|probability|certainty|score)\b[^.\n\d]{{0,20}}{_NUMBER}\s*%?|"
    rf"(?<![a-z0-9.]){_NUMBER}(?:\s*(?:-|to|and|~|±)\s*{_NUMBER})?\s*-?\s*(?:%|percent\b|per cent\b|hz\b|"
    rf"hertz\b|khz\b|db\b|dbfs\b|bpm\b|"
    rf"ms\b|milliseconds?\b|seconds?\b|secs?\b|(?<=\s)s\b|minutes?\b|cents?\b|bits?\b|semitones?\b|"
    rf"octaves?\b|words?\b|times?\b|people\b|"
    rf"speakers?\b|out of \d+|千?赫兹|分贝|秒|分钟|个人|次)|"
    rf"(?<![a-z0-9])[a-g](?:[#♯♭b]|\s?sharp|\s?flat)?-?\d(?![\d.]\d|\d)|[a-g](?:#|♯|♭)|"
    rf"\b(?:channel|track|step|option|octave|example|figure|part|version|gpt|chapter|question)\s*(?:-|#|"
    rf"no\.?|is|number)?\s*\d+(?:\.\d+)?|\d\s*/\s*\d+|{_NUMBER}\s*[*×+]\s*(?=[\d(a-z])|[*×/^]\s*\(?{_NUMBER}|"
    rf"(?:±|\+/-)\s*\d+"
)
_SHORT = 12  # words
_GENERAL_FACT = re.compile(
    r"^(?!.*\b(?:speaker|recording|audio|clip|sample|this|person|estimate|guess|i'd|"
    r"i would)\b).*\b(?:typically|usually|generally|"
    r"often|historically|commonly|most people|humans|in general|on average|for example|for instance)\b",
    re.DOTALL,
)
_NEIGHBOURS = 10  # "20 or 30" is a range, "20 or 60" are two answers
_BETWEEN = re.compile(r"\b(?:between|from|ages|aged|range|ranging)\b")
_COMPARED = re.compile(
    r"\b(?:more|less|older|younger|higher|lower|greater|fewer|not over|no) than(?: about|"
    r" around)?\s*$"
)
_LIST_MARK = re.compile(r"(?:^|(?<=\s))(\d{1,2})[.)](?=\s+\D)")
_CUED = (
    re.compile(rf"\bmidi\b[^.\d\n]{{0,60}}?(?:\b(?:is|of|be)\b|[:=])\s*(?:approximately |about |around )?({_NUMBER})"),
    re.compile(
        rf"({_NUMBER})[\s-]*(?:years? old|years of age|year-old|years\b|yo\b|y/o\b|岁|歳|세|살|ans\b|años\b|"
        rf"anos\b|anni\b|jahre\b|лет\b|ปี)"
    ),
    re.compile(
        rf"\b(?:age|pitch|answer|value|number)\b[^.\d\n]{{0,60}}?(?:\b(?:is|of|be)\b|[:=])\s*(?:approximately |about |"
        rf"around |likely |probably |roughly )*({_NUMBER})"
    ),
)


@dataclass(frozen=True, slots=True)
class Number:
    """What an answer gives: the value where the kind is *one*."""

    kind: AnswerKind
    value: float | None = None


def extract(
    answer: str, ignore: Sequence[str] = (), prompt: str = "", limits: tuple[float, float] | None = None
) -> Number:
    """The number that an answer gives.

    Args:
        answer: what a system said.
        ignore: regular expressions of stretches that give no number.
        prompt: what was asked; what the answer repeats of it gives none.
        limits: lowest and highest number that may be an answer: where the others are outside, the one within counts.
    """
    marked = replies.marked_answer(answer)
    if is_empty(marked):
        return Number("empty" if replies.only_tokens(answer) else "none")
    text = without_echo(replies.lines(marked), replies.lines(prompt))
    refuses = REFUSAL.search(text) is not None
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    for pattern in ignore:
        text = re.sub(pattern, lambda match: " " * len(match[0]), text)
    text = _digits(_plain(text))
    if refuses:  # a number in what is said of something else is no answer
        parts = [text[start:end] for start, end in clauses(text)]
        kept = [part for part in parts if not REFUSAL.search(part) and not relevance.GENERAL.search(part)]
        kept += [part[a:b] for part in parts if REFUSAL.search(part) for a, b in relevance.ventured(part)]
        kept += [
            statement for part in parts if REFUSAL.search(part) and (statement := relevance.before_concession(part))
        ]
        text = " . ".join(kept)
    values = _values(text, limits)
    if len(values) == 1:
        return Number("one", values[0])
    if len(values) > 1:
        return Number("several")
    return Number("refusal" if refuses else "none")


def _plain(text: str) -> str:
    """The text without list marks and numbers of other things, with plain decimals."""
    expected = 1
    for match in list(_LIST_MARK.finditer(text)):
        if int(match[1]) == expected and (match.start() > 0 or "\n" in text or re.search(r"\b2[.)]", text)):
            text = text[: match.start()] + " " * len(match[0]) + text[match.end() :]
            expected += 1
    text = _DECIMAL_COMMA.sub(r"\1.\2", text)
    return _OF_OTHER_THINGS.sub(lambda match: "\0" * len(match[0]), text)


def _values(text: str, limits: tuple[float, float] | None) -> list[float]:
    """The distinct numbers of the text, or the one that it says to be the answer."""
    mentions = _mentions(text)
    denials = negation.denied(text, [(one.start, one.end) for one in mentions])
    mentions = [
        one
        for one, denied in zip(mentions, denials, strict=True)
        if not denied or _COMPARED.search(text, max(0, one.start - 30), one.start)
    ]
    if len(distinct(mentions)) > 1:
        mentions = choice.concluded_in(text, mentions) or mentions
    if len(distinct(mentions)) > 1:
        mentions = _cued(text, mentions)
    mentions = choice.chosen(text, mentions)
    if len(text.split()) > _SHORT:
        general = [span for span in clauses(text) if _GENERAL_FACT.search(text[slice(*span)])]
        mentions = [one for one in mentions if not any(start <= one.start < end for start, end in general)]
    beside = [span for span in clauses(text) if relevance.is_beside(text[slice(*span)])]
    stated = [one for one in mentions if not any(start <= one.start < end for start, end in beside)]
    mentions = stated if stated or relevance.tells_how(text) else mentions
    if relevance.tells_how(text):  # numbers of how anybody could find out are no answer
        cued = _cued(text, mentions, (_CUED[0], _CUED[2]))
        mentions = choice.concluded_in(text, mentions) or (cued if len(distinct(cued)) == 1 else [])
    values = sorted({float(str(one.value)) for one in mentions})
    if limits is not None and len(values) > 1:
        within = [value for value in values if limits[0] <= value <= limits[1]]
        values = within or values
    return values


def _cued(text: str, mentions: list[Mention], patterns: Sequence[re.Pattern[str]] = _CUED) -> list[Mention]:
    """The numbers that the text says to be those asked for, where these are one."""
    for pattern in patterns:
        places = [match.start(1) for match in pattern.finditer(text)]
        cued = [one for one in mentions if any(one.start <= place < one.end for place in places)]
        if len(distinct(cued)) == 1:
            return next(run for run in choice.runs(text, mentions) if cued[0] in run)
    return mentions


def _mentions(text: str) -> list[Mention]:
    """Decades, ranges and numbers, each with its value; neighbouring decades of one list are their middle."""
    mentions = _decades(text)
    taken = [(one.start, one.end) for one in mentions]
    for match in _RANGE.finditer(text):
        low, high = float(match[1]), float(match[2])
        neighbours = high - low <= _NEIGHBOURS or not re.search(r"\b(?:or|y|和)\b|或|和", match[0])
        if re.search(r"\band\b", match[0]) and not _BETWEEN.search(text, max(0, match.start() - 40), match.start()):
            neighbours = high - low <= _NEIGHBOURS
        if _free(match, taken) and low < high and neighbours:
            mentions.append(Mention(f"{(low + high) / 2:g}", match.start(), match.end()))
            taken.append(match.span())
    for match in _SINGLE.finditer(text):
        if _free(match, taken) and not re.match(r"0\d", match[0]):
            mentions.append(Mention(f"{float(match[1] or match[2]):g}", match.start(), match.end()))
    return sorted(mentions, key=lambda one: one.start)


def _free(match: re.Match[str], taken: Sequence[tuple[int, int]]) -> bool:
    return not any(start < match.end() and match.start() < end for start, end in taken)


def _decades(text: str) -> list[Mention]:
    mentions: list[Mention] = []
    for match in _DECADE.finditer(text):
        one = Mention(f"{_decade(match):g}", match.start(), match.end())
        before = mentions[-1] if mentions else None
        if before and re.fullmatch(
            r"\s*(?:to|or|and|-|/|到|或|,)\s*(?:the |their |his |her )?(?:early |mid |"
            r"late )?",
            text[before.end : one.start],
        ):
            low, high = sorted((float(str(before.value)), float(str(one.value))))
            if high - low <= 16:
                mentions[-1] = Mention(f"{(low + high) / 2:g}", before.start, one.end)
                continue
        mentions.append(one)
    return mentions


def _decade(match: re.Match[str]) -> float:
    """The middle of a decade, or the year that "early", "mid" or "late" stands for; of two such words their middle."""
    parts = [_YEAR_OF[part] for part in (match["part"], match["other"]) if part]
    year = sum(parts) / len(parts) if parts else 5.0
    if match["name"]:
        return _DECADES[match["name"]] + (
            year - 5.0 if _DECADES[match["name"]] > 20 or not parts else {2.0: -2.5, 5.0: 0.0, 8.0: 2.5}.get(year, 0.0)
        )
    return float(match["digits"] or match["chinese"]) + year


def _digits(text: str) -> str:
    """The text with spelled numbers from 10 on as digits; smaller ones are words like any other ("one of").

    Smaller ones count where they are all of the text, and behind words that announce an answer.
    """
    announced = set(choice.after_conclusions(text))

    def english(match: re.Match[str]) -> str:
        if match["tens"] is None and match["small"] is None:
            return "100"
        rest = (
            _TENS[match["tens"]] + _UNITS.get(match["unit"] or "zero", 0) if match["tens"] else _UNITS[match["small"]]
        )
        value = (100 if match["hundred"] else 0) + rest
        alone = not re.search(r"[^\W_]", text[: match.start()] + text[match.end() :])
        behind = any(place <= match.start() and not text[place : match.start()].strip(' :"\n') for place in announced)
        return str(value) if value >= 10 or alone or behind else match[0]

    def chinese(match: re.Match[str]) -> str:
        if match["tens"] is None and "十" not in match[0]:
            return str(100 + _CHINESE.get(match["rest"] or "零", 0))
        hundred = 100 if "百" in match[0] else 0
        return str(hundred + 10 * _CHINESE.get(match["tens"] or "一", 1) + _CHINESE.get(match["unit"] or "零", 0))

    return _CHINESE_NUMBER.sub(chinese, _SPELLED.sub(english, text))
