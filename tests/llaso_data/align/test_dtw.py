"""The monotone path: the compiled Viterbi is the best there is, and the reference's; its mean lies between frames."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llaso_data.align.dtw import best_path, mean_path

Case = tuple[NDArray[np.float32], NDArray[np.bool_]]


def path_score(score_NS: NDArray[np.floating], starts: NDArray[np.int64]) -> float:
    """The summed score of a path that ``best_path`` gave."""
    return float(sum(score_NS[n, a:b].sum() for n, (a, b) in enumerate(pairwise(starts))))


def random_case(seed: int, most_states: int = 30, most_frames: int = 90) -> Case:
    """A random score, and which of its states are pauses: none in a third of the cases."""
    rng = np.random.default_rng(seed)
    states = int(rng.integers(1, most_states))
    pause = rng.random(states) < rng.choice([0.0, 0.3, 0.6])
    for n in range(1, states):
        pause[n] &= not pause[n - 1]  # never two side by side
    frames = int(rng.integers(max(1, (~pause).sum()), most_frames))
    return rng.normal(size=(states, frames)).astype(np.float32), pause


def all_paths(states: int, frames: int, pause: NDArray[np.bool_]) -> Iterator[list[int]]:
    """The starts of every allowed path."""

    def extend(starts: list[int]) -> Iterator[list[int]]:
        n = len(starts) - 1
        if n == states:
            if starts[-1] == frames:
                yield starts
            return
        for length in range(0 if pause[n] else 1, frames - starts[-1] + 1):
            yield from extend([*starts, starts[-1] + length])

    yield from extend([0])


def assert_equals_reference(seed: int) -> None:
    score, pause = random_case(seed)
    ours, theirs = best_path(score, pause), best_path(score, pause, "dtw-python")
    assert path_score(score, ours) == pytest.approx(path_score(score, theirs), abs=1e-3)
    assert np.array_equal(ours, theirs)  # of real numbers no two paths are equally good


@pytest.mark.parametrize("block", range(5))
def test_equals_dtw_python_on_a_thousand(block: int) -> None:
    for seed in range(200 * block, 200 * block + 200):
        assert_equals_reference(seed)


@given(st.integers(0, 2**32 - 1))
def test_nothing_beats_it_and_every_sound_has_a_frame(seed: int) -> None:
    score, pause = random_case(seed, most_states=6, most_frames=9)
    starts = best_path(score, pause)
    assert starts[0] == 0 and starts[-1] == score.shape[1] and len(starts) == len(score) + 1
    assert (np.diff(starts) >= np.where(pause, 0, 1)).all()
    best = max(path_score(score, np.array(one)) for one in all_paths(*score.shape, pause))
    assert path_score(score, starts) == pytest.approx(best, abs=1e-4)


@given(st.integers(0, 2**32 - 1))
def test_the_posterior_is_the_mean_over_all_paths(seed: int) -> None:
    score, pause = random_case(seed, most_states=6, most_frames=9)
    paths = np.array(list(all_paths(*score.shape, pause)))
    weights = np.exp([path_score(score, one) for one in paths])
    assert mean_path(score, pause) == pytest.approx((weights[:, None] * paths).sum(axis=0) / weights.sum(), abs=1e-4)


@given(st.integers(0, 2**32 - 1))
def test_the_posterior_ascends_within_its_bounds(seed: int) -> None:
    score, pause = random_case(seed)
    mean, frames = mean_path(score, pause), score.shape[1]
    assert (np.diff(mean) >= 0).all()
    # As many frames as the sounds before need are before a state, as many as those after need are after it.
    needed = np.concatenate([[0], np.cumsum(~pause)])
    assert (mean >= needed - 1e-9).all() and (mean <= frames - needed[-1] + needed + 1e-9).all()


@given(st.integers(0, 2**32 - 1))
def test_where_one_path_is_far_better_the_posterior_is_that_path(seed: int) -> None:
    score, pause = random_case(seed)
    starts = best_path(score, pause)
    clear = np.full(score.shape, -1e3)
    for n, (a, b) in enumerate(pairwise(starts)):
        clear[n, a:b] = 0.0
    assert np.abs(mean_path(clear, pause) - starts).max() < 1e-6


def test_follows_a_clear_diagonal() -> None:
    score = np.zeros((3, 10), dtype=np.float32)
    score[0, :4], score[1, 4:5], score[2, 5:] = 1.0, 1.0, 1.0
    assert best_path(score).tolist() == [0, 4, 5, 10]


@pytest.mark.parametrize("method", ["builtin", "dtw-python"])
def test_a_pause_takes_the_frames_that_are_its_own_and_none_where_there_are_none(method: str) -> None:
    score = np.full((5, 8), -1.0, dtype=np.float32)
    pause = np.array([True, False, True, False, True])
    score[1, :4], score[3, 4:] = 1.0, 1.0
    assert best_path(score, pause, method).tolist() == [0, 0, 4, 4, 8, 8]  # type: ignore[arg-type]
    score[:, 2:5], score[2, 2:5] = -1.0, 1.0
    assert best_path(score, pause, method).tolist() == [0, 0, 2, 5, 8, 8]  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["builtin", "dtw-python"])
@pytest.mark.parametrize(
    ("score", "starts"),
    [
        (np.ones((1, 1), dtype=np.float32), [0, 1]),
        (np.ones((1, 5), dtype=np.float32), [0, 5]),
        (np.eye(4, dtype=np.float32), [0, 1, 2, 3, 4]),
    ],
)
def test_where_only_one_path_exists(method: str, score: NDArray[np.float32], starts: list[int]) -> None:
    assert best_path(score, None, "builtin" if method == "builtin" else "dtw-python").tolist() == starts
    assert mean_path(score).tolist() == pytest.approx(starts)


def test_the_same_on_a_tie_every_time() -> None:
    flat = np.zeros((3, 7), dtype=np.float32)
    assert best_path(flat).tolist() == best_path(flat).tolist()
    assert best_path(flat)[-1] == 7


@pytest.mark.parametrize(("tokens", "frames"), [(3, 2), (0, 4), (1, 0)])
def test_fewer_frames_than_tokens_is_an_error(tokens: int, frames: int) -> None:
    for function in (best_path, mean_path):
        with pytest.raises(ValueError, match=f"{tokens} tokens cannot share {frames} frames"):
            function(np.zeros((tokens, frames), dtype=np.float32))


def test_two_pauses_side_by_side_are_an_error() -> None:
    with pytest.raises(ValueError, match="two pauses stand side by side"):
        best_path(np.zeros((3, 5), dtype=np.float32), np.array([False, True, True]))
