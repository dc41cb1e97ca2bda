"""What cannot be spoken, by name: a text that a voice would spell out, skip, or not end in time."""

from __future__ import annotations

import re

from llaso_data.instruct.voices import MAX_SPEECH_S, SpeechError
from llaso_data.languages import language_name
from llaso_data.text import is_spaced, letters, markup, scripts_match

REASONS = ("empty", "no_letters", "code", "table", "address", "formula", "markup", "script", "too_long")
"""The names under which texts are refused, before an engine is asked."""

_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S|\bwww\.\w|\b[\w.+-]+@[\w-]+\.\w", re.IGNORECASE)
_TABLE = re.compile(
    r"^[^\n|]*\|[^\n|]+\|[^\n]*\n[^\n|]*\|[^\n|]+\||^[^\n\t]*\t[^\n]*\n[^\n\t]*\t|^\s*[-+=|:]{5,}\s*$", re.M
)
_FORMULA = re.compile(
    r"\\(?:frac|sqrt|sum|int|begin|alpha|beta|cdot|times|left|mathbb|text)\b|\$[^$\n]*[\\^_=][^$\n]*\$|\w\^\{?\w"
)
_CODE = re.compile(
    r"```|`[^`\n]+`"
    r"|[;{}]\s*$|^\s*(?:#include|#!/|import \w+(?:\s*$|\.| as )|from [\w.]+ import|def \w+\(|class \w+[(:]|return\b.*;"
    r"|function\s*\w*\(|public |private |var \w+ =|let \w+ =|const \w+ =|SELECT .+ FROM|<!DOCTYPE|<\?)"
    r"|</?[a-zA-Z][\w-]*(?:\s+[\w-]+=[^>]*)?/?>"
    r"|==|!=|=>|->|&&|\|\||\+=|::|\w\(\)|\w\.\w+\(|\b\w+_\w+\b|\b\w+\[\w*\]|\w = \S",
    re.MULTILINE,
)
_FASTEST = {True: 30, False: 9}
"""Letters a second that nobody exceeds, in languages with spaces between words and without."""


def spoken_text(text: str, language: str) -> str:
    """The text that is spoken: on one line, without emoji and invisible characters.

    Args:
        text: As a data set has it.
        language: Its code.

    Raises:
        SpeechError: It cannot be spoken; its reason is one of :data:`REASONS`.
    """
    if not text.strip():
        raise SpeechError("empty", "an empty text")
    shown = repr(text if len(text) <= 60 else text[:60] + "…")
    # Before the text is cleaned, which takes tags for markup of transcripts and joins lines.
    for name, pattern, what in (
        ("address", _ADDRESS, "an address"),
        ("table", _TABLE, "a table"),
        ("formula", _FORMULA, "a formula"),
        ("code", _CODE, "code"),
    ):
        if (found := pattern.search(text)) is not None:
            raise SpeechError(name, f"{shown} holds {what} ({found[0].strip()[:20]!r})")
    cleaned = markup.clean(text).text
    if not letters(cleaned):
        raise SpeechError("no_letters", f"{shown} has no letters or digits")
    if unknown := markup.unknown_markup(cleaned):
        raise SpeechError("markup", f"{shown} holds {unknown[0]!r}, which may be a gap to fill or a remark")
    if not _is_encodable(cleaned):
        raise SpeechError("script", f"{shown} holds half a character, which no file can hold")
    if not scripts_match(cleaned, language):
        raise SpeechError("script", f"{shown} is not in the script of {language_name(language)}")
    if letters(cleaned) > MAX_SPEECH_S * _FASTEST[is_spaced(language)]:
        raise SpeechError(
            "too_long", f"{shown} has {letters(cleaned)} letters, which take more than {MAX_SPEECH_S:g} s"
        )
    return cleaned


def _is_encodable(text: str) -> bool:
    """Whether it is without halves of surrogate pairs, as JSON may hold them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
