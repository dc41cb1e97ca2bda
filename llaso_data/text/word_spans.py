"""Where words start and end in a text as somebody wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise

import regex

from llaso_data.text.characters import APOSTROPHES
from llaso_data.text.language_rules import base_code, is_spaced

UNSPACED_SCRIPTS = (
    r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}"
    r"\p{Script=Myanmar}\u30fc\uff70"  # the prolonged sound marks belong to no one script
)
_DASHES = "\u2012-\u2015\u2e3a\u2e3b\u0096\u0097"
# Of punctuation without a space beside it: what always parts words, and what does so except between digits.
_SEPARATORS = re.compile(r"\.{3}|[…;!?¡¿|•~〜～“”„«»‹›。！？；，、।॥؛؟۔።፣፤։\u061f]")
_SEPARATORS_OUTSIDE_NUMBERS = re.compile(rf"[{_DASHES},،]|--|\.\.")
_HYPHENS = frozenset("-\u2010\u2011" + APOSTROPHES)
_ENDINGS_WITH_COLON = frozenset({"fi", "sv"})  # EU:n, YK:ssa: one word
# Ends of host and file names: "example.com" is one word, "home.then" is two.
_SUFFIXES = frozenset(
    re.findall(
        r"\w+",
        "com org net edu gov mil info biz io uk ru jp cn br kr eu fr pl cz ch js py ts txt pdf html htm php exe jpg "
        "jpeg png gif mp3 mp4 wav doc docx xls xlsx zip csv json xml yaml tv",
    )
)
# The same in texts of that language; in others these may be words.
_COUNTRIES = frozenset({"de", "it", "nl", "pt", "ro", "sk", "tr", "hu", "fi", "hr"})


def word_spans(text: str, language: str | None) -> list[tuple[int, int]]:
    """The words of a text.

    Words are parted by spaces, and by punctuation without a space beside it: a dash, an ellipsis, a slash, a full stop
    and the like. Hyphens, apostrophes, numbers (3.5, 9:30, 10–12), abbreviations (U.S.) and addresses stay whole. In
    languages without spaces (Chinese, Japanese, Thai, ...) a word is one character with its marks; a run of other
    letters or digits is one word, and punctuation joins the word before it (opening brackets the one after).

    Args:
        text: The text as it is given.
        language: Its code; None is treated as a language with spaces.

    Returns:
        ``(start, end)`` in characters, in order. Every character that is not white space lies in exactly one span.
    """
    spaced = is_spaced(language)
    spans: list[tuple[int, int]] = []
    for chunk in re.finditer(r"\S+", text):
        for start, end in [chunk.span()] if spaced else _unspaced_spans(text, *chunk.span()):
            boundaries = [start, *(start + split for split in _split_points(text[start:end], base_code(language))), end]
            spans += pairwise(boundaries)
    return spans


def is_unspaced(character: str) -> bool:
    """Whether a character is of a script that has no spaces between words (Chinese, Japanese, Thai, ...)."""
    return _unspaced().fullmatch(character) is not None


def space_between(before: str, after: str) -> str:
    """What stands between two texts that follow each other.

    Args:
        before: The one; marks at its end are looked past.
        after: The other; marks at its beginning are looked past.

    Returns:
        Nothing where the letters that meet are both of scripts without spaces, or a text is empty. Else a space.
    """
    if not before or not after:
        return ""
    last = next((one for one in reversed(before) if one.isalnum()), " ")
    first = next((one for one in after if one.isalnum()), " ")
    return "" if is_unspaced(last) and is_unspaced(first) else " "


def joined(texts: Iterable[str]) -> str:
    """Texts that follow each other as one, with what :func:`space_between` says; empty ones are left out."""
    whole = ""
    for text in texts:
        whole += space_between(whole, text) + text
    return whole


def _split_points(chunk: str, code: str) -> Iterator[int]:
    """Where words start inside a chunk without spaces."""
    if chunk.isalnum():
        return
    patterns = _patterns()
    if patterns["address"].match(chunk):
        return
    for match in patterns["between"].finditer(chunk):
        before = patterns["word_before"].search(chunk, 0, match.start())
        after = patterns["word"].match(chunk, match.end())
        assert before is not None and after is not None
        rest = chunk[after.end() :]
        if _parts_words(before[0], match[0], after[0], rest, code):
            yield match.start() + len(patterns["opening"].sub("", match[0]))


def _parts_words(before: str, between: str, after: str, rest: str, code: str) -> bool:
    """Whether the punctuation ``between``, without a space beside it, parts two words."""
    in_number = before[-1].isdecimal() and after[0].isdecimal()
    if _SEPARATORS.search(between):
        return not (between[-1] in APOSTROPHES and len(after) < 3)  # Yahoo!'s
    if _SEPARATORS_OUTSIDE_NUMBERS.search(between):
        return not in_number
    if in_number or _HYPHENS.intersection(between):
        return False
    if "/" in between:
        return not (_is_letter(before) and _is_letter(after))
    if ":" in between:
        return code not in _ENDINGS_WITH_COLON and len(after) > 1
    return "." in between and _ends_sentence(before, after, rest, code)


def _ends_sentence(before: str, after: str, rest: str, code: str) -> bool:
    """Whether a full stop without a space after it ends a word; else it is part of an abbreviation, number or name."""
    if after in _SUFFIXES or (after == code and code in _COUNTRIES):
        return False
    if before[-1].isdecimal():
        return not _is_letter(after)
    if _is_letter(after):  # a.m., Ph.D., and "home.I"
        return len(before) > 2 and not rest.startswith(".")
    return not _is_letter(before)


def _is_letter(piece: str) -> bool:
    """Whether a piece is one letter; a syllable (Korean) is none."""
    return len(piece) == 1 and piece.isalpha() and not _patterns()["syllable"].match(piece)


def _unspaced_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    word_start = start  # of the next word, with the opening brackets in front of it
    for atom in _patterns()["atom"].finditer(text, start, end):
        if atom.lastgroup in ("one", "run"):
            spans.append((word_start, atom.end()))
            word_start = atom.end()
        elif atom.lastgroup == "other" and spans and word_start == spans[-1][1]:
            spans[-1] = (spans[-1][0], atom.end())
            word_start = atom.end()
    if word_start < end:
        spans = [*spans[:-1], (spans[-1][0], end)] if spans else [(start, end)]
    return spans


@cache
def _patterns() -> dict[str, regex.Pattern[str]]:
    word = rf"[\p{{L}}\p{{M}}\p{{N}}{APOSTROPHES}]"
    other = rf"[[\p{{L}}\p{{N}}]--[{UNSPACED_SCRIPTS}]]\p{{M}}*"
    return {
        "between": regex.compile(r"(?<=[\p{L}\p{M}\p{N}])[^\p{L}\p{M}\p{N}\s]+(?=[\p{L}\p{N}])"),
        "syllable": regex.compile(rf"[\p{{Script=Hangul}}{UNSPACED_SCRIPTS}]"),
        "word": regex.compile(rf"{word}+"),
        "word_before": regex.compile(rf"{word}+$"),
        "opening": regex.compile(r"[\p{Ps}\p{Pi}„¿¡]+$"),
        "address": regex.compile(
            r"[\p{P}\p{S}]*(?:(?:https?|ftp|file)://|www\.|[\w.+-]+@[\w-]+\.\w|"
            rf"(?:[\w-]+\.)+(?:{'|'.join(sorted(_SUFFIXES))})(?:[/?:]|[\p{{P}}]*$))"
        ),
        "atom": regex.compile(
            rf"(?P<one>[{UNSPACED_SCRIPTS}]\p{{M}}*)|(?P<run>{other}(?:[.,{APOSTROPHES}\-]?{other})*)"
            r"|(?P<opening>[\p{Ps}\p{Pi}]\p{M}*)|(?P<other>.)",
            regex.V1 | regex.DOTALL,
        ),
    }


@cache
def _unspaced() -> regex.Pattern[str]:
    return regex.compile(f"[{UNSPACED_SCRIPTS}]")
