"""How many samples each task gets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import all_tasks
from llaso_data.pipeline.instruct.mix import allot, filled, groups_of

NAMES = ("asr", "command", "summary", "gender", "accent")


def counts(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_natural_takes_all_that_there_is() -> None:
    assert allot(counts(5, 0, 7), None, None).tolist() == [5, 0, 7]


def test_natural_with_a_total_keeps_the_proportions() -> None:
    assert allot(counts(600, 300, 100), None, 100).tolist() == [60, 30, 10]


def test_balanced_gives_each_task_as_many_as_the_scarcest_has() -> None:
    groups = groups_of("balanced", NAMES, all_tasks())
    assert allot(counts(50, 20, 30, 0, 90), groups, None).tolist() == [20, 20, 20, 0, 20]


def test_balanced_with_a_total_fills_up_from_those_that_have_more() -> None:
    groups = groups_of("balanced", NAMES, all_tasks())
    assert allot(counts(50, 5, 30, 0, 90), groups, 95).tolist() == [30, 5, 30, 0, 30]


def test_weights_name_tasks_and_what_tasks_teach() -> None:
    groups = groups_of({"understanding": 350, "paralinguistic": 300, "asr": 350}, NAMES, all_tasks())
    assert groups == [(350.0, [1]), (300.0, [3, 4]), (350.0, [0])]
    assert allot(counts(1000, 1000, 1000, 1000, 1000), groups, 1000).tolist() == [350, 350, 0, 150, 150]
    assert allot(counts(700, 1000, 1000, 200, 1000), groups, None).tolist() == [700, 700, 0, 200, 400]


def test_a_name_that_is_no_task_is_refused_with_the_choices() -> None:
    with pytest.raises(LLaSOError, match="'singing' is no task and no group of tasks; there are cross_modal_reasoning"):
        groups_of({"singing": 1.0}, NAMES, all_tasks())
    with pytest.raises(LLaSOError, match="weights are numbers of at least 0"):
        groups_of({"asr": -1.0}, NAMES, all_tasks())


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.floats(0.01, 100)), min_size=1, max_size=12),
    st.integers(0, 5000),
)
def test_shares_sum_to_the_total_and_stay_within_what_there_is(parts: list[tuple[int, float]], total: int) -> None:
    capacities = np.array([capacity for capacity, _ in parts], np.int64)
    shares = filled(capacities, np.array([weight for _, weight in parts]), total)
    assert shares.sum() == min(total, capacities.sum())
    assert (shares <= capacities).all()
    assert (shares >= 0).all()
