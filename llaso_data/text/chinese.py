"""Chinese is written in two scripts and said in one: Traditional and Simplified (OpenCC)."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from llaso_data.text.language_rules import base_code

Script = Literal["simplified", "traditional"]

_CHINESE = frozenset({"zh", "yue", "cmn", "nan", "hak", "wuu", "gan", "hsn", "lzh"})
_VARIANTS = str.maketrans("著爲裏麽妳祂牠", "着为里么你他它")  # that OpenCC keeps apart, as words, and few writers do


def is_chinese(language: str | None) -> bool:
    return base_code(language) in _CHINESE


def to_simplified(text: str) -> str:
    """The text as it is compared: character by character in Simplified, so that its places stay."""
    return text if text.isascii() else "".join(map(_simplified, text.translate(_VARIANTS)))


def convert_script(text: str, script: Script) -> str:
    """The text in one of the scripts, by phrases where one character stands for several."""
    return str(_converter("t2s" if script == "simplified" else "s2t").convert(text))


@cache
def _simplified(character: str) -> str:
    found = character if character < "\u2e80" else str(_converter("t2s").convert(character))
    return found if len(found) == 1 else character


@cache
def _converter(name: str) -> Any:
    import opencc

    return opencc.OpenCC(name)
