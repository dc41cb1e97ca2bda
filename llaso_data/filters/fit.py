"""Thresholds fitted to pairs of which it is known what is wrong with them.

From no thresholds at all the fit takes one step after the other: of all thresholds and all stricter places for them the
step that catches most for its false alarms. It ends where the next one would cost more false alarms than are allowed,
or catches hardly anything.

What counts as a false alarm is not only what was seen. A threshold can be put right beside the most extreme of 60 right
pairs at no cost, and the next 60 then hold one beyond it. So each threshold costs what the tail of the right pairs'
scores makes of it among others (:func:`expected_alarms`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from llaso_data.filters.rules import Columns, Rule
from llaso_data.filters.tiers import rules
from llaso_data.recipe import Judge

Mask = npt.NDArray[np.bool_]

PLACES: dict[str, npt.NDArray[np.float64]] = {
    "confidence.avg_logprob_min": np.arange(-3.0, -0.39, 0.1),
    "confidence.given_avg_logprob_min": np.arange(-3.0, -0.69, 0.1),
    "confidence.border_db_max": np.arange(-60.0, 31.0, 5.0),
    "consistency.llr_min": np.arange(-20.0, 0.01, 0.5),
    "consistency.packed_llr_min": np.arange(-20.0, 0.01, 0.5),
    "consistency.min_word_logprob_min": np.arange(-16.0, -2.9, 0.5),
    "consistency.packed_min_word_logprob_min": np.arange(-16.0, -2.9, 0.5),
    "consistency.eot_logprob_min": np.arange(-16.0, -0.9, 0.5),
    "consistency.packed_eot_logprob_min": np.arange(-16.0, -0.9, 0.5),
    "consistency.cer_max": np.arange(0.1, 1.55, 0.05),
    "consistency.surplus_max": np.arange(0.2, 0.96, 0.05),
    "consistency.lm_delta_min": np.arange(-6.0, 0.01, 0.1),
}
"""The thresholds that are fitted, and where they may stand."""
LANGUAGE_MODEL_KEY = "consistency.lm_delta_min"
"""It needs a language model, and is left out where none is named."""

OFF = {key: 1000.0 if key.endswith("_max") else -1000.0 for key in PLACES}
"""Where each threshold rejects nothing."""
_TAIL_SHARE, _TAIL_LEAST = 0.1, 10  # of the right pairs' scores, the most extreme, of which the tail is made
_LEAST_GAIN = 2.0  # of a step: points of recall, averaged over the faults, for each of false alarms; chance has 1


def rejected(found: Columns, chosen: Sequence[Rule]) -> Mask:
    """The rows (rows,) that any of the rules rejects."""
    mask = np.zeros(len(next(iter(found.values()))), bool)
    for rule in chosen:
        mask |= rule.violations(found)[0]
    return mask


def with_thresholds(section: Judge, values: Mapping[str, float | None]) -> Judge:
    """The section with these thresholds, named as in :data:`PLACES`."""
    for key, value in values.items():
        tier, name = key.split(".")
        part = getattr(section, tier).model_copy(update={name: value})
        section = section.model_copy(update={tier: part})
    return section


def is_stricter(key: str, place: float, other: float) -> bool:
    """Whether a place of a threshold rejects what another one does, and more."""
    return place < other if key.endswith("_max") else place > other


def fit(
    section: Judge,
    found: Columns,
    faults: Sequence[Mask],
    clean: Sequence[Mask],
    allowed: float,
    keys: Sequence[str] = tuple(PLACES),
    strictest: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Fit thresholds.

    Args:
        section: What is not fitted is taken from here.
        found: What the rules look at, by name (rows,).
        faults: The pairs of each fault, (rows,) each. What is caught is averaged over them.
        clean: The right pairs of each kind, likewise. None may lose more than is allowed.
        allowed: The share of right pairs that may be rejected, 0-1.
        keys: The thresholds that are fitted, of :data:`PLACES`.
        strictest: The strictest places that some of them may have.

    Returns:
        A place for each of the keys; that of :data:`OFF` for one that is not needed.
    """
    off = with_thresholds(section, {key: OFF[key] for key in keys})
    unfitted = rules(off)
    now = rejected(found, unfitted)
    chosen = {key: OFF[key] for key in keys}
    faults = [rows for rows in faults if rows.any()]
    clean = [rows for rows in clean if rows.any()]
    bounds = strictest or {}
    moves = {key: _moves(off, found, clean, key, bounds.get(key, -OFF[key]), unfitted) for key in keys}
    unseen = {key: np.zeros(len(clean)) for key in keys}  # of the places that were chosen

    def caught(mask: Mask) -> float:
        return float(np.mean([mask[rows].mean() for rows in faults])) if faults else 0.0

    def alarms(mask: Mask) -> npt.NDArray[np.float64]:
        return np.array([mask[rows].mean() for rows in clean])

    limits = np.maximum(allowed, alarms(now))
    while True:
        before, alarms_before = caught(now), alarms(now) + sum(unseen.values())
        best = (_LEAST_GAIN, "", 0.0)
        for key, places in moves.items():
            others = sum(unseen.values()) - unseen[key]
            for value, (mask, beyond) in places.items():
                both = now | mask
                costs = alarms(both) + others + beyond
                if (costs > limits).any() or not (both != now).any():
                    continue
                cost = float((costs - alarms_before).mean()) if len(clean) else 0.0
                gain = (caught(both) - before) / (max(cost, 0.0) + 1e-3)
                if gain > best[0] + 1e-9:
                    best = (gain, key, value)
        _, key, value = best
        if not key:
            return chosen
        chosen[key] = value
        mask, unseen[key] = moves[key][value]
        now = now | mask


def expected_alarms(
    section: Judge, found: Columns, clean: Sequence[Mask], values: Mapping[str, float], fitted: Collection[str]
) -> npt.NDArray[np.float64]:
    """The share of right pairs that thresholds reject among pairs like these, those that were not seen included.

    That is the share of these, and for each threshold that was fitted to them what the tail of its scores adds: beyond
    the most extreme tenth it falls as an exponential whose mean is that of the tenth's excesses. Pickands, "Statistical
    inference using extreme order statistics", Annals of Statistics 3 (1975), has the method and its limits.

    Args:
        section: What ``values`` does not name is taken from here.
        found: What the rules look at, by name (rows,).
        clean: The right pairs of each kind, (rows,) each.
        values: Thresholds by key.
        fitted: The keys of those that were fitted to these pairs.

    Returns:
        The share of each kind that has any pairs, 0-1.
    """
    clean = [rows for rows in clean if rows.any()]
    mask = rejected(found, rules(with_thresholds(section, values)))
    shares = np.array([mask[rows].mean() for rows in clean])
    off = rules(with_thresholds(section, {key: OFF[key] for key in values}))
    for key in fitted:
        placed = with_thresholds(section, {**{other: OFF[other] for other in values}, key: values[key]})
        shares = shares + _beyond([rule for rule in rules(placed) if rule not in off], found, clean)
    within: npt.NDArray[np.float64] = np.minimum(shares, 1.0)
    return within


def _moves(
    off: Judge, found: Columns, clean: Sequence[Mask], key: str, strictest: float, unfitted: Sequence[Rule]
) -> dict[float, tuple[Mask, npt.NDArray[np.float64]]]:
    """For each place of a threshold what it rejects by itself, and what it adds among pairs that were not seen."""
    at_place = {}
    for place in PLACES[key].tolist():
        value = round(place, 4)
        if is_stricter(key, value, strictest):
            continue
        added = [rule for rule in rules(with_thresholds(off, {key: value})) if rule not in unfitted]
        at_place[value] = rejected(found, added), _beyond(added, found, clean)
    return at_place


def _beyond(chosen: Sequence[Rule], found: Columns, clean: Sequence[Mask]) -> npt.NDArray[np.float64]:
    """The share of each kind that rules are expected to reject, less what they do reject; 0 where that is more."""
    more = np.zeros(len(clean))
    for rule in chosen:
        mask, values = rule.violations(found)
        applies = np.isfinite(values) & rule.looks_at(found)
        sign = -1.0 if rule.side == "below" else 1.0
        for kind, rows in enumerate(clean):
            tail = _tail(sign * values[rows & applies], sign * rule.threshold)
            more[kind] += max(0.0, tail * (rows & applies).sum() / rows.sum() - mask[rows].mean())
    return more


def _tail(values: npt.NDArray[np.float64], place: float) -> float:
    """The probability that another value lies above a place."""
    count = len(values)
    if count < 2 * _TAIL_LEAST:
        return float((values > place).sum() + 1) / (count + 1) if count else 0.0
    ordered = np.sort(values)
    extreme = max(_TAIL_LEAST, round(_TAIL_SHARE * count))
    start = ordered[-extreme - 1]
    excess = float((ordered[-extreme:] - start).mean())
    if place <= start or excess <= 0.0:
        return float((values > place).mean())
    return extreme / count * float(np.exp(-(place - start) / excess))
