"""Dividing the tokens of a packed window among its clips.

Every token's cross-attention says in which slot of the window it was heard. Words are assigned to the slots in order,
by the monotone assignment that keeps the most attention inside the slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llaso_data.whisper.windows import WINDOW_FRAMES, Slot


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """One slot's tokens of a window, ``[first, last)``, and the share of their attention that lies in it (0-1)."""

    first: int
    last: int
    attention_share: float


def split(mass_TK: NDArray[np.float32], word_starts: Sequence[int]) -> list[TokenSpan]:
    """The tokens of each slot of a window.

    Each token gets the mean of two rows. In the step that predicts a token some heads still look at the one before it;
    in the step that takes it as input they look at it. Both together divide windows right more often than either.

    Args:
        mass_TK: Of the attention of the step that predicts each token, and end of text at last, the share that lies in
            each of the :func:`territories`, (tokens and end of text, slots).
        word_starts: Indices of the tokens that begin a word, ascending from 0. Words are never divided.

    Returns:
        A span for each slot, in order; an empty one where a slot got no word.
    """
    tokens, slots = mass_TK.shape[0] - 1, mass_TK.shape[1]
    if tokens <= 0:
        return [TokenSpan(0, 0, 0.0)] * slots
    token_mass_TK = (mass_TK[:-1] + mass_TK[1:]) / 2
    boundaries = [*word_starts, tokens]
    word_mass_WK = np.stack([token_mass_TK[a:b].sum(axis=0) for a, b in pairwise(boundaries)], axis=0)
    slot_W = _monotone_assignment(word_mass_WK)
    spans = []
    for k in range(slots):
        words = np.flatnonzero(slot_W == k)
        if len(words) == 0:
            boundary = boundaries[int(np.searchsorted(slot_W, k))]
            spans.append(TokenSpan(boundary, boundary, 0.0))
            continue
        first, last = boundaries[words[0]], boundaries[words[-1] + 1]
        spans.append(TokenSpan(first, last, float(token_mass_TK[first:last, k].mean())))
    return spans


def masses(attention_HTS: NDArray[np.float32], slots: Sequence[Slot]) -> NDArray[np.float32]:
    """What :func:`split` needs of attention maps (heads, tokens and end of text, frames), whose rows add up to one."""
    mean_TS = attention_HTS.mean(axis=0)
    found: NDArray[np.float32] = np.stack([mean_TS[:, frames].sum(axis=1) for frames in territories(slots)], axis=1)
    return found


def territories(slots: Sequence[Slot]) -> list[slice]:
    """Each slot's frames and half of the silence on either side, because attention leaks over a clip's edges."""
    edges = [(before.frames.stop + after.frames.start) // 2 for before, after in pairwise(slots)]
    return [slice(first, last) for first, last in pairwise([0, *edges, WINDOW_FRAMES])]


def _monotone_assignment(mass_WK: NDArray[np.float32]) -> NDArray[np.int64]:
    """The slot of each word, never descending, with the largest summed mass (dynamic programming)."""
    words, slots = mass_WK.shape
    best_WK = np.full((words, slots), -np.inf)
    previous_WK = np.zeros((words, slots), dtype=np.int64)  # the slot of the word before
    best_WK[0] = mass_WK[0]
    for w in range(1, words):
        reachable_K = np.maximum.accumulate(best_WK[w - 1])
        # The first slot that reaches the maximum, so that ties are resolved the same way everywhere.
        previous_WK[w] = [int(np.argmax(best_WK[w - 1][: k + 1])) for k in range(slots)]
        best_WK[w] = reachable_K + mass_WK[w]
    slot_W = np.zeros(words, dtype=np.int64)
    slot_W[-1] = int(np.argmax(best_WK[-1]))
    for w in range(words - 1, 0, -1):
        slot_W[w - 1] = previous_WK[w, slot_W[w]]
    return slot_W
