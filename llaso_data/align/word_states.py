"""A text as the states of an alignment, sounds and the pauses between them, and words from where the states lie."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llaso_data.text import is_spaced

_SPOKEN = frozenset("%&@#*/\\‰§¶†‡")  # punctuation by Unicode's book, and yet read aloud

# Where no spaces part words and a text has them all the same, they part words if so few characters stand between them.
_MOST_CHARACTERS_A_WORD = {"zh": 2.5, "yue": 2.5, "ja": 3.0}
_MOST_LETTERS_A_WORD = 5.0  # Thai, Lao, Khmer, Burmese


@dataclass(frozen=True, slots=True)
class WordStates:
    """``tokens[n]``: the tokens of state n, a character (with its marks) or a pause; the last is end of text.

    The first and the last state are pauses, and no two stand side by side. ``places[n]`` is a sound's place in the
    text, -1 for a pause.
    """

    tokens: tuple[slice, ...]
    pause_N: NDArray[np.bool_]
    offsets: NDArray[np.int64]


def build_states(text: str, places: Sequence[int], spans: Sequence[tuple[int, int]]) -> WordStates:
    """``places[t]``: the place in the text of token t's character, ascending, -1 for a space before the text.

    Spaces and punctuation become pauses; so does a border between words that has neither (``spans``).
    """
    borders = {start for start, _ in spans}
    tokens: list[slice] = []
    sounds: list[int] = []
    for t, place in enumerate(places):
        sound = place >= 0 and is_sounded(text[place])
        last = sounds[-1] if sounds else None
        if last is not None and (place == last if sound else last < 0):
            tokens[-1] = slice(tokens[-1].start, t + 1)
        elif last is not None and last >= 0 and place >= 0 and unicodedata.category(text[place])[0] == "M":
            tokens[-1] = slice(tokens[-1].start, t + 1)  # a mark sounds with its letter
        else:
            if sound and last is not None and last >= 0 and place in borders:
                tokens.append(slice(t, t))
                sounds.append(-1)
            tokens.append(slice(t, t + 1))
            sounds.append(place if sound else -1)
    end = len(places)
    if sounds and sounds[-1] < 0:
        tokens[-1] = slice(tokens[-1].start, end + 1)
    else:
        tokens.append(slice(end, end + 1))
        sounds.append(-1)
    where = np.array(sounds, dtype=np.int64)
    return WordStates(tuple(tokens), where < 0, where)


def is_sounded(character: str) -> bool:
    """Whether the character is said: letters, digits, symbols; not spaces, punctuation and marks on their own."""
    category = unicodedata.category(character)
    return category[0] in "LN" or category in ("Sc", "Sm", "So") or character in _SPOKEN


def group_words(text: str, spans: Sequence[tuple[int, int]], language: str | None) -> list[tuple[int, int]]:
    """The words among ``spans`` as ranges of them: one each, or where the text itself parts words that spaces do not.

    Chinese, Japanese and Thai are aligned by character. Corpora of them are often written with a space after every
    word; where so few characters stand between spaces that they must be words, their characters are one word.
    """
    each = [(n, n + 1) for n in range(len(spans))]
    if is_spaced(language):
        return each
    chunks: list[tuple[int, int]] = []
    for n, (start, _) in enumerate(spans):
        if chunks and start == spans[n - 1][1]:
            chunks[-1] = (chunks[-1][0], n + 1)
        else:
            chunks.append((n, n + 1))
    most = _MOST_CHARACTERS_A_WORD.get(language or "", _MOST_LETTERS_A_WORD)
    return chunks if len(chunks) > 1 and len(spans) / len(chunks) <= most else each


def word_state_spans(states: WordStates, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int] | None]:
    """Of every word its first state and the state after its last sound; None where nothing of it is said."""
    sounds = np.flatnonzero(~states.pause_N)
    places = states.offsets[sounds]
    found: list[tuple[int, int] | None] = []
    for start, end in spans:
        first, after = np.searchsorted(places, [start, end])
        found.append((int(sounds[first]), int(sounds[after - 1]) + 1) if after > first else None)
    return found
