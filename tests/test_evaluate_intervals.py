"""Intervals and tests hold what they promise: coverage by simulation, exact ends, p values that are uniform."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_model.evaluate import intervals
from llaso_model.evaluate.metrics import classes, errors
from llaso_model.evaluate.metrics.base import ratio


def test_equal_seeds_give_equal_intervals_and_names_others() -> None:
    stats = np.asarray([[float(i % 3 == 0), 1.0] for i in range(90)])
    first, drawn = intervals.figure(stats, ratio, name="a", seed=3)
    again, redrawn = intervals.figure(stats, ratio, name="a", seed=3)
    _, other = intervals.figure(stats, ratio, name="b", seed=3)
    assert first == again and np.array_equal(drawn, redrawn) and not np.array_equal(drawn, other)
    assert first.low < first.value < first.high


def test_rows_of_a_speaker_are_resampled_together() -> None:
    """Ten speakers who are all right or all wrong: a hundred rows say no more than ten."""
    stats = np.asarray([[float(i // 10 < 5), 1.0] for i in range(100)])
    alone, _ = intervals.figure(stats, ratio)
    clustered, _ = intervals.figure(stats, ratio, [i // 10 for i in range(100)])
    assert clustered.clusters == 10
    assert clustered.high - clustered.low > 2.5 * (alone.high - alone.low)


def test_all_right_is_not_surely_all_right() -> None:
    """Clopper and Pearson for 100 of 100: the lower end is 0.025^(1/100)."""
    figure, _ = intervals.figure(np.ones((100, 2)), ratio)
    assert (figure.low, figure.high) == (pytest.approx(0.025**0.01), 1.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_between_the_p_values_and_bonferroni(p_values: list[float]) -> None:
    adjusted = intervals.holm(p_values)
    for before, after in zip(p_values, adjusted, strict=True):
        assert before <= after <= min(1.0, len(p_values) * before) or after == pytest.approx(before)


def test_the_randomisation_test_sees_a_difference_and_none() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random(200) < 0.7).astype(float)
    same = np.stack([right, np.ones(200)], axis=1)
    worse = np.stack([right * (rng.random(200) < 0.7), np.ones(200)], axis=1)
    assert intervals.permutation_p(same, same, ratio) == 1.0
    assert intervals.permutation_p(same, worse, ratio) < 0.001


def test_p_values_are_uniform_where_nothing_differs() -> None:
    """Of 300 pairs of equal systems about 5 % are significant at 5 %."""
    rng = np.random.default_rng(1)
    found = []
    for trial in range(300):
        one, other = (np.stack([(rng.random(60) < 0.6).astype(float), np.ones(60)], axis=1) for _ in range(2))
        found.append(intervals.permutation_p(one, other, ratio, seed=trial, count=400))
    assert 0.01 <= np.mean(np.asarray(found) <= 0.05) <= 0.09


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", ["accuracy, 100 rows", "accuracy, 20 speakers", "WER, 40 speakers", "MAE, 200 rows", "macro F1, 150 rows"]
)
def test_coverage_of_the_intervals(case: str) -> None:
    """95 % intervals hold the truth in 93 to 97 % of 2,000 simulated test sets (binomial error of that: ±1 %)."""
    trials = 2000
    rng = np.random.default_rng(sum(map(ord, case)))
    held = sum(_held(case, rng, trial) for trial in range(trials))
    assert 0.93 <= held / trials <= 0.97, held / trials


def _held(case: str, rng: np.random.Generator, trial: int) -> bool:
    clusters = None
    if case == "accuracy, 100 rows":
        stats, value, truth = np.stack([(rng.random(100) < 0.7).astype(float), np.ones(100)], axis=1), ratio, 0.7
    elif case == "accuracy, 20 speakers":
        rates = rng.beta(6, 4, 20).repeat(10)
        stats, value, truth = np.stack([(rng.random(200) < rates).astype(float), np.ones(200)], axis=1), ratio, 0.6
        clusters = list(np.arange(20).repeat(10))
    elif case == "WER, 40 speakers":
        rates = rng.beta(2, 18, 40).repeat(8)
        length = rng.integers(5, 40, 320).astype(float)
        wrong = rng.binomial(length.astype(int), rates).astype(float)
        stats = np.stack([wrong, np.zeros(320), np.zeros(320), length], axis=1)
        value, truth, clusters = errors.WER.value, 0.1, list(np.arange(40).repeat(8))
    elif case == "MAE, 200 rows":
        stats, value, truth = np.stack([rng.exponential(8, 200), np.ones(200)], axis=1), ratio, 8.0
    else:
        wanted = rng.integers(0, 3, 150)
        given_ = np.where(rng.random(150) < 0.8, wanted, rng.integers(0, 3, 150))
        stats, value = classes.class_stats(wanted.tolist(), given_.tolist(), 3), classes.MACRO_F1.value
        truth = 0.8 + 0.2 / 3
    sums = intervals.summed(stats, clusters)
    low, high = intervals.interval(intervals.replicates(sums, value, "simulated", trial, 600), len(sums))
    return low <= truth <= high
