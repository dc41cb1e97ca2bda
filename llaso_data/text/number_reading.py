"""Reading numbers that stand in words or figures, by the tables of :mod:`llaso_data.text.numerals`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache

from llaso_data.text.numerals import Numerals, numerals

POINT = "."


@dataclass(frozen=True, slots=True)
class NumberGroup:
    """One number.

    Attributes:
        digits: The number as it would be written in figures; :data:`POINT` is the decimal sign.
        figures: Whether it is written in figures.
        start: The first of its words.
        end: The word after its last.
    """

    digits: str
    figures: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class NumberRun:
    """Words ``[start, end)`` in a row that are all number words or figures, and the numbers that they are read as."""

    start: int
    end: int
    groups: tuple[NumberGroup, ...]


@dataclass(frozen=True, slots=True)
class Atom:
    """The least part of a number: a number word, figures, a filler ("and") or a decimal sign."""

    value: int = 0
    kind: str = "add"  # add | times (it multiplies) | figures | filler | point
    digits: str = ""


def number_runs(words: Sequence[str], code: str) -> Iterator[NumberRun]:
    """The runs of number words and figures among normalised words, in order.

    Args:
        words: Normalised words.
        code: A language of :data:`llaso_data.text.numerals.NUMERAL_LANGUAGES`.
    """
    start: int | None = None
    end = 0
    atoms: list[tuple[int, Atom]] = []
    pending: list[tuple[int, Atom]] = []  # fillers and signs, which belong to the run only if a number follows
    for position, word in enumerate([*words, "\0"]):
        own = word_atoms(word, code)
        if own and start is not None and all(atom.kind in ("filler", "point") for atom in own):
            pending += [(position, atom) for atom in own]
        elif own and any(atom.kind in ("add", "times", "figures") for atom in own):
            start = position if start is None else start
            atoms += [*pending, *((position, atom) for atom in own)]
            pending, end = [], position + 1
        elif start is not None:
            yield NumberRun(start, end, _groups(atoms, code))
            start, atoms, pending = None, [], []


@lru_cache(20_000)
def word_atoms(word: str, code: str) -> tuple[Atom, ...]:
    """The atoms of a normalised word where all of it is a number (fünfundzwanzig); empty where it is not."""
    if word.isdecimal() and word.isascii():
        return (Atom(int(word[:30]), "figures", word),)
    exact, stems = _lexicon(code)
    if word in exact:
        return (exact[word],)
    for stem, stemmed in stems:
        if word.startswith(stem) and len(word) <= len(stem) + 4:
            return (stemmed,)
    if numerals(code).whole_words or len(word) > 60:
        return ()
    best: list[tuple[Atom, ...] | None] = [(), *[None] * len(word)]
    for end in range(1, len(word) + 1):  # the fewest atoms, the first of them the longest
        options = [
            (*before, atom)
            for start in range(end)
            if (before := best[start]) is not None and (atom := exact.get(word[start:end])) is not None
        ]
        best[end] = min(options, key=len, default=None)
    return best[-1] or ()


@cache
def _lexicon(code: str) -> tuple[dict[str, Atom], tuple[tuple[str, Atom], ...]]:
    from llaso_data.text import normalize

    table = numerals(code)
    exact: dict[str, Atom] = {}
    stems: list[tuple[str, Atom]] = []
    for kind, listed in (("filler", table.fillers), ("point", table.points)):
        exact.update({normalize(word, code): Atom(kind=kind) for word in listed.split()})
    for value, forms in table.words.items():
        times = str(value).startswith("x")
        atom = Atom(int(str(value).removeprefix("x")), "times" if times else "add")
        for form in forms.split():
            if form.endswith("~"):
                stems.append((normalize(form[:-1], code), atom))
            else:
                exact.setdefault(normalize(form, code), atom)
    return exact, tuple(sorted(stems, key=lambda pair: -len(pair[0])))


@dataclass(slots=True)
class _NumberReader:
    """Reads atoms into numbers.

    Attributes:
        table: The language's number words.
        code: The language.
        groups: The numbers that are complete.
        parts: The summands of the number that is being read, each smaller than the one before: 300, 20, 5.
        figures: The same as it is written, where it is in figures.
        filler: Whether a filler came after the last part.
        start: The first word of the number that is being read.
        end: The word after its last.
    """

    table: Numerals
    code: str
    groups: list[NumberGroup] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    figures: str = ""
    filler: bool = False
    start: int = 0
    end: int = 0

    def close(self) -> None:
        """The number that is being read is complete."""
        if self.parts:
            digits = self.figures or str(sum(self.parts))
            self.groups.append(NumberGroup(digits, bool(self.figures), self.start, self.end))
        self.parts, self.figures, self.filler = [], "", False

    def read(self, position: int, atom: Atom) -> None:
        """Read one more atom, of the word at ``position``."""
        groups = len(self.groups)
        fresh = not self.parts
        self._read(position, atom)
        if self.parts and (fresh or len(self.groups) > groups):
            self.start = position
        if atom.kind != "filler":
            self.end = position + 1

    def _read(self, position: int, atom: Atom) -> None:
        if atom.kind == "filler":
            self.filler = True
            return
        if atom.kind == "point":
            self.close()
            self.groups.append(NumberGroup(POINT, False, position, position + 1))
        elif atom.kind == "figures":
            self.close()
            self.parts, self.figures = [atom.value], atom.digits
        elif atom.kind == "times":
            self._times(atom.value)
        elif self.figures or not self._add(atom.value):
            self.close()
            self.parts = [atom.value]
        self.filler = False

    def _times(self, by: int) -> None:
        """Multiply the parts that are smaller than ``by``."""
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

    def _add(self, value: int) -> bool:
        """Add the value to the number that is being read; False where it belongs to the next one."""
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


def _groups(atoms: Sequence[tuple[int, Atom]], code: str) -> tuple[NumberGroup, ...]:
    reader = _NumberReader(numerals(code), code)
    for position, atom in atoms:
        reader.read(position, atom)
    reader.close()
    return tuple(reader.groups)
