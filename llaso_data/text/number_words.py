"""Numbers in one form: "veinticinco" and "25" are one number, "trece" and "30" are two.

Texts are compared in pairs, because figures do not say how they are read: 1984 may be nineteen eighty-four, 555 five
five five. A run of number words and figures equals another where every part of one is a reading of a part of the
other. Words are read by the tables of :mod:`llaso_data.text.numerals`; signs that belong to figures (3,5 · 25 % · -4 ·
€3) are first written as the words that are said for them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

from llaso_data.text.language_rules import base_code
from llaso_data.text.numerals import NUMERAL_LANGUAGES, Numerals, numerals

POINT = "."
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
_ENDLESS = 24  # number words in a run that are looked at


def signs_as_words(text: str, code: str) -> str:
    """Case-folded text with figures as they are compared: thousands without marks, signs as the words said for them."""
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
    for sign, said in signs.items():
        if sign not in ("minus", POINT) and sign in text:
            number = rf"\d+(?: {point} \d+)?"
            placed = rf"{said[1:]} \1 " if said.startswith("-") else rf"\1 {said} "
            text = re.sub(rf"(?:({number})\s*{re.escape(sign)})", placed, text)
            text = re.sub(rf"(?:{re.escape(sign)}\s*({number}))", placed, text)
    return text


def equal_numbers(
    reference: Sequence[str], hypothesis: Sequence[str], language: str | None
) -> list[tuple[int, int, int, int]]:
    """Where two lists of normalised words have the same number, one in figures: ``(start, end, start, end)``."""
    from rapidfuzz.distance import Levenshtein

    code = base_code(language)
    if code not in NUMERAL_LANGUAGES or not any(any(map(str.isdecimal, word)) for word in (*reference, *hypothesis)):
        return []
    sides = [list(_runs(words, code)) for words in (reference, hypothesis)]
    if not all(sides):
        return []
    classes = [_classes(words, runs) for words, runs in zip((reference, hypothesis), sides, strict=True)]
    found = []
    for op in Levenshtein.opcodes([name for name, _ in classes[0]], [name for name, _ in classes[1]]):
        if op.tag not in ("equal", "replace"):
            continue
        for (_, own), (_, other) in zip(
            classes[0][op.src_start : op.src_end], classes[1][op.dest_start : op.dest_end], strict=False
        ):
            if own and other:
                found += _apart(own.groups, other.groups)
    return found


def unify_numbers(
    reference: Sequence[str], hypothesis: Sequence[str], language: str | None
) -> tuple[list[str], list[str]]:
    """Both lists of normalised words, with numbers that are equal written in the hypothesis as in the reference."""
    own, heard = ([part for word in words for part in parts(word, language)] for words in (reference, hypothesis))
    equal = equal_numbers(own, heard, language)
    if not equal:
        return list(reference), list(hypothesis)
    words: list[str] = []
    at = 0
    for start, end, first, last in equal:
        words += [*heard[at:first], *own[start:end]]
        at = last
    return own, [*words, *heard[at:]]


def parts(word: str, language: str | None) -> list[str]:
    """A normalised word with its figures apart (25km), in Korean its number words too (이십오명)."""
    code = base_code(language)
    if code not in NUMERAL_LANGUAGES or word.isdecimal():
        return [word]
    if any(map(str.isdecimal, word)):
        return re.findall(r"\d+|\D+", word)
    if code == "ko":
        longest = next((n for n in range(len(word), 0, -1) if _atoms(word[:n], code)), 0)
        return [part for part in (word[:longest], word[longest:]) if part]
    return [word]


@dataclass(frozen=True, slots=True)
class _Group:
    """One number as it would be written in figures; ``figures``: it is. ``.`` is the decimal sign.

    It is said in the words ``[start, end)``.
    """

    digits: str
    figures: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Run:
    start: int
    end: int
    groups: tuple[_Group, ...]


@dataclass(frozen=True, slots=True)
class _Atom:
    """A number word: its value, and whether it multiplies; or figures, a filler, a decimal sign."""

    value: int = 0
    kind: str = "add"  # add | times | figures | filler | point
    digits: str = ""


def _classes(words: Sequence[str], runs: Sequence[_Run]) -> list[tuple[str, _Run | None]]:
    """The words with every run as one."""
    found: list[tuple[str, _Run | None]] = []
    at = 0
    for run in runs:
        found += [(word, None) for word in words[at : run.start]]
        found.append(("\0", run))
        at = run.end
    return found + [(word, None) for word in words[at:]]


def _runs(words: Sequence[str], code: str) -> Iterator[_Run]:
    start: int | None = None
    end = 0
    atoms: list[tuple[int, _Atom]] = []
    waiting: list[tuple[int, _Atom]] = []
    for place, word in enumerate([*words, "\0"]):
        own = _atoms(word, code)
        if own and start is not None and all(atom.kind in ("filler", "point") for atom in own):
            waiting += [(place, atom) for atom in own]
        elif own and any(atom.kind in ("add", "times", "figures") for atom in own):
            start = place if start is None else start
            atoms += [*waiting, *((place, atom) for atom in own)]
            waiting, end = [], place + 1
        elif start is not None:
            yield _Run(start, end, _groups(atoms, code))
            start, atoms, waiting = None, [], []


@lru_cache(20_000)
def _atoms(word: str, code: str) -> tuple[_Atom, ...]:
    """What a word is made of where all of it is number; empty where it is not."""
    if word.isdecimal() and word.isascii():
        return (_Atom(int(word[:30]), "figures", word),)
    exact, stems = _lexicon(code)
    if word in exact:
        return (exact[word],)
    for stem, stemmed in stems:
        if word.startswith(stem) and len(word) <= len(stem) + 4:
            return (stemmed,)
    if numerals(code).whole_words or len(word) > 60:
        return ()
    best: list[tuple[_Atom, ...] | None] = [(), *[None] * len(word)]
    for end in range(1, len(word) + 1):  # the fewest pieces, the first of them the longest
        options = [
            (*before, atom)
            for start in range(end)
            if (before := best[start]) is not None and (atom := exact.get(word[start:end])) is not None
        ]
        best[end] = min(options, key=len, default=None)
    return best[-1] or ()


@cache
def _lexicon(code: str) -> tuple[dict[str, _Atom], tuple[tuple[str, _Atom], ...]]:
    from llaso_data.text import normalize

    table = numerals(code)
    exact: dict[str, _Atom] = {}
    stems: list[tuple[str, _Atom]] = []
    for kind, listed in (("filler", table.fillers), ("point", table.points)):
        exact.update({normalize(word, code): _Atom(kind=kind) for word in listed.split()})
    for value, forms in table.words.items():
        times = str(value).startswith("x")
        atom = _Atom(int(str(value).removeprefix("x")), "times" if times else "add")
        for form in forms.split():
            if form.endswith("~"):
                stems.append((normalize(form[:-1], code), atom))
            else:
                exact.setdefault(normalize(form, code), atom)
    return exact, tuple(sorted(stems, key=lambda pair: -len(pair[0])))


@dataclass(slots=True)
class _Reader:
    """Reads atoms into groups; ``parts`` of the number that is being read, each smaller than the one before."""

    table: Numerals
    code: str
    groups: list[_Group] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    figures: str = ""  # the parts are these, as they are written
    filler: bool = False
    start: int = 0  # the words of the number that is being read
    end: int = 0

    def close(self) -> None:
        if self.parts:
            digits = self.figures or str(sum(self.parts))
            self.groups.append(_Group(digits, bool(self.figures), self.start, self.end))
        self.parts, self.figures, self.filler = [], "", False

    def read(self, place: int, atom: _Atom) -> None:
        """One more atom, of the word at ``place``."""
        groups = len(self.groups)
        fresh = not self.parts
        self._read(place, atom)
        if self.parts and (fresh or len(self.groups) > groups):
            self.start = place
        if atom.kind != "filler":
            self.end = place + 1

    def _read(self, place: int, atom: _Atom) -> None:
        if atom.kind == "filler":
            self.filler = True
            return
        if atom.kind == "point":
            self.close()
            self.groups.append(_Group(POINT, False, place, place + 1))
        elif atom.kind == "figures":
            self.close()
            self.parts, self.figures = [atom.value], atom.digits
        elif atom.kind == "times":
            self._times(atom.value)
        elif self.figures or not self._added(atom.value):
            self.close()
            self.parts = [atom.value]
        self.filler = False

    def _times(self, by: int) -> None:
        if len(self.parts) > 1 and self.parts[-1] == 0:  # một nghìn không trăm: no hundreds
            self.parts.pop()
            return
        kept = list(self.parts)
        tail = 0
        while kept and kept[-1] < by:
            tail += kept.pop()
        if self.parts == [0]:
            kept, tail = [], 0
            self.close()
        value = (tail or 1) * by
        self.figures = ""
        if kept and value >= _unit(kept[-1]):
            self.parts = kept
            self.close()
            kept = []
        self.parts = [*kept, value]

    def _added(self, value: int) -> bool:
        """Whether the value belongs to the number that is being read; it then does."""
        if not self.parts:
            return False
        last = self.parts[-1]
        if value == 0:  # 一百零五
            if self.code == "vi" and last >= 1000:
                self.parts.append(0)
                return True
            return self.code in ("zh", "yue") and last >= 100
        if self.code == "fr" and last == 4 and value == 20:
            self.parts[-1] = 80
        elif self.code == "fr" and last in (60, 80) and 10 <= value < 20:
            self.parts.append(value)
        elif (
            self.table.tens_last
            and 0 < last < 10
            and ((self.filler and value in range(20, 100, 10)) or (self.code == "ar" and value == 10))
        ):
            self.parts[-1] = last + value
        elif value < _unit(last) and (last % 100 != 10 or self.table.ten_adds):
            self.parts.append(value)
        else:
            return False
        return True


def _unit(value: int) -> int:
    """The power of ten that a number ends at: 1 of 25, 10 of 20, 100 of 300; 1 of 0."""
    unit = 1
    while value and value % (unit * 10) == 0:
        unit *= 10
    return unit


def _groups(atoms: Sequence[tuple[int, _Atom]], code: str) -> tuple[_Group, ...]:
    reader = _Reader(numerals(code), code)
    for place, atom in atoms:
        reader.read(place, atom)
    reader.close()
    return tuple(reader.groups)


def _apart(own: tuple[_Group, ...], other: tuple[_Group, ...]) -> list[tuple[int, int, int, int]]:
    """The words of either side that are one number, for all the numbers of two runs; empty where one is another."""
    if len(own) > _ENDLESS * 4 or len(other) > _ENDLESS * 4:
        return []

    @cache
    def from_here(i: int, j: int) -> tuple[tuple[int, int], ...] | None:
        """Where the numbers end, in groups."""
        if i == len(own) or j == len(other):
            return () if i == len(own) and j == len(other) else None
        a, b = own[i], other[j]
        both = POINT in (a.digits, b.digits)
        steps = [(i + 1, j + 1)] if (a.digits == b.digits if both else int(a.digits) == int(b.digits)) else []
        if not both:
            steps += [(i + 1, j + used) for used in _joined(a, other[j:])]
            steps += [(i + used, j + 1) for used in _joined(b, own[i:])]
        for step in steps:
            rest = from_here(*step)
            if rest is not None:
                return (step, *rest)
        return None

    found: list[tuple[int, int, int, int]] = []
    i = j = 0
    for next_i, next_j in from_here(0, 0) or ():
        start, end, first, last = own[i].start, own[next_i - 1].end, other[j].start, other[next_j - 1].end
        if found and (start < found[-1][1] or first < found[-1][3]):  # two numbers in one word
            start, _, first, _ = found.pop()
        found.append((start, end, first, last))
        i, j = next_i, next_j
    return found


def _joined(figures: _Group, groups: tuple[_Group, ...]) -> Iterator[int]:
    """How many of the groups, read one after the other, are these figures: 19 84, 5 5 5, 20 0 5."""
    if not figures.figures:
        return
    text = ""
    for used, group in enumerate(groups[:_ENDLESS], 1):
        text += group.digits
        if not figures.digits.startswith(text) or (used > 1 and not _follows(groups[used - 2], group)):
            return
        if used > 1 and text == figures.digits and (len(text) >= 7 or not group.figures):
            yield used


def _follows(before: _Group, group: _Group) -> bool:
    """Whether a number may be said in such parts: after twelve, thirty is one, three is none."""
    if len(group.digits) == 1 and not group.figures:
        return len(before.digits) == 1 or group.digits == "0"
    return POINT not in (before.digits, group.digits)
