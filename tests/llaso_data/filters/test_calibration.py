"""Thresholds are fitted to a stated share of false alarms, on pairs that are not those that they are measured on."""

from __future__ import annotations

import numpy as np
import pytest

from llaso_data.filters.calibration import MIN_RIGHT, Rate, Scored, findings, fittable, fitted
from llaso_data.filters.fit import OFF, PLACES, with_thresholds
from llaso_data.filters.planting import CLEAN, FAULTS
from llaso_data.filters.rules import FLAGS
from llaso_data.filters.tiers import rules
from llaso_data.recipe import Judge

RNG = np.random.default_rng(3)


def scored(pairs: int, shift: float, given: bool = True, language: str = "en") -> Scored:
    """Pairs whose faults lower the likelihood ratio, and no other score."""
    fault = np.array([(CLEAN, *FAULTS)[i % (len(FAULTS) + 1)] for i in range(pairs)], object)
    names = {name for rule in rules(with_thresholds(Judge(), OFF)) for name in rule.needs()}
    found = {name: np.zeros(pairs, bool) if name in FLAGS else np.full(pairs, np.nan) for name in names}
    found["given"] = np.ones(pairs, bool)
    found["duration_s"] = np.full(pairs, 3.0)
    found["llr"] = np.where(fault == CLEAN, 0.0, shift) + RNG.normal(0, 1, pairs)
    return Scored(
        found,
        fault=fault,
        language=np.full(pairs, language, object),
        given=np.full(pairs, given),
        right=np.ones(pairs, bool),
        texts=[f"sentence {i}" for i in range(pairs)],
    )


def test_what_is_fitted_holds_on_the_half_that_was_not_seen() -> None:
    ones = scored(20_000, -8.0)
    keys = fittable(ones, has_language_model=False)
    assert "consistency.llr_min" in keys and not {"consistency.lm_delta_min", "consistency.cer_max"} & set(keys)
    for allowed in (0.01, 0.05):
        thresholds = fitted(Judge(), ones, allowed, keys)
        assert thresholds is not None
        (found,) = findings(with_thresholds(Judge(), thresholds), ones, ~ones.fitting)
        assert found.false_alarms.share <= allowed + 0.01
        assert all(rate.share > 0.95 for rate in found.recall.values())
        assert set(found.recall) == set(FAULTS)


def test_what_tells_nothing_is_off() -> None:
    ones = scored(5_000, 0.0)
    thresholds = fitted(Judge(), ones, 0.03, ["consistency.llr_min", "consistency.packed_llr_min"])
    assert thresholds == {"consistency.llr_min": None, "consistency.packed_llr_min": OFF["consistency.packed_llr_min"]}


def test_a_text_of_whisper_is_not_compared_with_itself() -> None:
    ones = scored(1_000, -8.0, given=False)
    assert not {"consistency.llr_min", "consistency.surplus_max"} & set(fittable(ones, has_language_model=True))
    (found,) = findings(Judge(), ones, np.ones(1_000, bool))
    assert found.texts == "asr" and "consistency.llr" not in found.alarms_by_rule


def test_few_right_pairs_limit_nothing() -> None:
    assert fitted(Judge(), scored(MIN_RIGHT, -8.0), 0.03, list(PLACES)) is None


def test_an_interval_holds_the_share() -> None:
    assert Rate(0, 0).interval == (0.0, 1.0)
    for rejected, pairs in ((0, 10), (5, 10), (10, 10), (95, 100)):
        low, high = Rate(rejected, pairs).interval
        assert 0.0 <= low <= rejected / pairs <= high <= 1.0
    # statsmodels' proportion_confint(5, 100, method="wilson")
    assert Rate(5, 100).interval == pytest.approx((0.02154, 0.11175), abs=1e-4)
