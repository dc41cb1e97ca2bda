"""A text in the spelling of what was heard: only words that are heard as others stay its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.align.differences import rewrite
from llaso_data.text import normalize


@pytest.mark.parametrize(
    ("text", "hypothesis"),
    [
        ("press 1 to mute", "Press one to mute."),
        ("twenty five", "25"),
        ("i am sorry that is not right", "I'm sorry, that's not right!"),
        ("at [@]", "At."),
        ("VOICE MAIL", "Voicemail."),
        ("press 1 (one)", "Press 1."),
    ],
)
def test_what_is_said_alike_is_written_as_it_was_heard(text: str, hypothesis: str) -> None:
    found = rewrite(text, hypothesis, "en")
    assert (found.text, found.starts) == (hypothesis, ())


@pytest.mark.parametrize(
    ("text", "written", "own", "heard"),
    [
        ("please enter you password", "Please enter you password.", [" you password."], [" your password."]),
        ("enter your password", "Enter your password.", ["Enter your password."], ["Please enter your password."]),
        ("please enter your", "Please enter your", [""], [" password."]),
        ("please your enter password", "Please your enter password.", None, None),
        ("please enter your very password", "Please enter your very password.", [" very password."], [" password."]),
        ("nothing", "Nothing", ["Nothing"], ["Please enter your password."]),
    ],
)
def test_a_difference_stays_the_texts_own(
    text: str, written: str, own: list[str] | None, heard: list[str] | None
) -> None:
    found = rewrite(text, "Please enter your password.", "en")
    assert found.text == written
    if own is not None:
        assert [found.text[a:] for a, _ in found.starts] == own
        assert [found.hypothesis[b:] for _, b in found.starts] == heard


def test_a_symbol_that_was_heard_as_a_word_stays_in_its_place() -> None:
    found = rewrite("press * to pause", "Press star to pause.", "en")
    assert found.text == "Press * to pause." and len(found.starts) == 1


def test_marks_of_a_pause_are_not_compared() -> None:
    assert rewrite("... for ...", "4.", "en").text == "for"
    assert rewrite("hold - we try … to", "Hold, we will try to.", "en").text == "Hold, we try to."


def test_words_without_spaces_between() -> None:
    found = rewrite("你好世界", "你好,世间。", "zh")
    assert (found.text, found.starts) == ("你好,世界", ((4, 4),))


def test_nothing_heard_and_nothing_written() -> None:
    assert rewrite("hello", "", "en").text == "hello"
    assert rewrite("", "Hello.", "en").text == ""
    assert rewrite("", "", "en").starts == ()


words = st.lists(st.sampled_from(["please", "enter", "your", "password", "number", "1", "two", "the", "a"]), max_size=8)


@given(words, words)
def test_the_rewritten_text_says_what_the_text_says(text: list[str], hypothesis: list[str]) -> None:
    given_text, heard = " ".join(text), " ".join(hypothesis)
    found = rewrite(given_text, heard, "en")
    assert normalize(found.text, "en").replace(" ", "") == normalize(given_text, "en").replace(" ", "")
    assert bool(found.starts) == (
        normalize(given_text, "en").replace(" ", "") != normalize(heard, "en").replace(" ", "")
    )
    assert all(a <= len(found.text) and b <= len(heard) for a, b in found.starts)
    assert list(found.starts) == sorted(found.starts)
