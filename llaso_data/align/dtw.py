"""The monotone path of states through frames: sounds take at least one frame each, pauses may take none.

``builtin`` is a compiled Viterbi. ``dtw-python`` (GPL-3, an extra, never bundled) is the reference that the tests
compare it with. Both maximise the summed score. :func:`mean_path` gives the mean over all paths, each weighted by the
exponential of its score: boundaries that may lie between frames.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from llaso_data.extras import needed_for

Method = Literal["builtin", "dtw-python"]
_Compiled = Callable[[NDArray[np.float64], NDArray[np.bool_]], NDArray[Any]]


def best_path(
    score_NS: NDArray[np.floating], pause_N: NDArray[np.bool_] | None = None, method: Method = "builtin"
) -> NDArray[np.int64]:
    """The monotone path of largest summed score.

    Args:
        score_NS: Score of every state in every frame, (states, frames).
        pause_N: Which states are pauses, (states,), never two side by side; None: none is. A pause may take no frame;
            every other state takes at least one.
        method: ``builtin`` or ``dtw-python``; both give the same path.

    Returns:
        The first frame of every state, then the number of frames: shape (states + 1,). State ``n`` takes the frames
        from element ``n`` up to, but not including, element ``n + 1``. On a tie the earlier frame begins the state.

    Raises:
        ValueError: There are fewer frames than states that need one, or two pauses side by side.
        LLaSOError: dtw-python is not installed.
    """
    pause_N = _checked(score_NS, pause_N)
    if method == "builtin":
        starts: NDArray[np.int64] = _compiled()[0](np.ascontiguousarray(score_NS, dtype=np.float64), pause_N)
        return starts
    return _dtw_python(np.asarray(score_NS, dtype=np.float64), pause_N)


def mean_path(score_NS: NDArray[np.floating], pause_N: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """The mean of all paths, each weighted by the exponential of its summed score.

    Computed by the forward-backward algorithm of hidden Markov models (Rabiner, "A Tutorial on Hidden Markov Models",
    1989, section III).

    Args:
        score_NS: As for :func:`best_path`.
        pause_N: Likewise.

    Returns:
        The mean first frame of every state, from 0 ascending, then the number of frames: shape (states + 1,), not
        whole numbers.

    Raises:
        ValueError: As for :func:`best_path`.
    """
    pause_N = _checked(score_NS, pause_N)
    frames_N = _compiled()[1](np.ascontiguousarray(score_NS, dtype=np.float64), pause_N)
    return np.concatenate([[0.0], np.cumsum(frames_N)])


def _checked(score_NS: NDArray[np.floating], pause_N: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    states, frames = score_NS.shape
    pause_N = np.zeros(states, dtype=np.bool_) if pause_N is None else np.asarray(pause_N, dtype=np.bool_)
    if (pause_N[1:] & pause_N[:-1]).any():
        raise ValueError("two pauses stand side by side; one says the same")
    if states == 0 or frames < max(1, int((~pause_N).sum())):
        raise ValueError(f"{int((~pause_N).sum())} tokens cannot share {frames} frames with at least one each")
    return pause_N


def _viterbi(score: NDArray[np.float64], pause: NDArray[np.bool_]) -> NDArray[np.int64]:
    """What :func:`best_path` returns."""
    states, frames = score.shape
    best = np.full(states, -np.inf)
    steps = np.zeros((frames, states), dtype=np.int8)  # how many states after that of the frame before
    best[0] = score[0, 0]
    if pause[0] and states > 1:
        best[1] = score[1, 0]
    for s in range(1, frames):
        # Downwards, so that best[n - 1] is still that of the frame before.
        for n in range(states - 1, -1, -1):
            most, step = best[n], 0
            if n > 0 and best[n - 1] > most:
                most, step = best[n - 1], 1
            if n > 1 and pause[n - 1] and best[n - 2] > most:
                most, step = best[n - 2], 2
            best[n] = most + score[n, s]
            steps[s, n] = step
    starts = np.zeros(states + 1, dtype=np.int64)
    starts[states] = frames
    n = states - 1
    if pause[n] and n > 0 and best[n - 1] > best[n]:
        starts[n] = frames
        n -= 1
    for s in range(frames - 1, 0, -1):
        for _ in range(steps[s, n]):
            starts[n] = s
            n -= 1
    return starts


def _occupancy(score: NDArray[np.float64], pause: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Expected number of frames of every state, over all paths."""
    states, frames = score.shape
    forward = np.full((frames, states), -np.inf)  # log-sum over all paths up to here
    backward = np.full((frames, states), -np.inf)  # log-sum over all paths from here
    forward[0, 0] = score[0, 0]
    if pause[0] and states > 1:
        forward[0, 1] = score[1, 0]
    for s in range(1, frames):
        for n in range(states):
            total = forward[s - 1, n]
            if n > 0:
                total = np.logaddexp(total, forward[s - 1, n - 1])
            if n > 1 and pause[n - 1]:
                total = np.logaddexp(total, forward[s - 1, n - 2])
            forward[s, n] = total + score[n, s]
    last = states - 1
    backward[frames - 1, last] = 0.0
    evidence = forward[frames - 1, last]
    if pause[last] and last > 0:
        backward[frames - 1, last - 1] = 0.0
        evidence = np.logaddexp(evidence, forward[frames - 1, last - 1])
    for s in range(frames - 2, -1, -1):
        for n in range(states):
            total = backward[s + 1, n] + score[n, s + 1]
            if n + 1 < states:
                total = np.logaddexp(total, backward[s + 1, n + 1] + score[n + 1, s + 1])
            if n + 2 < states and pause[n + 1]:
                total = np.logaddexp(total, backward[s + 1, n + 2] + score[n + 2, s + 1])
            backward[s, n] = total
    expected = np.zeros(states)
    for s in range(frames):
        posteriors = np.exp(forward[s] + backward[s] - evidence)
        expected += posteriors / posteriors.sum()
    return expected


@functools.cache
def _compiled() -> tuple[_Compiled, _Compiled]:
    import numba

    jit: Any = numba.njit(cache=True, nogil=True)
    return cast(_Compiled, jit(_viterbi)), cast(_Compiled, jit(_occupancy))


def _dtw_python(score: NDArray[np.float64], pause: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The same path by dtw-python, whose step patterns know no optional states: skipping one has a cost of its own.

    Every state has two columns: its own, and one for skipping it, which costs 0 for a pause and is prohibitive for a
    sound. A step from frame to frame stays, advances by one state, or advances by two through the skip column of the
    state between. Extra rows and columns at both ends let the first and the last pause be skipped.
    """
    with needed_for("observe.align.dtw"):
        import dtw
    states, frames = score.shape
    prohibitive = 1e6 + float(np.abs(score).sum())
    cost = np.full((frames + 2, 2 * states + 3), prohibitive)
    cost[0, 0], cost[-1, -1] = 0.0, 0.0
    cost[1:-1, 2:-1:2] = -score.T
    cost[:, 3:-1:2] = np.where(pause, 0.0, prohibitive)
    # Frames are the query, so that each takes exactly one step. Rows: pattern, frames and columns back, weight.
    stay = [[1, 1, 0, -1], [1, 0, 0, 1]]
    advance = [[2, 1, 2, -1], [2, 0, 0, 1]]
    skip = [[3, 1, 4, -1], [3, 0, 1, 1], [3, 0, 0, 1]]
    alignment = dtw.dtw(cost, step_pattern=dtw.StepPattern(np.array([*stay, *advance, *skip])))
    columns = np.asarray(alignment.index2)
    order = columns[columns % 2 == 0] // 2 - 1  # the state of every frame, and of the extra rows
    starts = np.searchsorted(order[1:-1], np.arange(states)).astype(np.int64)
    return np.append(starts, frames)
