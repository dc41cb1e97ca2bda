"""Chinese in its two scripts, Simplified and Traditional (OpenCC)."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from llaso_data.text.language_rules import base_code

Script = Literal["simplified", "traditional"]

_CHINESE = frozenset({"zh", "yue", "cmn", "nan", "hak", "wuu", "gan", "hsn", "lzh"})
# OpenCC keeps these apart as different words; few writers do.
_VARIANTS = str.maketrans("著爲裏麽妳祂牠", "着为里么你他它")


def is_chinese(language: str | None) -> bool:
    """Whether the language is a Chinese one."""
    return base_code(language) in _CHINESE


def to_simplified(text: str) -> str:
    """The text in Simplified, converted character by character, so that its length does not change; for comparisons."""
    return text if text.isascii() else "".join(map(_simplified, text.translate(_VARIANTS)))


def convert_script(text: str, script: Script) -> str:
    """The text in one of the scripts, converted by phrases, because one character may stand for several."""
    return str(_converter("t2s" if script == "simplified" else "s2t").convert(text))


@cache
def _simplified(character: str) -> str:
    converted = character if character < "\u2e80" else str(_converter("t2s").convert(character))
    return converted if len(converted) == 1 else character


@cache
def _converter(name: str) -> Any:
    import opencc

    return opencc.OpenCC(name)
