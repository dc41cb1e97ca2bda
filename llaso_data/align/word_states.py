"""A text as the states of an alignment, sounds and the pauses between them, and the states of its words."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llaso_data.text import is_spaced

_SPOKEN = frozenset("%&@#*/\\‰§¶†‡")  # punctuation in Unicode, but read aloud

# In a language without spaces, the spaces of a text part words if on average at most so many characters stand between.
_MAX_CHARACTERS_PER_WORD = {"zh": 2.5, "yue": 2.5, "ja": 3.0}
_MAX_LETTERS_PER_WORD = 5.0  # Thai, Lao, Khmer, Burmese


@dataclass(frozen=True, slots=True)
class WordStates:
    """The states of a text: sounds (a character with its marks) and pauses.

    The first and the last state are pauses, and no two pauses stand side by side.

    Attributes:
        tokens: The tokens of each state; empty for a pause without one. The last token is end of text.
        pause_N: Which states are pauses, (states,).
        offsets: Each sound's offset in the text, (states,); -1 for a pause.
    """

    tokens: tuple[slice, ...]
    pause_N: NDArray[np.bool_]
    offsets: NDArray[np.int64]


def build_states(text: str, offsets: Sequence[int], spans: Sequence[tuple[int, int]]) -> WordStates:
    """The states of a text that is teacher-forced in characters.

    Spaces and punctuation become pauses. Between words that have neither, a pause without a token is inserted.

    Args:
        text: The text.
        offsets: For each token the offset in the text of its character, ascending; -1 for the space before the text.
        spans: ``(start, end)`` of the words in the text.
    """
    word_starts = {start for start, _ in spans}
    tokens: list[slice] = []
    state_offsets: list[int] = []
    for t, offset in enumerate(offsets):
        sound = offset >= 0 and is_sounded(text[offset])
        last = state_offsets[-1] if state_offsets else None
        if last is not None and (offset == last if sound else last < 0):
            tokens[-1] = slice(tokens[-1].start, t + 1)
        elif last is not None and last >= 0 and offset >= 0 and unicodedata.category(text[offset])[0] == "M":
            tokens[-1] = slice(tokens[-1].start, t + 1)  # a mark sounds with its letter
        else:
            if sound and last is not None and last >= 0 and offset in word_starts:
                tokens.append(slice(t, t))
                state_offsets.append(-1)
            tokens.append(slice(t, t + 1))
            state_offsets.append(offset if sound else -1)
    end = len(offsets)
    if state_offsets and state_offsets[-1] < 0:
        tokens[-1] = slice(tokens[-1].start, end + 1)
    else:
        tokens.append(slice(end, end + 1))
        state_offsets.append(-1)
    offsets_N = np.array(state_offsets, dtype=np.int64)
    return WordStates(tuple(tokens), offsets_N < 0, offsets_N)


def is_sounded(character: str) -> bool:
    """Whether the character is spoken: letters, digits and symbols are; spaces, punctuation and marks are not."""
    category = unicodedata.category(character)
    return category[0] in "LN" or category in ("Sc", "Sm", "So") or character in _SPOKEN


def group_words(text: str, spans: Sequence[tuple[int, int]], language: str | None) -> list[tuple[int, int]]:
    """Group aligned spans into words.

    Chinese, Japanese and Thai are aligned by character. Corpora of them are often written with a space after every
    word. Where so few characters stand between spaces that these must be words, the characters between become one.

    Args:
        text: The text.
        spans: ``(start, end)`` of what was aligned.
        language: Of the text.

    Returns:
        Ranges of ``spans``: ``(first, last + 1)`` for each word; one span each where the text parts no words.
    """
    one_each = [(n, n + 1) for n in range(len(spans))]
    if is_spaced(language):
        return one_each
    chunks: list[tuple[int, int]] = []
    for n, (start, _) in enumerate(spans):
        if chunks and start == spans[n - 1][1]:
            chunks[-1] = (chunks[-1][0], n + 1)
        else:
            chunks.append((n, n + 1))
    max_characters = _MAX_CHARACTERS_PER_WORD.get(language or "", _MAX_LETTERS_PER_WORD)
    return chunks if len(chunks) > 1 and len(spans) / len(chunks) <= max_characters else one_each


def word_state_spans(states: WordStates, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int] | None]:
    """The states of every word: ``(first, last + 1)``; None for a word that has no sound.

    Args:
        states: The text's states.
        spans: ``(start, end)`` of the words in the text.
    """
    sounds = np.flatnonzero(~states.pause_N)
    offsets = states.offsets[sounds]
    ranges: list[tuple[int, int] | None] = []
    for start, end in spans:
        first, after = np.searchsorted(offsets, [start, end])
        ranges.append((int(sounds[first]), int(sounds[after - 1]) + 1) if after > first else None)
    return ranges
