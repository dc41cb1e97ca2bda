"""The monotone path: the compiled Viterbi is the best there is, and the reference's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llaso_data.align.dtw import path, path_score


def brute_force(score_TS: NDArray[np.float32]) -> float:
    """The best score over all ways to begin the tokens."""
    tokens, frames = score_TS.shape
    return max(
        path_score(score_TS, np.array([0, *cuts, frames]))
        for cuts in itertools.combinations(range(1, frames), tokens - 1)
    )


def random_score(seed: int, most_tokens: int = 30, most_frames: int = 90) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    tokens = int(rng.integers(1, most_tokens))
    return rng.normal(size=(tokens, int(rng.integers(tokens, most_frames)))).astype(np.float32)


def assert_equals_reference(seed: int) -> None:
    score = random_score(seed)
    ours, theirs = path(score), path(score, "dtw-python")
    assert path_score(score, ours) == pytest.approx(path_score(score, theirs), abs=1e-3)
    assert np.array_equal(ours, theirs)  # of real numbers no two paths are equally good


@pytest.mark.parametrize("block", range(4))
def test_equals_dtw_python(block: int) -> None:
    for seed in range(50 * block, 50 * block + 50):
        assert_equals_reference(seed)


@pytest.mark.slow
def test_equals_dtw_python_on_a_thousand() -> None:
    for seed in range(1_000, 2_000):
        assert_equals_reference(seed)


@given(st.integers(0, 2**32 - 1))
def test_nothing_beats_it_and_every_token_has_a_frame(seed: int) -> None:
    score = random_score(seed, most_tokens=5, most_frames=9)
    starts = path(score)
    assert starts[0] == 0 and starts[-1] == score.shape[1] and len(starts) == len(score) + 1
    assert (np.diff(starts) >= 1).all()
    assert path_score(score, starts) == pytest.approx(brute_force(score), abs=1e-4)


def test_follows_a_clear_diagonal() -> None:
    score = np.zeros((3, 10), dtype=np.float32)
    score[0, :4], score[1, 4:5], score[2, 5:] = 1.0, 1.0, 1.0
    assert path(score).tolist() == [0, 4, 5, 10]


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
    assert path(score, "builtin" if method == "builtin" else "dtw-python").tolist() == starts


def test_the_same_on_a_tie_every_time() -> None:
    flat = np.zeros((3, 7), dtype=np.float32)
    assert path(flat).tolist() == path(flat).tolist()
    assert path(flat)[-1] == 7


@pytest.mark.parametrize(("tokens", "frames"), [(3, 2), (0, 4), (1, 0)])
def test_fewer_frames_than_tokens_is_an_error(tokens: int, frames: int) -> None:
    with pytest.raises(ValueError, match=f"{tokens} tokens cannot share {frames} frames"):
        path(np.zeros((tokens, frames), dtype=np.float32))
