"""The monotone path of tokens through frames: every token takes at least one frame, every frame one token.

``builtin`` is a compiled Viterbi; ``dtw-python`` (GPL-3, an extra, never bundled) is the reference that the
tests hold it against. Both maximise the summed score.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from llaso_data.errors import LLaSOError

Method = Literal["builtin", "dtw-python"]


def path(score_TS: NDArray[np.float32], method: Method = "builtin") -> NDArray[np.int64]:
    """First frame of every token on the best path, and the number of frames as a last element: shape (T + 1,).

    ``score_TS`` holds tokens x frames; token ``t`` takes frames ``[out[t], out[t + 1])``.
    On a tie the earlier frame begins the token. Raises ValueError where there are fewer frames than tokens.
    """
    tokens, frames = score_TS.shape
    if tokens == 0 or frames < tokens:
        raise ValueError(f"{tokens} tokens cannot share {frames} frames with at least one each")
    if method == "builtin":
        return _compiled()(np.ascontiguousarray(score_TS, dtype=np.float64))
    return _dtw_python(score_TS)


def path_score(score_TS: NDArray[np.float32], starts: NDArray[np.int64]) -> float:
    """The summed score of a path that :func:`path` gave."""
    return float(sum(score_TS[t, a:b].sum() for t, (a, b) in enumerate(pairwise(starts))))


def _viterbi(score: NDArray[np.float64]) -> NDArray[np.int64]:
    tokens, frames = score.shape
    best = np.full(tokens, -np.inf)
    stepped = np.zeros((frames, tokens), dtype=np.bool_)
    best[0] = score[0, 0]
    for s in range(1, frames):
        # Downwards, so that best[t - 1] is still that of the frame before.
        for t in range(min(s, tokens - 1), -1, -1):
            step = best[t - 1] if t > 0 else -np.inf
            if step > best[t]:
                best[t] = step + score[t, s]
                stepped[s, t] = True
            else:
                best[t] = best[t] + score[t, s]
    starts = np.zeros(tokens + 1, dtype=np.int64)
    starts[tokens] = frames
    t = tokens - 1
    for s in range(frames - 1, 0, -1):
        if stepped[s, t]:
            starts[t] = s
            t -= 1
    return starts


@functools.cache
def _compiled() -> Callable[[NDArray[np.float64]], NDArray[np.int64]]:
    import numba

    compiled: Any = numba.njit(cache=True, nogil=True)(_viterbi)
    return cast(Callable[[NDArray[np.float64]], NDArray[np.int64]], compiled)


def _dtw_python(score: NDArray[np.float32]) -> NDArray[np.int64]:
    try:
        import dtw
    except ImportError:
        raise LLaSOError("align.dtw: dtw-python needs the extra: pip install 'llaso[dtw]' (GPL-3)") from None
    # Frames are the query, so that each takes exactly one step; the token stays (0) or advances by one (1).
    steps = np.array([[1, 1, 0, -1], [1, 0, 0, 1], [2, 1, 1, -1], [2, 0, 0, 1]])
    pattern = dtw.StepPattern(steps)
    found = dtw.dtw(-np.asarray(score, dtype=np.float64).T, step_pattern=pattern)
    starts = np.searchsorted(np.asarray(found.index2), np.arange(score.shape[0])).astype(np.int64)
    return np.append(starts, score.shape[1])
