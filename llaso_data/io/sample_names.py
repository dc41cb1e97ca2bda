"""Which members of a tar are one sample, by their names alone. ``shards/SPEC.md``, section 8, is this rule in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

_NAME = re.compile(r"((?:.*/|)[^./]+)\.([^/]*)", re.DOTALL)
_META = re.compile(r"__[^/]*__($|/)")

Nameless = Literal["metadata", "hidden", "no_ending"]
"""Why a name belongs to no sample: ``__info__`` and what lies below such a folder; ``.name``; no dot in it."""


def split(name: str) -> tuple[str, str] | Nameless:
    """Divide a name as WebDataset does: at the first dot after the folder.

    Returns:
        (key, part), the part in lower case; or why the name belongs to no sample.
    """
    if _META.match(name):
        return "metadata"
    match = _NAME.fullmatch(name)
    if match is not None:
        return match[1], match[2].lower()
    return "hidden" if name.rpartition("/")[2].startswith(".") else "no_ending"


@dataclass(slots=True)
class Divided:
    """The samples among some names: key → part → position of its name.

    ``repeated`` are (key, position) of parts that came again. ``at_last_dot``: the keys end at the last dot of the
    names, not at the first.
    """

    samples: dict[str, dict[str, int]] = field(default_factory=dict)
    repeated: list[tuple[str, int]] = field(default_factory=list)
    at_last_dot: bool = False


def divide(names: Sequence[str]) -> Divided:
    """The samples of names that agree up to their first dot (:func:`split` gives one key for all), in their order.

    They are one sample, as WebDataset has it. Only where one ending stands there more than once, and what is
    between key and ending is not 0, 1, 2 … (several audios of one sample), the keys end at the last dot:
    ``utt.0001.wav``, ``utt.0001.txt``, ``utt.0002.wav`` are two samples.
    """
    divided = Divided(at_last_dot=_ends_late(names))
    for position, name in enumerate(names):
        key, part = _at_last_dot(name) if divided.at_last_dot else _at_first_dot(name)
        parts = divided.samples.setdefault(key, {})
        if part in parts:
            divided.repeated.append((key, position))
        else:
            parts[part] = position
    return divided


def _ends_late(names: Sequence[str]) -> bool:
    if len({name.rpartition(".")[2].lower() for name in names}) == len(names):
        return False  # as nearly always
    between: dict[str, set[str]] = {}
    for name in names:
        stem, ending = _at_last_dot(name)
        between.setdefault(ending, set()).add(stem)
    for stems in between.values():
        numbered = {f"{_at_first_dot(stem)[0]}.{number}" for number in range(len(stems))}
        if len(stems) > 1 and stems != numbered:
            return True
    return False


def _at_first_dot(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    key, _, part = base.partition(".")
    return folder + slash + key, part.lower()


def _at_last_dot(name: str) -> tuple[str, str]:
    key, _, part = name.rpartition(".")
    return key, part.lower()


@dataclass(slots=True)
class Grouped:
    """All samples of a tar: key → names of its parts; ``left_out`` are those of none, by the reason.

    ``at_last_dot`` counts the samples whose key ends at the last dot.
    """

    samples: dict[str, list[str]] = field(default_factory=dict)
    at_last_dot: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)


def group(names: Iterable[str]) -> Grouped:
    """The samples of a tar's members, wherever in the tar they lie; every name comes out once."""
    by_key: dict[str, list[str]] = {}
    grouped = Grouped()
    for name in names:
        halves = split(name)
        if isinstance(halves, str):
            grouped.left_out.setdefault(halves, []).append(name)
        else:
            by_key.setdefault(halves[0], []).append(name)
    for members in by_key.values():
        divided = divide(members)
        for key, parts in divided.samples.items():
            grouped.samples[key] = [members[position] for position in parts.values()]
        for key, position in divided.repeated:
            grouped.samples[key].append(members[position])
        grouped.at_last_dot += len(divided.samples) if divided.at_last_dot else 0
    return grouped
