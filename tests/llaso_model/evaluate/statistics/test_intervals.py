"""Intervals and tests hold what they promise: coverage by simulation, exact ends, p values that are uniform."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_model.evaluate.metrics import classes, error_rates
from llaso_model.evaluate.metrics.base import Array, ratio
from llaso_model.evaluate.statistics import intervals


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


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_all_right_is_not_surely_all_right(rows: int) -> None:
    """Clopper and Pearson for n of n: the lower end is 0.025^(1/n)."""
    figure, _ = intervals.figure(np.ones((rows, 2)), ratio, limits=(0, 1))
    assert (figure.low, figure.high) == (pytest.approx(0.025 ** (1 / rows)), 1.0)
    wrong, _ = intervals.figure(np.stack([np.zeros(rows), np.ones(rows)], axis=1), ratio, limits=(0, 1))
    assert (wrong.low, wrong.high) == (0.0, pytest.approx(1 - 0.025 ** (1 / rows)))


def test_scores_that_are_all_alike_are_no_share() -> None:
    """Of twenty scores from 1 to 5: all the worst bound the mean from above, all in the middle say nothing."""

    def alike(score: float, limits: tuple[float, float] | None) -> intervals.Figure:
        return intervals.figure(np.stack([np.full(20, score), np.ones(20)], axis=1), ratio, limits=limits)[0]

    worst, middle, best = (alike(score, (1, 5)) for score in (1.0, 3.0, 5.0))
    assert (worst.low, worst.high) == (1.0, pytest.approx(1 + 4 * (1 - 0.025**0.05)))
    assert (best.low, best.high) == (pytest.approx(5 - 4 * (1 - 0.025**0.05)), 5.0)
    assert np.isnan([middle.low, middle.high, alike(1.0, None).low]).all()


@pytest.mark.parametrize(("clusters", "few"), [(2, True), (9, True), (10, False), (40, False)])
def test_below_ten_clusters_the_interval_is_over_rows_and_says_so(clusters: int, few: bool) -> None:
    stats = np.asarray([[float(i % 3 > 0), 1.0] for i in range(120)])
    figure, _ = intervals.figure(stats, ratio, [i % clusters for i in range(120)])
    alone, _ = intervals.figure(stats, ratio)
    assert (figure.clusters, figure.few_clusters) == (clusters, few)
    assert ((figure.low, figure.high) == (alone.low, alone.high)) == few


def test_one_figure_alone_keeps_its_interval_and_sure_ones_do_not_hide_unsure_ones() -> None:
    figure, _ = intervals.figure(np.asarray([[float(i % 3 == 0), 1.0] for i in range(90)]), ratio)
    assert intervals.combine_figures([(figure, 1.0)]) == pytest.approx((figure.value, figure.low, figure.high))
    single, _ = intervals.figure(np.ones((1, 2)), ratio, limits=(0, 1))
    value, low, high = intervals.combine_figures([(single, 0.5), (single, 0.5)])
    assert (value, high) == (1.0, 1.0) and 0.025 < low < 0.5
    none, _ = intervals.figure(np.ones((20, 2)), ratio)
    assert np.isnan(intervals.combine_figures([(figure, 0.5), (none, 0.5)])[1])


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
    assert randomised(same, same) == 1.0
    assert randomised(same, worse) < 0.001


def randomised(first: Array, second: Array, comparisons: int = 1, seed: int = 0) -> float:
    return intervals.randomisation_p([intervals.Paired("set", first, second, ratio)], seed, comparisons)


def test_of_all_right_and_all_wrong_p_is_small_enough_for_any_number_of_comparisons() -> None:
    right = np.ones((60, 2))
    wrong = np.stack([np.zeros(60), np.ones(60)], axis=1)
    for systems in (2, 12, 30):
        comparisons = systems * (systems - 1) // 2
        assert intervals.holm([randomised(right, wrong, comparisons)] * comparisons)[0] < 0.05


def test_a_task_is_tested_over_all_its_sets() -> None:
    """Two sets that say little each say more together, and opposite differences cancel."""
    rng = np.random.default_rng(3)
    parts = []
    for name in ("a", "b"):
        first = np.stack([(rng.random(50) < 0.7).astype(float), np.ones(50)], axis=1)
        second = np.stack([(rng.random(50) < 0.5).astype(float), np.ones(50)], axis=1)
        parts.append(intervals.Paired(name, first, second, ratio, 0.5))
    alone = [intervals.randomisation_p([part]) for part in parts]
    assert intervals.randomisation_p(parts) < min(alone) < 0.2
    turned = intervals.Paired("b", parts[0].second, parts[0].first, ratio, 0.5)
    assert intervals.randomisation_p([parts[0], turned]) == 1.0


def test_p_values_are_uniform_where_nothing_differs() -> None:
    """Of 300 pairs of equal systems about 5 % are significant at 5 %."""
    rng = np.random.default_rng(1)
    found = []
    for trial in range(300):
        one, other = (np.stack([(rng.random(60) < 0.6).astype(float), np.ones(60)], axis=1) for _ in range(2))
        found.append(randomised(one, other, seed=trial))
    assert 0.01 <= np.mean(np.asarray(found) <= 0.05) <= 0.09


def false_alarms(groups: int, trials: int, rng: np.random.Generator) -> float:
    """How often groups of 25 rows that do not differ are said to."""
    labels = list(np.arange(groups).repeat(25))
    found = [
        intervals.gap_p(
            np.stack([(rng.random(len(labels)) < 0.7).astype(float), np.ones(len(labels))], axis=1),
            labels,
            ratio,
            seed=trial,
        )
        for trial in range(trials)
    ]
    return float(np.mean(np.asarray(found) < 0.05))


def test_a_gap_between_equal_groups_is_rarely_called_one_and_a_real_one_is() -> None:
    assert 0.01 <= false_alarms(8, 200, np.random.default_rng(8)) <= 0.09
    apart = np.stack([np.arange(100) % 4 < np.arange(100).repeat(1) // 50 * 3, np.ones(100)], axis=1).astype(float)
    assert intervals.gap_p(apart, list(np.arange(100) // 50), ratio) < 0.001
    assert np.isnan(intervals.gap_p(apart, ["one"] * 100, ratio))


@pytest.mark.slow
@pytest.mark.parametrize("groups", [2, 4, 8, 12])
def test_false_alarms_of_the_gap(groups: int) -> None:
    """3 to 7 % of 1,000 sets of equal groups, however many groups there are."""
    share = false_alarms(groups, 1000, np.random.default_rng(groups))
    assert 0.03 <= share <= 0.07, share


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "accuracy, 100 rows",
        "accuracy, 10 speakers",
        "accuracy, 20 speakers",
        "WER, 40 speakers",
        "MAE, 200 rows",
        "macro F1, 150 rows",
    ],
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
    elif case.endswith("speakers") and case.startswith("accuracy"):
        speakers = int(case.split()[1])
        rates = rng.beta(6, 4, speakers).repeat(10)
        right = (rng.random(10 * speakers) < rates).astype(float)
        stats, value, truth = np.stack([right, np.ones(len(right))], axis=1), ratio, 0.6
        clusters = list(np.arange(speakers).repeat(10))
    elif case == "WER, 40 speakers":
        rates = rng.beta(2, 18, 40).repeat(8)
        length = rng.integers(5, 40, 320).astype(float)
        wrong = rng.binomial(length.astype(int), rates).astype(float)
        stats = np.stack([wrong, np.zeros(320), np.zeros(320), length], axis=1)
        value, truth, clusters = error_rates.WER.value, 0.1, list(np.arange(40).repeat(8))
    elif case == "MAE, 200 rows":
        stats, value, truth = np.stack([rng.exponential(8, 200), np.ones(200)], axis=1), ratio, 8.0
    else:
        wanted = rng.integers(0, 3, 150)
        given_ = np.where(rng.random(150) < 0.8, wanted, rng.integers(0, 3, 150))
        stats, value = classes.class_stats(wanted.tolist(), given_.tolist(), 3), classes.MACRO_F1.value
        truth = 0.8 + 0.2 / 3
    sums = intervals.sum_by_cluster(stats, clusters)
    low, high = intervals.interval(intervals.replicates(sums, value, "simulated", trial, 600), len(sums))
    return low <= truth <= high


@pytest.mark.slow
def test_coverage_of_a_task_of_three_sets() -> None:
    """The combined interval of sets of unlike sizes, one of them nearly always all right, holds the truth as often."""
    trials, truths, sizes = 2000, (0.7, 0.4, 0.98), (100, 60, 25)
    rng = np.random.default_rng(5)
    held = 0
    for trial in range(trials):
        parts = []
        for number, (truth, size) in enumerate(zip(truths, sizes, strict=True)):
            stats = np.stack([(rng.random(size) < truth).astype(float), np.ones(size)], axis=1)
            figure, _ = intervals.figure(stats, ratio, name=str(number), seed=trial, limits=(0, 1))
            parts.append((figure, size / sum(sizes)))
        _, low, high = intervals.combine_figures(parts)
        held += low <= sum(truth * size for truth, size in zip(truths, sizes, strict=True)) / sum(sizes) <= high
    assert 0.93 <= held / trials <= 0.975, held / trials
