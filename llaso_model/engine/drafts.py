"""Guesses how an answer goes on. A reader reads the guess together with the token before it, and what it gets wrong
costs little: while few rows are decoded, a step waits for the weights, whatever the number of its tokens."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST_MATCH, _LONGEST_HISTORY = 3, 2048  # tokens


def draft(answer: Sequence[int], expected: Sequence[int], prompt: Sequence[int], most: int) -> list[int]:
    """The tokens that may follow.

    Those of the expected answer, as long as it comes. Else what followed before on the last tokens of the answer: in
    the answer itself, in the one that was expected, or in the prompt (prompt lookup decoding; Saxena 2023).

    Args:
        answer: The tokens so far.
        expected: The answer that is thought likely; it may be empty.
        prompt: The prompt's tokens.
        most: The most tokens of the draft.

    Returns:
        At most so many tokens; none where there is nothing to go by.
    """
    count = len(answer)
    if most <= 0 or not count:
        return []
    if tuple(answer) == tuple(expected[:count]) and len(expected) > count:
        return list(expected[count : count + most])
    for length in range(min(_LONGEST_MATCH, count), 0, -1):
        for history in (answer, expected, prompt) if length > 1 else (answer,):
            if found := _followed(history[-_LONGEST_HISTORY:], answer[-length:], most):
                return found
    return []


def _followed(history: Sequence[int], key: Sequence[int], most: int) -> list[int]:
    """What followed on tokens when they came last, at most so many; nothing followed on those at the end."""
    key = list(key)
    for place in range(len(history) - len(key) - 1, -1, -1):
        if history[place] == key[0] and list(history[place : place + len(key)]) == key:
            after = place + len(key)
            return list(history[after : after + most])
    return []
