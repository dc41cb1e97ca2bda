"""Fitted thresholds by group: those of a corpus and language, of a language, or of everything that was fitted on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from llaso_data.filters import tiers
from llaso_data.filters.fit import with_thresholds
from llaso_data.filters.rules import Rule
from llaso_data.recipe import Judge

Thresholds = Mapping[str, float | None]
"""By key, as in :data:`llaso_data.filters.fit.PLACES`; None: off."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Thresholds and whom they are for.

    Attributes:
        corpus: Of the utterances; None: of any corpus that has no fit of its own.
        language: Likewise. Where it is None, ``corpus`` is, too.
        thresholds: What replaces the recipe's.
    """

    corpus: str | None
    language: str | None
    thresholds: Thresholds

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"corpus": self.corpus, "language": self.language, "thresholds": dict(self.thresholds)}


@dataclass(frozen=True, slots=True)
class GroupThresholds:
    """The fits of a run. An utterance is judged by that of its corpus and language; else by that of its language; else
    by that of everything; else by the recipe's thresholds.

    Groups are numbered: 0 has the recipe's thresholds, the others have those of ``fits`` in order.
    """

    fits: tuple[Fit, ...] = ()

    @classmethod
    def of_json(cls, stated: Sequence[Mapping[str, Any]]) -> GroupThresholds:
        """The inverse of :meth:`to_json`."""
        return cls(tuple(Fit(one["corpus"], one["language"], one["thresholds"]) for one in stated))

    def to_json(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [fit.to_dict() for fit in self.fits]

    def number(self, corpus: str, language: str) -> int:
        """The number of the group of a corpus and language."""
        numbers = {(fit.corpus, fit.language): number for number, fit in enumerate(self.fits, 1)}
        keys = ((corpus, language), (None, language), (None, None))
        return next((numbers[key] for key in keys if key in numbers), 0)

    def numbers(self, corpora: Any, languages: Any) -> npt.NDArray[np.int64]:
        """The group of every row.

        Args:
            corpora: Arrow strings (rows,), without nulls.
            languages: Likewise.

        Returns:
            (rows,) numbers.
        """
        if not self.fits:
            return np.zeros(len(corpora), np.int64)
        names, codes = zip(*(_encoded(column) for column in (corpora, languages)), strict=True)
        numbers = np.array([[self.number(corpus, language) for language in names[1]] for corpus in names[0]], np.int64)
        of_rows: npt.NDArray[np.int64] = numbers.reshape(len(names[0]), len(names[1]))[codes[0], codes[1]]
        return of_rows

    def rules(self, section: Judge) -> list[Rule]:
        """The rules of a section, those with fitted thresholds by group; in the order in which they are tried."""
        keys = sorted({key for fit in self.fits for key in fit.thresholds})
        sections = [
            with_thresholds(section, {key: _place(key, one.get(key, stated_at(section, key))) for key in keys})
            for one in ({}, *(fit.thresholds for fit in self.fits))
        ]
        # A threshold that is off stands at infinity, so that all sections have the same rules.
        return [_merged(ones) for ones in zip(*(tiers.rules(one) for one in sections), strict=True)]

    def in_use(self, rule: Rule) -> list[float]:
        """The thresholds that a rule has in any group, ascending; the recipe's where some group may have it."""
        if rule.by_group is None:
            return [rule.threshold]
        everything = any(fit.language is None for fit in self.fits)
        return sorted(set(rule.by_group[1 if everything else 0 :]))


NO_FITS = GroupThresholds()
"""Where the recipe's thresholds hold for all."""


def user_set(section: Judge) -> Iterator[str]:
    """The thresholds of a section that differ from the defaults: the user's, which nothing is fitted in place of."""
    default = Judge()
    for tier in ("confidence", "consistency"):
        for name in type(getattr(default, tier)).model_fields:
            key = f"{tier}.{name}"
            if stated_at(section, key) != stated_at(default, key):
                yield key


def stated_at(section: Judge, key: str) -> Any:
    """A section's value of a key such as ``consistency.llr_min``."""
    tier, name = key.split(".")
    return getattr(getattr(section, tier), name)


def _place(key: str, value: float | None) -> float:
    """Where a threshold stands; one that is off rejects nothing there."""
    return value if value is not None else math.inf if key.endswith("_max") else -math.inf


def _merged(ones: Sequence[Rule]) -> Rule:
    """One rule for the same rule of all groups."""
    by_group = tuple(one.threshold for one in ones)
    return ones[0] if len(set(by_group)) == 1 else dataclasses.replace(ones[0], by_group=by_group)


def _encoded(column: Any) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The distinct names of a column, and the place of every row's name among them."""
    names = pc.unique(column)
    places: npt.NDArray[np.int64] = np.asarray(pc.index_in(column, value_set=names), np.int64)
    return names.to_pylist(), places
