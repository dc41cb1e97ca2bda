"""Ratings by people: the draw of answers, the log of ratings, and the agreement of raters.

A rater reads an answer without knowing the system, plays the sound where there is some, and gives marks of 1 to 5.
All raters get the same items in the same random order, so that agreement can be measured from the start. Ratings stand
in ``ratings/<rater>/ratings.json`` beside the scores, in a log as :mod:`llaso_data.report.worklog` keeps it: what was
rated once stays, whatever is shown later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np

from llaso_data.errors import LLaSOError
from llaso_data.extras import needed_for
from llaso_data.io import storage
from llaso_data.records import digest
from llaso_data.report import worklog
from llaso_data.report.worklog import Entry, WorkLog
from llaso_data.text.surrogates import has_lone_surrogate
from llaso_model.evaluate.datasets.fields import describe_json
from llaso_model.evaluate.kinds import Row
from llaso_model.evaluate.metrics.base import ratio
from llaso_model.evaluate.statistics import intervals

ASPECTS = {
    "accuracy": "Is what it says right?",
    "following": "Does it do what was asked, in the form that was asked for?",
    "naturalness": "Would a person put it like this?",
    "robustness": "Does it cope with what is hard here: noise, accent, an unclear question?",
}
LOWEST, HIGHEST = 1, 5
_FOLDER = "ratings"

Ratings = dict[str, dict[str, int]]
"""Aspect to 1 … 5, by item."""


def draw_items(rows: Sequence[Row], items: int, seed: int) -> list[Row]:
    """Draws the answers that are rated, over systems and sets in turn.

    Args:
        rows: Scored rows.
        items: How many are drawn.
        seed: Seed of the draw and of the order.

    Returns:
        The rows in an order that does not show their system or set. It depends on the rows and the seed alone, so every
        rater gets the same.
    """
    pools: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: _draw_key(row, seed)):
        pools.setdefault((row.prediction.set, row.prediction.system), []).append(row)
    drawn: list[Row] = []
    turn = 0
    order = sorted(pools, key=lambda key: digest("pool", seed, *key))
    while len(drawn) < min(items, len(rows)):
        for key in order:
            if turn < len(pools[key]) and len(drawn) < items:
                drawn.append(pools[key][turn])
        turn += 1
    return sorted(drawn, key=lambda row: digest("order", seed, item_id(row)))


def item_id(row: Row) -> str:
    """An id of a row that does not show its system."""
    prediction = row.prediction
    return digest("rated", prediction.system, prediction.set, prediction.id, prediction.answer, length=16)


def _draw_key(row: Row, seed: int) -> str:
    return digest("rate", seed, item_id(row))


def open_log(folder: str, rater: str) -> AbstractContextManager[WorkLog]:
    """Opens a rater's log, for :func:`record_rating`.

    Raises:
        LockedError: The rater's name is in use by another command.
        LLaSOError: The log is damaged, or the name cannot be one.
    """
    return worklog.open_log(storage.join(folder, _FOLDER), KIND, rater, {})


def record_rating(log: WorkLog, item: str, system: str, rating: Mapping[str, int]) -> None:
    """Appends a rating to a rater's log. It is on the disk when this returns.

    Args:
        log: The rater's log.
        item: Id of the item.
        system: The item's system.
        rating: Marks by aspect; empty: the item's earlier rating is withdrawn.
    """
    log.add([{"item": item, "system": system, "rating": dict(rating) or None, "at": worklog.now()}])


def read_ratings(folder: str, rater: str) -> Ratings:
    """The current ratings of a rater, also of items that are no longer shown. Raises LLaSOError for a damaged file."""
    return _current_ratings(all_raters(folder).get(worklog.clean_name(rater, KIND), []))[0]


def all_raters(folder: str) -> dict[str, list[Entry]]:
    """The logs of all raters, in the order of their names. Raises LLaSOError for a damaged file.

    ``ratings/<rater>.json``, which earlier versions wrote, counts as the beginning of a log. It is never changed.
    """
    base = storage.join(folder, _FOLDER)
    logs = worklog.read_all(base, KIND)
    for row in storage.listing(base):
        if "/" not in row["path"] and row["path"].endswith(".json"):
            rater, early = worklog.load(storage.join(base, row["path"]), _EARLY)
            logs[rater] = worklog.merge(early, logs.get(rater, []))
    return dict(sorted(logs.items()))


def _current_ratings(log: Sequence[Entry]) -> tuple[Ratings, dict[str, str]]:
    """(the last rating of each item, the system of each item). Withdrawn ratings are left out."""
    kept = [entry for entry in worklog.last_entries(log, "item") if entry["rating"] is not None]
    return {entry["item"]: entry["rating"] for entry in kept}, {entry["item"]: entry["system"] for entry in kept}


def check_rating(rating: Mapping[str, Any]) -> dict[str, int]:
    """The marks of a rating, by aspect. Raises LLaSOError for an unknown aspect or a mark that is none of 1 to 5."""
    checked = {}
    for aspect, value in rating.items():
        if aspect not in ASPECTS or type(value) is not int or not LOWEST <= value <= HIGHEST:
            raise LLaSOError(
                f"a rating is {LOWEST} to {HIGHEST} for one of {', '.join(ASPECTS)}; got {aspect}: {value}"
            )
        checked[aspect] = value
    return checked


def results(folders: Sequence[str]) -> dict[str, Any] | None:
    """Summarises all ratings.

    Args:
        folders: Score folders. A rater's name means one person in all of them, and of an item that was rated several
            times the last rating counts.

    Returns:
        Means by system and aspect with intervals over items, and Krippendorff's alpha; None where there are no ratings.

    Raises:
        LLaSOError: A file of ratings is damaged.
    """
    logs: dict[str, list[Entry]] = {}
    for folder in folders:
        for rater, log in all_raters(folder).items():
            logs[rater] = worklog.merge(logs.get(rater, []), log)
    by_rater: list[tuple[str, Ratings]] = []
    systems: dict[str, str] = {}
    for rater, log in sorted(logs.items()):
        ratings, systems_of_rater = _current_ratings(log)
        if ratings:
            by_rater.append((rater, ratings))
            systems |= systems_of_rater
    if not by_rater:
        return None
    return {
        "raters": [{"name": rater, "items": len(ratings)} for rater, ratings in by_rater],
        "items": len(systems),
        "aspects": {aspect: _aspect(aspect, [ratings for _, ratings in by_rater], systems) for aspect in ASPECTS},
    }


def _aspect(aspect: str, ratings_by_rater: Sequence[Ratings], systems: Mapping[str, str]) -> dict[str, Any]:
    figures = {}
    for system in sorted(set(systems.values())):
        stats = [
            (float(ratings[item][aspect]), 1.0, item)
            for ratings in ratings_by_rater
            for item in ratings
            if systems.get(item) == system and aspect in ratings[item]
        ]
        if stats:
            sums = np.asarray([row[:2] for row in stats])
            figure, _ = intervals.figure(sums, ratio, [row[2] for row in stats], f"{aspect} {system}")
            figures[system] = {
                "value": round(figure.value, 4),
                "low": round(figure.low, 4) if np.isfinite(figure.low) else None,
                "high": round(figure.high, 4) if np.isfinite(figure.high) else None,
                "ratings": len(stats),
            }
    return {"says": ASPECTS[aspect], "systems": figures, "alpha": krippendorff_alpha(aspect, ratings_by_rater)}


def krippendorff_alpha(aspect: str, ratings_by_rater: Sequence[Ratings]) -> float | None:
    """Krippendorff's ordinal alpha of the raters (Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011).

    Returns:
        1 where raters agree fully, 0 where they agree as by chance; None where no item has two ratings, or all ratings
        are equal.
    """
    with needed_for("the raters' agreement"):
        import krippendorff

    items = sorted({item for ratings in ratings_by_rater for item in ratings if aspect in ratings[item]})
    table = np.asarray(
        [[float(ratings.get(item, {}).get(aspect, np.nan)) for item in items] for ratings in ratings_by_rater]
    )
    if len(ratings_by_rater) < 2 or not items or not np.any(np.sum(np.isfinite(table), axis=0) > 1):
        return None
    pairable = table[:, np.sum(np.isfinite(table), axis=0) > 1]
    if len(np.unique(pairable[np.isfinite(pairable)])) < 2:
        return None  # all said the same: there is no disagreement that chance could explain
    return round(float(krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")), 4)


def _entry(entry: Entry) -> Entry:
    rating = entry["rating"]
    kept = None if rating is None else check_rating(rating)
    return {
        **{key: _text_field(entry, key) for key in ("item", "system")},
        "rating": kept,
        "at": _text_field(entry, "at"),
    }


def _text_field(entry: Entry, key: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or has_lone_surrogate(value):
        raise ValueError(f"{key} is {describe_json(value)}; it should be text")
    return value


def _early_entry(entry: Entry) -> Entry:
    rating = check_rating({name: value for name, value in entry.items() if name in ASPECTS})
    return _entry({**entry, "rating": rating, "at": ""})


KIND = worklog.WorkKind("llaso-ratings", 2, "rater", "ratings", "ratings", _entry)
_EARLY = replace(KIND, version=1, check=_early_entry)
