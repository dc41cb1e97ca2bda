"""Fitted thresholds: they keep to the share among pairs that were not seen, and catch what they can within it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from llaso_data.filters.fit import OFF, PLACES, _tail, expected_alarms, fit, is_stricter, rejected, with_thresholds
from llaso_data.filters.rules import FLAGS
from llaso_data.filters.tiers import rules
from llaso_data.recipe import Judge

WORD, END = "consistency.min_word_logprob_min", "consistency.eot_logprob_min"
NUMBERS = tuple(sorted({name for rule in rules(with_thresholds(Judge(), OFF)) for name in rule.needs()} - FLAGS))


def pairs(word: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.generic]]:
    """Solo clips with these two scores and no other."""
    found: dict[str, npt.NDArray[np.generic]] = {name: np.full(len(word), np.nan) for name in NUMBERS}
    found |= {flag: np.zeros(len(word), bool) for flag in FLAGS}
    return {**found, "duration_s": np.full(len(word), 3.0), "min_word_logprob": word, "eot_logprob": end}


def test_what_was_not_seen_counts() -> None:
    """The most extreme of 60 right pairs is a poor limit: of many draws nearly all keep to the share among others."""
    rng = np.random.default_rng(0)
    right_rates, seen_rates, recall = [], [], []
    fresh = pairs(-rng.exponential(1.0, 10_000), -rng.exponential(0.5, 10_000))
    faults = pairs(-rng.exponential(1.0, 2_000) - 4.0, -rng.exponential(0.5, 2_000) - 3.0)
    for _ in range(20):
        word = np.concatenate([-rng.exponential(1.0, 60), -rng.exponential(1.0, 60) - 4.0])
        end = np.concatenate([-rng.exponential(0.5, 60), -rng.exponential(0.5, 60) - 3.0])
        clean = np.arange(120) < 60
        chosen = fit(Judge(), pairs(word, end), [~clean], [clean], 0.03, [WORD, END])
        placed = rules(with_thresholds(with_thresholds(Judge(), OFF), chosen))
        seen_rates.append(rejected(pairs(word, end), placed)[clean].mean())
        right_rates.append(rejected(fresh, placed).mean())
        recall.append(rejected(faults, placed).mean())
    assert max(seen_rates) <= 0.03
    assert np.mean(right_rates) <= 0.03 and np.mean(np.array(right_rates) > 0.05) <= 0.2
    assert np.mean(recall) > 0.9


def test_expected_alarms_are_those_of_fresh_pairs() -> None:
    rng = np.random.default_rng(1)
    fresh = pairs(-rng.exponential(1.0, 50_000), np.zeros(50_000))
    values = {WORD: -6.0, END: OFF[END]}
    truth = rejected(fresh, rules(with_thresholds(with_thresholds(Judge(), OFF), values))).mean()
    every = np.ones(200, bool)
    estimates = [
        expected_alarms(
            with_thresholds(Judge(), OFF), pairs(-rng.exponential(1.0, 200), np.zeros(200)), [every], values, [WORD]
        )[0]
        for _ in range(50)
    ]
    assert np.mean(estimates) == pytest.approx(truth, rel=0.8) and min(estimates) > 0.0


def test_the_tail_of_few_values_and_of_equal_ones() -> None:
    assert _tail(np.zeros(0), 1.0) == 0.0
    assert _tail(np.arange(9.0), 100.0) == pytest.approx(0.1)  # nine values say no more than that
    assert _tail(np.zeros(100), 0.5) == 0.0
    values = np.random.default_rng(2).exponential(1.0, 5_000)
    for place in (0.5, 2.0, 4.0, 8.0):
        assert _tail(values, place) == pytest.approx(np.exp(-place), rel=0.4)
    assert _tail(values, 4.0) > _tail(values, 5.0) > 0.0


def test_no_place_is_stricter_than_the_strictest() -> None:
    rng = np.random.default_rng(3)
    word = np.concatenate([-rng.random(100), -rng.random(100) - 4.0])
    found, clean = pairs(word, np.zeros(200)), np.arange(200) < 100
    free = fit(Judge(), found, [~clean], [clean], 0.03, [WORD])
    bound = fit(Judge(), found, [~clean], [clean], 0.03, [WORD], {WORD: -4.5})
    assert free[WORD] > -4.5 >= bound[WORD] > OFF[WORD]
    assert is_stricter(WORD, -4.0, -5.0) and not is_stricter(WORD, -5.0, -5.0)
    assert is_stricter("consistency.cer_max", 0.1, 0.2) and all(key in OFF for key in PLACES)
