"""Characters that writers vary and speakers do not: the many apostrophes, and invisible characters."""

from __future__ import annotations

from functools import cache

import regex

APOSTROPHES = (
    "'\u2018\u2019\u201b\u2032\u2035\u02b9\u02bb\u02bc\u02bd\u02be\u02bf\u02c8\u02ca\u02cb\u02f4`\u00b4\uff07\uff40"
    "\u0374\u0384\u1fbd\u1fbf\u1fef\u1ffd\u055a\u05f3\u07f4\u07f5\ua78b\ua78c\u275b\u275c\u0091\u0092"
)
"""Characters that stand for an apostrophe, the plain one first: quotes, primes, single accents, letters of that shape
(the Hawaiian okina, the Hebrew geresh), and the two of Windows-1252 read as Latin-1."""

_OPENING = "\u2018\u201b\u02bb\u02bd`\uff40\u0091"
_CLOSING = "".join(sorted(set(APOSTROPHES) - set(_OPENING)))

# Joiners shape letters in the scripts of the Middle East, India and Mongolia; in others they mean nothing.
_SHAPED = r"[[\p{L}\p{M}]--[\p{scx=Latin}\p{scx=Greek}\p{scx=Cyrillic}\p{scx=Han}\p{scx=Hangul}\p{scx=Thai}]]"
_JOINERS = "\u200c\u200d\u180b-\u180f"


@cache
def _patterns() -> tuple[regex.Pattern[str], regex.Pattern[str], regex.Pattern[str], regex.Pattern[str]]:
    """Invisible characters, the same without those that shape letters, apostrophes, and quotes before a word."""
    invisible = r"[[\p{Default_Ignorable_Code_Point}\p{Cc}\ufff9-\ufffc]--[\s\u0091\u0092\u0096\u0097]]"
    shaping = rf"(?<={_SHAPED}[{_JOINERS}]?)[{_JOINERS}]"
    return (
        regex.compile(invisible, regex.V1),
        regex.compile(rf"(?!{shaping}){invisible}", regex.V1),
        regex.compile(f"[{APOSTROPHES[1:]}]"),
        regex.compile(rf"(?<!\w)[{_OPENING}](?=\w+[{_CLOSING}])"),
    )


def canonical_characters(text: str) -> str:
    """The text without invisible characters, and with the plain apostrophe for every character that stands for one."""
    if text.isascii() and text.isprintable() and "`" not in text:
        return text
    invisible, _, apostrophes, opening_quotes = _patterns()
    text = opening_quotes.sub(" ", invisible.sub("", text))
    return apostrophes.sub("'", text).replace("\u0149", "'n")


def plain_apostrophes(text: str) -> str:
    """The text, of the same length, with the plain apostrophe for every character that stands for one in a word."""
    return text if text.isascii() and "`" not in text else _in_words().sub("'", text)


def invisible_characters() -> regex.Pattern[str]:
    """The pattern of one invisible character that means nothing; joiners that shape letters are not among them."""
    return _patterns()[1]


@cache
def _in_words() -> regex.Pattern[str]:
    return regex.compile(f"(?<=[\\p{{L}}\\p{{M}}\\p{{N}}])[{APOSTROPHES[1:]}]|[{_CLOSING}](?=\\p{{L}})")
