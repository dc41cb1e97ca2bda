"""Acceptance sampling: the plan, the bound and the agreement are what their definitions say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from llaso_data.filters import acceptance
from llaso_data.filters.acceptance import ANSWERS, GOOD, LIMIT, allowed, bound, counted, find, kappa

LARGE = 10**9


@pytest.mark.parametrize(("items", "most"), [(208, 5), (207, 4), (93, 1), (92, 0), (59, 0), (58, None)])
def test_the_plans_that_the_documents_name(items: int, most: int | None) -> None:
    assert allowed(LARGE, items) == most


@given(st.integers(1, 3000), st.integers(0, 3000))
def test_the_bound_is_where_so_few_defects_would_be_seen_one_time_in_twenty(items: int, defects: int) -> None:
    defects = min(defects, items - 1)
    upper = bound(LARGE, items, defects)
    assert math.isclose(binom.cdf(defects, items, upper), 0.05, rel_tol=1e-6)
    assert upper < bound(LARGE, items, defects + 1)


@given(st.integers(0, 2000))
def test_the_allowed_number_is_the_largest_that_passes(items: int) -> None:
    most = allowed(LARGE, items)
    if most is None:
        assert items < 59 and not find(LARGE, items, 0).passed
    else:
        assert find(LARGE, items, most).passed and not find(LARGE, items, most + 1).passed


@given(st.integers(1, 500), st.integers(0, 500))
def test_where_all_was_heard_the_rate_is_exact(items: int, defects: int) -> None:
    found = find(items, items, min(defects, items))
    assert found.census and found.upper == found.rate == min(defects, items) / items
    assert found.passed == (100 * found.defects < 5 * items)


@pytest.mark.parametrize("items", [59, 100, 150, 208, 400])
def test_a_set_with_five_in_a_hundred_bad_passes_at_most_one_time_in_twenty(items: int) -> None:
    """Exactly, for endless sets and for sets hardly larger than the sample."""
    most = allowed(LARGE, items)
    assert most is not None and binom.cdf(most, items, LIMIT) <= 0.05
    for population in (items + 1, items + 20, 2 * items, 10 * items, 1000 * items):
        bad = math.ceil(LIMIT * population)
        within = allowed(population, items)
        assert within is not None and hypergeom.cdf(within, population, bad, items) <= 0.05


def test_a_set_with_one_in_a_hundred_bad_passes_the_default_plan_98_times_in_a_hundred() -> None:
    assert 0.98 < binom.cdf(5, 208, 0.01) < 0.99


@given(st.lists(st.sampled_from(ANSWERS), max_size=4))
def test_one_doubt_makes_a_defect(answers: list[str]) -> None:
    found = counted(answers)
    assert found in answers if answers else found is None
    assert (found == GOOD) == (bool(answers) and set(answers) == {GOOD})


def test_kappa_is_cohens() -> None:
    # His formula on proportions, (p_o - p_e) / (1 - p_e): p_o = 35/50, p_e = 25/50 * 30/50 + 25/50 * 20/50.
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    assert kappa(pairs) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert kappa([(True, True), (False, False)]) == 1 and kappa([(True, False), (False, True)]) == -1
    assert kappa([]) is None and kappa([(True, True)] * 9) is None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_kappa_does_not_depend_on_who_is_first_and_is_one_only_where_all_agree(pairs: list[tuple[bool, bool]]) -> None:
    found = kappa(pairs)
    swapped = kappa([(b, a) for a, b in pairs])
    assert found == swapped
    if found is not None:
        assert -1 <= found <= 1 and (found == 1) == all(a == b for a, b in pairs)


def test_impossible_counts_are_refused() -> None:
    for population, items, defects in ((5, 6, 0), (5, 4, 5), (5, 4, -1)):
        with pytest.raises(ValueError):
            acceptance.bound(population, items, defects)
    assert bound(5, 0, 0) == bound(0, 0, 0) == bound(5, 3, 3) == 1 and not find(0, 0, 0).passed


def test_chance_agreement_has_no_kappa() -> None:
    random = np.random.default_rng(5)
    pairs = [(bool(a), bool(b)) for a, b in random.random((20_000, 2)) < 0.3]
    assert abs(kappa(pairs) or 1.0) < 0.03
