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


def split(attention_HTS: NDArray[np.float32], word_starts: Sequence[int], slots: Sequence[Slot]) -> list[TokenSpan]:
    """The tokens of each slot.

    Args:
        attention_HTS: Cross-attention, (heads, tokens and end of text, frames).
        word_starts: Indices of the tokens that begin a word, ascending from 0. Words are never divided.
        slots: The slots of the window, in order.

    Returns:
        A span for each slot, in order; an empty one where a slot got no word.
    """
    tokens = attention_HTS.shape[1] - 1
    if tokens <= 0:
        return [TokenSpan(0, 0, 0.0) for _ in slots]
    mean_TS = token_attention(attention_HTS)
    mean_TS = mean_TS / np.maximum(mean_TS.sum(axis=1, keepdims=True), 1e-9)
    token_mass_TK = np.stack([mean_TS[:, _territory(slots, k)].sum(axis=1) for k in range(len(slots))], axis=1)
    boundaries = [*word_starts, tokens]
    word_mass_WK = np.stack([token_mass_TK[a:b].sum(axis=0) for a, b in pairwise(boundaries)], axis=0)
    slot_W = _monotone_assignment(word_mass_WK)
    spans = []
    for k in range(len(slots)):
        words = np.flatnonzero(slot_W == k)
        if len(words) == 0:
            boundary = boundaries[int(np.searchsorted(slot_W, k))]
            spans.append(TokenSpan(boundary, boundary, 0.0))
            continue
        first, last = boundaries[words[0]], boundaries[words[-1] + 1]
        spans.append(TokenSpan(first, last, float(token_mass_TK[first:last, k].mean())))
    return spans


def token_attention(attention_HTS: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where in the window each token is heard: (tokens, frames), end of text left out.

    Each token gets the mean of two rows. In the step that predicts a token some heads still look at the one before it;
    in the step that takes it as input they look at it. Both together divide windows right more often than either.

    Args:
        attention_HTS: (heads, tokens and end of text, frames); row ``t`` is of the step that predicts token ``t``.
    """
    mean_TS: NDArray[np.float32] = (attention_HTS[:, :-1] + attention_HTS[:, 1:]).mean(axis=0)
    return mean_TS


def _territory(slots: Sequence[Slot], k: int) -> slice:
    """A slot's frames and half of the silence on either side, because attention leaks over a clip's edges."""
    own = slots[k].frames
    first = 0 if k == 0 else (slots[k - 1].frames.stop + own.start) // 2
    last = WINDOW_FRAMES if k == len(slots) - 1 else (own.stop + slots[k + 1].frames.start) // 2
    return slice(first, last)


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
