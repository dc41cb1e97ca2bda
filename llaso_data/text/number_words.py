"""Numbers in one form: "veinticinco" and "25" are one number, "trece" and "30" are two.

Texts are compared in pairs, because figures do not tell how they are read: 1984 may be nineteen eighty-four, 555 five
five five. A run of number words and figures equals another where every part of one is a reading of a part of the
other. Signs that belong to figures (3,5 · 25 % · -4 · €3) are first written as the words that are spoken for them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

from llaso_data.text.language_rules import base_code
from llaso_data.text.number_reading import POINT, NumberGroup, NumberRun, number_runs, word_atoms
from llaso_data.text.numerals import NUMERAL_LANGUAGES, numerals

_ARABIC = str.maketrans("٫٬٪", ".,%")
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:([ .,'\u00a0\u202f])\d{3})(?:\1\d{3})*(?![\d]|[.,]\d{3})")
_LAKHS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{2})+,\d{3}(?!\d)")
_DECIMAL = re.compile(r"(?<![\d.,:/-])(\d+)[.,](\d+)(?![.,:/-]?\d)")
_MINUS = re.compile(r"(?<![\w)\-])[-−](?=\d)")
_HOURS = re.compile(r"(?<!\w)(\d{1,2}) ?h ?(\d{2})?(?!\w)")
_CLOCK = re.compile(r"(?<![\d:])(\d{1,2})[:.](\d{2}) uhr\b")
_ORDINAL = re.compile(
    r"(?<=\d)-?(?:º|ª|°(?! ?c)|er|re|ère|e|ème|eme|nd|nde|ro|ra|do|da|to|ta|mo|ma|vo|va|no|na|й|я|е|го|му|ый|ая|ое"
    r"|'?(?:inci|ıncı|nci|ncı|uncu|üncü)|ste|de|वाँ|वां|वीं)(?!\w)"
)
_ROMANCE = re.compile(r"(?<=\d)(?:o|a|os|as)(?!\w)")  # what is left of º and ª
_MAX_RUN = 24  # numbers that figures may be read as, one after the other


def signs_as_words(text: str, code: str) -> str:
    """Case-folded text with figures as they are compared: without thousands separators, and signs as words.

    Args:
        text: Case-folded text.
        code: Its language; texts in languages without a table of numerals stay as they are.
    """
    if code not in NUMERAL_LANGUAGES or not any(map(str.isdecimal, text)):
        return text
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(c, c)) for c in text.translate(_ARABIC))
    text = _LAKHS.sub(lambda m: m[0].replace(",", ""), text)
    text = _GROUPED.sub(lambda m: re.sub(r"\D", "", m[0]), text)
    if code == "fr":
        text = _HOURS.sub(lambda m: f"{m[1]} heures {m[2] or ''}", text)
    if code == "de":
        text = _CLOCK.sub(r"\1 uhr \2", text)
    signs = numerals(code).signs
    point = signs[POINT]
    if code in ("es", "it", "pt"):
        text = _ROMANCE.sub(" ", text)
    text = _DECIMAL.sub(rf"\1 {point} \2", _ORDINAL.sub(" ", text))
    text = _MINUS.sub(f"{signs['minus']} ", text)
    for sign, words in signs.items():
        if sign not in ("minus", POINT) and sign in text:
            number = rf"\d+(?: {point} \d+)?"
            in_words = rf"{words[1:]} \1 " if words.startswith("-") else rf"\1 {words} "
            text = re.sub(rf"(?:({number})\s*{re.escape(sign)})", in_words, text)
            text = re.sub(rf"(?:{re.escape(sign)}\s*({number}))", in_words, text)
    return text


def equal_numbers(
    reference: Sequence[str], hypothesis: Sequence[str], language: str | None
) -> list[tuple[int, int, int, int]]:
    """Where two lists of normalised words have the same number.

    Args:
        reference: Normalised words.
        hypothesis: Normalised words.
        language: Of both.

    Returns:
        ``(start, end, other_start, other_end)`` of each number in words of the reference and the hypothesis, ascending;
        empty where neither has figures.
    """
    from rapidfuzz.distance import Levenshtein

    code = base_code(language)
    if code not in NUMERAL_LANGUAGES or not any(any(map(str.isdecimal, word)) for word in (*reference, *hypothesis)):
        return []
    runs = [list(number_runs(words, code)) for words in (reference, hypothesis)]
    if not all(runs):
        return []
    own_items, other_items = _items(reference, runs[0]), _items(hypothesis, runs[1])
    equal = []
    for op in Levenshtein.opcodes([item for item, _ in own_items], [item for item, _ in other_items]):
        if op.tag not in ("equal", "replace"):
            continue
        for (_, own), (_, other) in zip(
            own_items[op.src_start : op.src_end], other_items[op.dest_start : op.dest_end], strict=False
        ):
            if own and other:
                equal += _equal_groups(own.groups, other.groups)
    return equal


def unify_numbers(
    reference: Sequence[str], hypothesis: Sequence[str], language: str | None
) -> tuple[list[str], list[str]]:
    """Both lists of normalised words, where equal numbers are written in the hypothesis as in the reference."""
    own, other = (
        [part for word in words for part in split_figures(word, language)] for words in (reference, hypothesis)
    )
    equal = equal_numbers(own, other, language)
    if not equal:
        return list(reference), list(hypothesis)
    words: list[str] = []
    position = 0
    for start, end, first, last in equal:
        words += [*other[position:first], *own[start:end]]
        position = last
    return own, [*words, *other[position:]]


def split_figures(word: str, language: str | None) -> list[str]:
    """A normalised word split into figures and the rest (25km); in Korean into number words and the rest (이십오명)."""
    code = base_code(language)
    if code not in NUMERAL_LANGUAGES or word.isdecimal():
        return [word]
    if any(map(str.isdecimal, word)):
        return re.findall(r"\d+|\D+", word)
    if code == "ko":
        longest = next((n for n in range(len(word), 0, -1) if word_atoms(word[:n], code)), 0)
        return [part for part in (word[:longest], word[longest:]) if part]
    return [word]


def _items(words: Sequence[str], runs: Sequence[NumberRun]) -> list[tuple[str, NumberRun | None]]:
    """The words, with every run of numbers as one item."""
    items: list[tuple[str, NumberRun | None]] = []
    position = 0
    for run in runs:
        items += [(word, None) for word in words[position : run.start]]
        items.append(("\0", run))
        position = run.end
    return items + [(word, None) for word in words[position:]]


def _equal_groups(own: tuple[NumberGroup, ...], other: tuple[NumberGroup, ...]) -> list[tuple[int, int, int, int]]:
    """The words of each equal number of two runs; empty where not all of their numbers are equal."""
    if len(own) > _MAX_RUN * 4 or len(other) > _MAX_RUN * 4:
        return []

    @cache
    def pairing(i: int, j: int) -> tuple[tuple[int, int], ...] | None:
        """From groups ``i`` and ``j`` on, the groups after each equal number; None where some number has no equal."""
        if i == len(own) or j == len(other):
            return () if i == len(own) and j == len(other) else None
        a, b = own[i], other[j]
        has_point = POINT in (a.digits, b.digits)
        steps = [(i + 1, j + 1)] if (a.digits == b.digits if has_point else int(a.digits) == int(b.digits)) else []
        if not has_point:
            steps += [(i + 1, j + count) for count in _readings(a, other[j:])]
            steps += [(i + count, j + 1) for count in _readings(b, own[i:])]
        for step in steps:
            rest = pairing(*step)
            if rest is not None:
                return (step, *rest)
        return None

    equal: list[tuple[int, int, int, int]] = []
    i = j = 0
    for next_i, next_j in pairing(0, 0) or ():
        start, end, first, last = own[i].start, own[next_i - 1].end, other[j].start, other[next_j - 1].end
        if equal and (start < equal[-1][1] or first < equal[-1][3]):  # two numbers in one word
            start, _, first, _ = equal.pop()
        equal.append((start, end, first, last))
        i, j = next_i, next_j
    return equal


def _readings(figures: NumberGroup, groups: tuple[NumberGroup, ...]) -> Iterator[int]:
    """How many of the groups, one after the other, give these figures: 19 84, 5 5 5, 20 0 5."""
    if not figures.figures:
        return
    text = ""
    for count, group in enumerate(groups[:_MAX_RUN], 1):
        text += group.digits
        if not figures.digits.startswith(text) or (count > 1 and not _may_follow(groups[count - 2], group)):
            return
        if count > 1 and text == figures.digits and (len(text) >= 7 or not group.figures):
            yield count


def _may_follow(before: NumberGroup, group: NumberGroup) -> bool:
    """Whether figures may be read in such parts: thirty may follow twelve, three may not."""
    if len(group.digits) == 1 and not group.figures:
        return len(before.digits) == 1 or group.digits == "0"
    return POINT not in (before.digits, group.digits)
