"""A long transcript dealt to its segments, although free decoding misheard some of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.asr.given import segment_spans

STORY = (
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: "
    "once or twice she had peeped into the book her sister was reading, but it had no pictures or conversations in it."
)


def divided(text: str, heard: Sequence[str], language: str, min_matched: float = 0.5) -> list[str | None]:
    """The parts of a text as text."""
    spans = segment_spans(text, heard, language, min_matched)
    return [None if span is None else text[span[0] : span[1]] for span in spans]


def test_each_segment_gets_its_own_stretch_despite_mishearing() -> None:
    heard = [
        "Alice was beginning to get very tired of sitting by her sister on the bunk",
        "and of heaving nothing to do",
        "once or twice she peeped in to the book her sister was reading",
        "But it had no pictures, or conversation in it",
    ]
    assert divided(STORY, heard, "en") == [
        "Alice was beginning to get very tired of sitting by her sister on the bank,",
        "and of having nothing to do:",
        "once or twice she had peeped into the book her sister was reading,",
        "but it had no pictures or conversations in it.",
    ]


def test_a_segment_that_the_text_does_not_cover_gets_none() -> None:
    heard = [
        "Alice was beginning to get very tired",
        "subscribe to my channel please everyone",
        "of sitting by her sister",
    ]
    assert divided("Alice was beginning to get very tired of sitting by her sister.", heard, "en") == [
        "Alice was beginning to get very tired",
        None,
        "of sitting by her sister.",
    ]


def test_words_that_nobody_heard_go_to_the_segment_before() -> None:
    assert divided("one two three four five six seven", ["one two three", "five six seven"], "en") == [
        "one two three four",
        "five six seven",
    ]


def test_the_first_words_go_to_the_first_segment() -> None:
    assert divided("one two three four five six", ["two three", "four five six"], "en") == [
        "one two three",
        "four five six",
    ]


def test_the_words_of_a_segment_that_was_not_heard_go_to_nobody_else() -> None:
    assert divided("one two three four five six", ["one two", "", "five six"], "en") == ["one two", None, "five six"]


def test_a_passage_that_no_segment_covers_costs_its_neighbours_nothing() -> None:
    text = "one two three eleven twelve thirteen fourteen fifteen sixteen four five six"
    assert divided(text, ["one two three", "four five six"], "en") == ["one two three", "four five six"]


def test_punctuation_is_no_word_that_could_match() -> None:
    assert divided("— — — yes", ["— — — no"], "en") == [None]
    assert divided("Qui est là ? Moi !", ["qui est là", "moi"], "fr") == ["Qui est là ?", "Moi !"]


@pytest.mark.parametrize(
    ("language", "text", "heard", "parts"),
    [
        (
            "zh",
            "天地玄黄，宇宙洪荒。日月盈昃。",
            ["天地玄皇宇宙洪荒", "日月盈昃"],
            ["天地玄黄，宇宙洪荒。", "日月盈昃。"],
        ),
        ("ja", "こんにちは世界。今日は晴れ。", ["こんにちわ世界", "今日は晴れ"], ["こんにちは世界。", "今日は晴れ。"]),
    ],
)
def test_without_spaces(language: str, text: str, heard: list[str], parts: list[str]) -> None:
    assert divided(text, heard, language) == parts


@pytest.mark.parametrize("text", ["", " ", "..."])
def test_a_text_without_words_gives_none(text: str) -> None:
    assert divided(text, ["one two", ""], "en") == [None, None]


def test_no_segments() -> None:
    assert divided("one two", [], "en") == []


WORDS = st.lists(st.sampled_from(["red", "green", "blue,", "black.", "—"]), max_size=12).map(" ".join)


@given(WORDS, st.lists(WORDS, max_size=5), st.sampled_from(["en", "fr", "ja"]), st.sampled_from([0.0, 0.5, 1.0]))
def test_parts_are_disjoint_and_in_the_order_of_the_text(
    text: str, heard: list[str], language: str, min_matched: float
) -> None:
    parts = divided(text, heard, language, min_matched)
    assert len(parts) == len(heard)
    at = 0
    for part in parts:
        if part is not None:
            assert part
            at = text.index(part, at) + len(part)


@given(st.lists(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=6), min_size=1, max_size=6))
def test_a_text_heard_without_error_comes_back_whole(segments: list[list[str]]) -> None:
    heard = [" ".join(segment) for segment in segments]
    assert divided(" ".join(heard), heard, "de") == heard
