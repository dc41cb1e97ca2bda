"""What tasks take labels for: text, scores, or one of some words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from llaso_data.formats.files.splits import split_of
from llaso_data.formats.rows import vocabulary
from llaso_data.formats.rows.labels import label_value
from llaso_data.formats.rows.source_row import RowError
from llaso_data.formats.texts import SPLIT
from llaso_data.instruct.fields import FIELDS
from llaso_data.instruct.tasks import Tasks, folded
from llaso_data.records import SPLITS
from llaso_data.uris import escaped


@dataclass(frozen=True, slots=True)
class LabelKinds:
    """How labels are read.

    Attributes:
        scores: Fields of scores: their JSON in a cell of a table is read.
        words: Field of labels or numbers → the forms of its labels. A word that stands for nothing, such as ``nan``,
            says nothing where it is none of them.
        notes: Counts splits that are none.
    """

    scores: frozenset[str]
    words: Mapping[str, frozenset[str]]
    notes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, tasks: Tasks, notes: Counter[str]) -> LabelKinds:
        """What the tasks that are built say of their fields. ``notes`` counts what is not understood."""
        words: dict[str, frozenset[str]] = {}
        scores: set[str] = set()
        for build in tasks.build.values():
            field, form = build.answer.field, build.answer.form
            sets = [build.shows[name] for name in build.shows if name == field]
            if form == "scores":
                scores.add(field)
            if form in ("label", "number") and field not in FIELDS:
                declared = tasks.sets[build.scored_as].labels if build.scored_as else None
                sets += [declared] if declared else []
                forms = frozenset(folded(one) for name in sets if name in tasks.labels for one in tasks.forms_of(name))
                words[field] = words.get(field, frozenset()) | forms
        return cls(frozenset(scores), words, notes)

    def read(self, labels: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """The labels of a row as tasks take them, without those that say nothing; and the split that it names."""
        found: dict[str, Any] = {}
        for name, value in labels.items():
            if isinstance(value, str):
                if name in self.scores:
                    value = _structure(value)
                elif name in self.words and _says_nothing(value, self.words[name]):
                    continue
            if value is not None:
                found[name] = value
        return found, self._split(found.pop(SPLIT, None))

    def _split(self, stated: Any) -> str | None:
        split = str(stated).lower() if stated is not None else None
        if split is None or split in SPLITS:
            return split
        if (named := split_of(split)) is None:
            self.notes[f"splits that are none of {', '.join(SPLITS)}: {escaped(split[:80])}"] += 1
        return named


@lru_cache(4096)
def _says_nothing(word: str, forms: frozenset[str]) -> bool:
    return folded(word) not in forms and vocabulary.says_nothing(word)


def _structure(text: str) -> Any:
    """What the JSON of a list or an object says; any other text as it is."""
    if text[:1] not in ("[", "{"):
        return text
    try:
        return label_value(json.loads(text))
    except (ValueError, RecursionError, RowError):
        return text
