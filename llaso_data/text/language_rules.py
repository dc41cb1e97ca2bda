"""The languages that texts are processed in: their scripts, and whether they write spaces between words."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """A language: its English name, its Unicode scripts, and whether it writes spaces between words."""

    name: str
    scripts: tuple[str, ...]
    spaced: bool = True


LANGUAGES: dict[str, Language] = {
    "ar": Language("Arabic", ("Arabic",)),
    "bg": Language("Bulgarian", ("Cyrillic",)),
    "bn": Language("Bengali", ("Bengali",)),
    "ca": Language("Catalan", ("Latin",)),
    "cs": Language("Czech", ("Latin",)),
    "da": Language("Danish", ("Latin",)),
    "de": Language("German", ("Latin",)),
    "el": Language("Greek", ("Greek",)),
    "en": Language("English", ("Latin",)),
    "es": Language("Spanish", ("Latin",)),
    "fa": Language("Persian", ("Arabic",)),
    "fi": Language("Finnish", ("Latin",)),
    "fr": Language("French", ("Latin",)),
    "he": Language("Hebrew", ("Hebrew",)),
    "hi": Language("Hindi", ("Devanagari",)),
    "hr": Language("Croatian", ("Latin",)),
    "hu": Language("Hungarian", ("Latin",)),
    "id": Language("Indonesian", ("Latin",)),
    "it": Language("Italian", ("Latin",)),
    "ja": Language("Japanese", ("Han", "Hiragana", "Katakana"), spaced=False),
    "km": Language("Khmer", ("Khmer",), spaced=False),
    "ko": Language("Korean", ("Hangul", "Han")),
    "lo": Language("Lao", ("Lao",), spaced=False),
    "ms": Language("Malay", ("Latin",)),
    "my": Language("Burmese", ("Myanmar",), spaced=False),
    "nl": Language("Dutch", ("Latin",)),
    "no": Language("Norwegian", ("Latin",)),
    "pl": Language("Polish", ("Latin",)),
    "pt": Language("Portuguese", ("Latin",)),
    "ro": Language("Romanian", ("Latin",)),
    "ru": Language("Russian", ("Cyrillic",)),
    "sk": Language("Slovak", ("Latin",)),
    "sr": Language("Serbian", ("Cyrillic", "Latin")),
    "sv": Language("Swedish", ("Latin",)),
    "sw": Language("Swahili", ("Latin",)),
    "ta": Language("Tamil", ("Tamil",)),
    "te": Language("Telugu", ("Telugu",)),
    "th": Language("Thai", ("Thai",), spaced=False),
    "tl": Language("Tagalog", ("Latin",)),
    "tr": Language("Turkish", ("Latin",)),
    "uk": Language("Ukrainian", ("Cyrillic",)),
    "ur": Language("Urdu", ("Arabic",)),
    "vi": Language("Vietnamese", ("Latin",)),
    "yue": Language("Cantonese", ("Han",), spaced=False),
    "zh": Language("Chinese", ("Han",), spaced=False),
}
"""Languages by ISO 639-1 code (``yue`` has none). A code that is not here is treated as spaced and of any script."""


def base_code(language: str | None) -> str:
    """The language of a code without its region: ``pt`` of ``pt-BR`` or ``PT_br``; empty for None."""
    return re.split(r"[-_]", language, maxsplit=1)[0].lower() if language else ""


def is_spaced(language: str | None) -> bool:
    """Whether the language writes spaces between words; true where it is not in :data:`LANGUAGES`."""
    code = base_code(language)
    return LANGUAGES[code].spaced if code in LANGUAGES else True
