"""Patterns that stand for many files: ``audio_{0..127}.tar``, and NeMo's ``audio__OP_0..127_CL_.tar``."""

from __future__ import annotations

import re

from llaso_data.errors import LLaSOError

MAX_FILES = 1_000_000
"""The most files that a pattern may stand for."""


def with_braces(pattern: str) -> str:
    """A pattern with braces instead of NeMo's ``_OP_`` and ``_CL_``, which a shell leaves alone."""
    return pattern.replace("_OP_", "{").replace("_CL_", "}") if "_OP_" in pattern and "_CL_" in pattern else pattern


def expand_braces(pattern: str) -> list[str]:
    """The names that a pattern stands for: ``a-{000..002}.tar``, ``{x,y}.tar``, or both.

    Raises:
        LLaSOError: They are more than :data:`MAX_FILES`.
    """
    names, braces = [""], re.compile(r"\{([^{}]*)\}")
    position = 0
    for match in braces.finditer(pattern):
        literal, choices = pattern[position : match.start()], _choices(match[1])
        if len(names) * len(choices) > MAX_FILES:
            raise LLaSOError(f"{pattern}: stands for more than {MAX_FILES:,} files")
        names = [name + literal + choice for name in names for choice in choices]
        position = match.end()
    return [name + pattern[position:] for name in names]


def _choices(inside: str) -> list[str]:
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if numbers is None:
        return inside.split(",")
    first, last = int(numbers[1]), int(numbers[2])
    if abs(last - first) >= MAX_FILES:
        raise LLaSOError(f"{{{inside}}}: stands for more than {MAX_FILES:,} files")
    width = len(numbers[1]) if numbers[1].startswith("0") or len(numbers[1]) == len(numbers[2]) else 0
    step = 1 if last >= first else -1
    return [f"{number:0{width}d}" for number in range(first, last + step, step)]
