"""Taking the text of a packed window apart: which words belong to which clip.

Every token's cross-attention says in which slot of the window it was heard. Words are dealt to the slots in order,
by the one monotone division that keeps the most attention inside the slots.
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
    """One slot's share of a window's tokens: ``[first, last)``, and the share of their attention that lies in it."""

    first: int
    last: int
    attention_share: float


def split(attention_HTS: NDArray[np.float32], word_starts: Sequence[int], slots: Sequence[Slot]) -> list[TokenSpan]:
    """The tokens of each slot, in order; a slot that was not heard has an empty part.

    ``attention_HTS``: the chosen heads over all tokens of the window and end of text; ``word_starts``: the tokens at
    which a word begins (a word is never divided), ascending, the first of them 0.
    """
    tokens = attention_HTS.shape[1] - 1
    if tokens <= 0:
        return [TokenSpan(0, 0, 0.0) for _ in slots]
    mean_TS = token_attention(attention_HTS)
    mean_TS = mean_TS / np.maximum(mean_TS.sum(axis=1, keepdims=True), 1e-9)
    token_mass_TK = np.stack([mean_TS[:, _territory(slots, k)].sum(axis=1) for k in range(len(slots))], axis=1)
    bounds = [*word_starts, tokens]
    word_mass_WK = np.stack([token_mass_TK[a:b].sum(axis=0) for a, b in pairwise(bounds)], axis=0)
    owner = _monotone(word_mass_WK)
    parts = []
    for k in range(len(slots)):
        words = np.flatnonzero(owner == k)
        if len(words) == 0:
            place = bounds[int(np.searchsorted(owner, k))]
            parts.append(TokenSpan(place, place, 0.0))
            continue
        first, last = bounds[words[0]], bounds[words[-1] + 1]
        parts.append(TokenSpan(first, last, float(token_mass_TK[first:last, k].mean())))
    return parts


def token_attention(attention_HTS: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where each token is heard, of all tokens but end of text.

    Where a token is predicted some heads still look at the one before it; where it is read back they look at it. Both
    together put borders right more often than either.
    """
    mean_TS: NDArray[np.float32] = (attention_HTS[:, :-1] + attention_HTS[:, 1:]).mean(axis=0)
    return mean_TS


def _territory(slots: Sequence[Slot], k: int) -> slice:
    """A slot's frames and half of the silence on either side, because attention leans over borders."""
    own = slots[k].frames
    first = 0 if k == 0 else (slots[k - 1].frames.stop + own.start) // 2
    last = WINDOW_FRAMES if k == len(slots) - 1 else (own.stop + slots[k + 1].frames.start) // 2
    return slice(first, last)


def _monotone(mass_WK: NDArray[np.float32]) -> NDArray[np.int64]:
    """The slot of each word, never going back, with the largest summed mass."""
    words, slots = mass_WK.shape
    best = np.full((words, slots), -np.inf)
    came = np.zeros((words, slots), dtype=np.int64)
    best[0] = mass_WK[0]
    for w in range(1, words):
        reach = np.maximum.accumulate(best[w - 1])
        # The first slot that reaches the maximum, so that ties are settled the same way everywhere.
        came[w] = [int(np.argmax(best[w - 1][: k + 1])) for k in range(slots)]
        best[w] = reach + mass_WK[w]
    owner = np.zeros(words, dtype=np.int64)
    owner[-1] = int(np.argmax(best[-1]))
    for w in range(words - 1, 0, -1):
        owner[w - 1] = came[w, owner[w]]
    return owner
