"""Thresholds fitted to pairs of which it is known what is wrong with them.

From no thresholds at all the fit takes one step after the other: of all thresholds and all stricter places for them the
step that catches most for its false alarms. It ends where the next one would cost more false alarms than are allowed,
or catches hardly anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from llaso_data.filters.rules import Columns, Rule
from llaso_data.filters.tiers import rules
from llaso_data.recipe import Judge

Mask = npt.NDArray[np.bool_]

PLACES: dict[str, npt.NDArray[np.float64]] = {
    "confidence.given_avg_logprob_min": np.arange(-3.0, -0.69, 0.1),
    "confidence.border_db_max": np.arange(-60.0, -9.0, 5.0),
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


def fit(
    section: Judge,
    found: Columns,
    faults: Sequence[Mask],
    clean: Sequence[Mask],
    allowed: float,
    keys: Sequence[str] = tuple(PLACES),
) -> dict[str, float]:
    """Fit thresholds.

    Args:
        section: What is not fitted is taken from here.
        found: What the rules look at, by name (rows,).
        faults: The pairs of each fault, (rows,) each. What is caught is averaged over them.
        clean: The right pairs of each kind, likewise. None may lose more than is allowed.
        allowed: The share of right pairs that may be rejected, 0-1.
        keys: The thresholds that are fitted, of :data:`PLACES`.

    Returns:
        A place for each of the keys; that of :data:`OFF` for one that is not needed.
    """
    off = with_thresholds(section, {key: OFF[key] for key in keys})
    unfitted = rules(off)
    now = rejected(found, unfitted)
    masks = {key: _moved(section=off, found=found, key=key, unfitted=unfitted) for key in keys}
    chosen = {key: OFF[key] for key in keys}
    faults = [rows for rows in faults if rows.any()]
    clean = [rows for rows in clean if rows.any()]

    def caught(mask: Mask) -> float:
        return float(np.mean([mask[rows].mean() for rows in faults])) if faults else 0.0

    def alarms(mask: Mask) -> npt.NDArray[np.float64]:
        return np.array([mask[rows].mean() for rows in clean])

    limits = np.maximum(allowed, alarms(now))
    while True:
        before, alarms_before = caught(now), alarms(now)
        best = (_LEAST_GAIN, "", 0.0)
        for key, places in masks.items():
            for value, mask in places.items():
                both = now | mask
                costs = alarms(both)
                if (costs > limits).any() or not (both != now).any():
                    continue
                cost = float((costs - alarms_before).mean()) if len(clean) else 0.0
                gain = (caught(both) - before) / (cost + 1e-3)
                if gain > best[0] + 1e-9:
                    best = (gain, key, value)
        _, key, value = best
        if not key:
            return chosen
        chosen[key] = value
        now = now | masks[key][value]


def _moved(section: Judge, found: Columns, key: str, unfitted: Sequence[Rule]) -> dict[float, Mask]:
    """What a threshold rejects by itself at each of its places."""
    at_place = {}
    for place in PLACES[key].tolist():
        value = round(place, 4)
        added = [rule for rule in rules(with_thresholds(section, {key: value})) if rule not in unfitted]
        at_place[value] = rejected(found, added)
    return at_place
