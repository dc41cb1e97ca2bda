"""Guesses of how an answer goes on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llaso_model.engine.drafts import draft

tokens = st.lists(st.integers(0, 3), max_size=12)


def test_an_answer_that_comes_as_expected_goes_on_as_expected() -> None:
    assert draft([1, 2], [1, 2, 3, 4, 5], [], 2) == [3, 4]
    assert draft([], [1, 2], [], 4) == []  # the prompt gives the first token


def test_after_an_unexpected_token_the_draft_finds_its_place_again() -> None:
    assert draft([1, 9, 3, 4], [1, 2, 3, 4, 5, 6], [], 4) == [5, 6]


def test_what_followed_on_the_same_tokens_may_follow_again() -> None:
    assert draft([5, 6, 7, 8, 5], [], [], 2) == [6, 7]
    assert draft([5, 6, 7, 8, 5], [], [], 9) == [6, 7, 8, 5]
    assert draft([1, 5], [], [4, 1, 5, 9, 9], 1) == [9]
    assert draft([1, 5], [], [5, 9], 1) == []  # a token of the prompt says little


@given(tokens, tokens, tokens, st.integers(-1, 9))
def test_a_draft_is_never_longer_than_asked_and_stands_somewhere(
    answer: list[int], expected: list[int], prompt: list[int], most: int
) -> None:
    found = draft(answer, expected, prompt, most)
    assert len(found) <= max(0, most)
    texts = [" ".join(map(str, one)) for one in (answer, expected, prompt)]
    assert any(" ".join(map(str, found)) in text for text in texts)
