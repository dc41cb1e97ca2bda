"""Entities in an answer, as SLURP marks them: ``put [event_name : meeting] with [person : pawel]``."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np

from llaso_data import text
from llaso_model.evaluate.metrics.base import Array, Metric, identity

_SLOT = re.compile(r"\[\s*([\w\- ]+?)\s*:\s*([^\[\]]*?)\s*\]")
_JSON = re.compile(r"\{[^{}]*\}")


def _f1(sums: Array) -> Array:
    """2·TP over found and wanted; 1 where nothing was wanted and nothing found."""
    right, extracted, expected = sums[..., 0], sums[..., 1], sums[..., 2]
    both = extracted + expected
    return np.where(both > 0, 2 * right / np.where(both > 0, both, 1), 1.0)


ENTITY_F1 = Metric("entity_f1", "Entity F1", _f1, formula="F1 of (type, value)", normalised=identity, limits=(0, 1))
TYPE_F1 = Metric("type_f1", "Entity type F1", _f1, limits=(0, 1))


def parse_entities(answer: str, language: str | None = "en") -> list[tuple[str, str]]:
    """The entities of an answer as (type, normalised value), from ``[type : value]``, else from JSON objects."""
    slots = _SLOT.findall(answer)
    if not slots:
        for json_text in _JSON.findall(answer):
            try:
                values = json.loads(json_text)
            except ValueError:
                continue
            slots += [(str(key), str(value)) for key, value in values.items() if isinstance(value, str | int | float)]
    return [(re.sub(r"[\s\-]+", "_", kind.casefold()), text.normalize(value, language)) for kind, value in slots]


def has_entity_form(answer: str) -> bool:
    """Whether an answer has the form that was asked for: entities in brackets, or JSON."""
    return bool(_SLOT.search(answer) or _JSON.search(answer))


def match_counts(extracted: list[tuple[str, str]], expected: list[tuple[str, str]]) -> tuple[float, float, float]:
    """(matched, extracted, expected) entities. Each expected entity matches once."""
    common = Counter(extracted) & Counter(expected)
    return float(sum(common.values())), float(len(extracted)), float(len(expected))


def type_match_counts(extracted: list[tuple[str, str]], expected: list[tuple[str, str]]) -> tuple[float, float, float]:
    """As :func:`match_counts`, by the types alone."""
    return match_counts([(kind, "") for kind, _ in extracted], [(kind, "") for kind, _ in expected])
