"""Ratings by people: which answers are rated, what was said, how far raters agree.

A rater reads an answer, and hears it where there is sound, without knowing the system, and gives four marks of 1 to 5.
All raters get the same items in the same random order, so that agreement can be measured from the start. Ratings stand
in ``ratings/<rater>.json`` beside the scores, one whole file for every answer that is given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llaso_data import storage
from llaso_data.errors import LLaSOError
from llaso_data.records import digest
from llaso_model.evaluate import intervals
from llaso_model.evaluate.metrics.base import ratio
from llaso_model.evaluate.rows import Row

ASPECTS = {
    "accuracy": "Is what it says right?",
    "following": "Does it do what was asked, in the form that was asked for?",
    "naturalness": "Would a person put it like this?",
    "robustness": "Does it cope with what is hard here: noise, accent, an unclear question?",
}
LOWEST, HIGHEST = 1, 5
_FORMAT = "llaso-ratings"

Ratings = dict[str, dict[str, int]]
"""Aspect to 1 … 5, by item."""


def draw(rows: Sequence[Row], items: int, seed: int) -> list[Row]:
    """`items` rows, spread over systems and sets in turn, in an order that says nothing of either.

    A pure function of the rows' ids and the seed: every rater gets the same.
    """
    pools: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: _ticket(row, seed)):
        pools.setdefault((row.prediction.set, row.prediction.system), []).append(row)
    found: list[Row] = []
    turn = 0
    order = sorted(pools, key=lambda key: digest("pool", seed, *key))
    while len(found) < min(items, len(rows)):
        for key in order:
            if turn < len(pools[key]) and len(found) < items:
                found.append(pools[key][turn])
        turn += 1
    return sorted(found, key=lambda row: digest("order", seed, item_id(row)))


def item_id(row: Row) -> str:
    """A name for a row that does not give its system away."""
    one = row.prediction
    return digest("rated", one.system, one.set, one.id, one.answer, length=16)


def _ticket(row: Row, seed: int) -> str:
    return digest("rate", seed, item_id(row))


def clean_name(name: str) -> str:
    """A rater's name as it is stored. Raises LLaSOError for what is none."""
    clean = " ".join(name.split())
    if not clean or len(clean) > 60 or not clean.isprintable():
        raise LLaSOError(f"a rater's name has 1 to 60 printable characters; got {name[:80]!r}")
    return clean


def path_of(folder: str, rater: str) -> str:
    """Where a rater's ratings stand."""
    slug = re.sub("[^a-z0-9]+", "-", rater.lower()).strip("-")[:32]
    return storage.join(folder, "ratings", f"{slug}-{digest('rater', rater, length=8)}.json")


def read(folder: str, rater: str) -> Ratings:
    """What a rater said so far. Raises LLaSOError for a damaged file."""
    path = path_of(folder, rater)
    return _load(path)[1] if storage.exists(path) else {}


def write(folder: str, rater: str, ratings: Mapping[str, Mapping[str, int]], systems: Mapping[str, str]) -> None:
    """Writes a rater's ratings whole. ``systems`` says which system each item is of."""
    rated = [{"item": item, "system": systems[item], **given} for item, given in ratings.items() if item in systems]
    storage.write_json(
        path_of(folder, rater), {"format": _FORMAT, "format_version": 1, "rater": rater, "ratings": rated}
    )


def checked(given: Mapping[str, Any]) -> dict[str, int]:
    """The aspects of a rating. Raises LLaSOError for a value that is none of 1 to 5."""
    found = {}
    for aspect, value in given.items():
        if aspect not in ASPECTS or not isinstance(value, int) or not LOWEST <= value <= HIGHEST:
            raise LLaSOError(
                f"a rating is {LOWEST} to {HIGHEST} for one of {', '.join(ASPECTS)}; got {aspect}: {value}"
            )
        found[aspect] = value
    return found


def results(folders: Sequence[str]) -> dict[str, Any] | None:
    """Means by system and aspect with intervals (items resampled), and Krippendorff's alpha; None without ratings."""
    said: list[tuple[str, Ratings]] = []
    systems: dict[str, str] = {}
    for folder in folders:
        base = storage.join(folder, "ratings")
        if not storage.exists(base):
            continue
        for row in sorted(storage.listing(base), key=lambda row: str(row["path"])):
            if row["path"].endswith(".json"):
                rater, ratings, own = _load(storage.join(base, str(row["path"])))
                said.append((rater, ratings))
                systems |= own
    if not said:
        return None
    return {
        "raters": [{"name": rater, "items": len(ratings)} for rater, ratings in said],
        "items": len(systems),
        "aspects": {aspect: _aspect(aspect, [ratings for _, ratings in said], systems) for aspect in ASPECTS},
    }


def _aspect(aspect: str, said: Sequence[Ratings], systems: Mapping[str, str]) -> dict[str, Any]:
    figures = {}
    for system in sorted(set(systems.values())):
        stats = [
            (float(ratings[item][aspect]), 1.0, item)
            for ratings in said
            for item in ratings
            if systems.get(item) == system and aspect in ratings[item]
        ]
        if stats:
            sums = np.asarray([one[:2] for one in stats])
            figure, _ = intervals.figure(sums, ratio, [one[2] for one in stats], f"{aspect} {system}")
            figures[system] = {
                "value": round(figure.value, 4),
                "low": round(figure.low, 4) if np.isfinite(figure.low) else None,
                "high": round(figure.high, 4) if np.isfinite(figure.high) else None,
                "ratings": len(stats),
            }
    return {"says": ASPECTS[aspect], "systems": figures, "alpha": alpha(aspect, said)}


def alpha(aspect: str, said: Sequence[Ratings]) -> float | None:
    """Krippendorff's ordinal alpha of the raters (Krippendorff 2011); None where there is nothing to compare.

    1 is full agreement, 0 what chance would give.
    """
    import krippendorff

    items = sorted({item for ratings in said for item in ratings if aspect in ratings[item]})
    table = np.asarray([[float(ratings.get(item, {}).get(aspect, np.nan)) for item in items] for ratings in said])
    if len(said) < 2 or not items or not np.any(np.sum(np.isfinite(table), axis=0) > 1):
        return None
    pairable = table[:, np.sum(np.isfinite(table), axis=0) > 1]
    if len(np.unique(pairable[np.isfinite(pairable)])) < 2:
        return None  # all said the same: there is no disagreement that chance could explain
    return round(float(krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")), 4)


def _load(path: str) -> tuple[str, Ratings, dict[str, str]]:
    try:
        said = storage.read_json(path)
        if said["format"] != _FORMAT:
            raise ValueError(f"format {said['format']}")
        ratings = {
            str(row["item"]): checked({name: value for name, value in row.items() if name in ASPECTS})
            for row in said["ratings"]
        }
        return str(said["rater"]), ratings, {str(row["item"]): str(row["system"]) for row in said["ratings"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LLaSOError(f"{path} is not a rater's file ({error}); move it away, or put back its copy") from error
