"""From a text to states and back to words: what is said has its place, what is not takes none."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.align.word_states import build_states, group_words, is_sounded, word_state_spans
from llaso_data.text import word_spans


def places(text: str) -> list[int]:
    """As :meth:`Vocabulary.characters` gives them: the space before the text, then one token a character."""
    return list(range(-1, len(text)))


def drawn(text: str, language: str = "en") -> str:
    """The states as one string: the character of each sound, ``_`` for a pause."""
    found = build_states(text, places(text), word_spans(text, language))
    return "".join("_" if place < 0 else text[place] for place in found.offsets)


@pytest.mark.parametrize(
    ("text", "language", "drawing"),
    [
        ("Hello, world.", "en", "_Hello_world_"),
        ("don't twenty-one", "en", "_don_t_twenty_one_"),
        ("$5 is 3% & more", "en", "_$5_is_3%_&_more_"),
        ('(yes) — "no"…', "en", "_yes_no_"),
        ("¿Qué tal?", "es", "_Qué_tal_"),
        ("你好世界。", "zh", "_你_好_世_界_"),
        ("3月5日、東京", "ja", "_3_月_5_日_東_京_"),
        ("नमस्ते दुनिया", "hi", "_नमसत_दनय_"),
        ("...", "en", "_"),
    ],
)
def test_letters_digits_and_symbols_sound_the_rest_is_pause(text: str, language: str, drawing: str) -> None:
    assert drawn(text, language) == drawing


texts = st.text(st.sampled_from("ab1%$ .,-'\"—你好。คำनि\u0301"), max_size=25)


@given(texts, st.sampled_from(["en", "zh", "th"]))
def test_every_token_is_of_one_state_and_pauses_stand_alone(text: str, language: str) -> None:
    found = build_states(text, places(text), word_spans(text, language))
    assert found.pause_N[0] and found.pause_N[-1]
    assert not (found.pause_N[1:] & found.pause_N[:-1]).any()
    covered = [t for tokens in found.tokens for t in range(tokens.start, tokens.stop)]
    assert covered == list(range(len(text) + 2))  # the space before the text, the text, end of text
    for place, tokens in zip(found.offsets, found.tokens, strict=True):
        if place >= 0:
            assert is_sounded(text[place])
            marks = [text[t - 1] for t in range(tokens.start + 1, tokens.stop)]
            assert all(unicodedata.category(mark)[0] == "M" for mark in marks)


@given(texts, st.sampled_from(["en", "zh", "th"]))
def test_every_word_finds_its_own_sounds_in_order(text: str, language: str) -> None:
    spans = word_spans(text, language)
    found = build_states(text, places(text), spans)
    words = word_state_spans(found, spans)
    assert len(words) == len(spans)
    last = 0
    for (start, end), word in zip(spans, words, strict=True):
        assert (word is None) == (not any(is_sounded(character) for character in text[start:end]))
        if word is not None:
            assert last <= word[0] < word[1] <= len(found.offsets)
            assert start <= found.offsets[word[0]] < end and start <= found.offsets[word[1] - 1] < end
            last = word[1]


def test_bytes_of_one_character_are_one_state() -> None:
    found = build_states("你", [-1, 0, 0, 0], [(0, 1)])  # a character of three byte tokens
    assert [(tokens.start, tokens.stop) for tokens in found.tokens] == [(0, 1), (1, 4), (4, 5)]


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("今天 天气 很 好", "zh", ["今天", "天气", "很", "好"]),
        ("今天天气很好", "zh", list("今天天气很好")),
        ("今天天气很好。 我们出去玩吧。", "zh", [*list("今天天气很"), "好。", *list("我们出去玩"), "吧。"]),
        ("東京 に 行き ました", "ja", ["東京", "に", "行き", "ました"]),
        ("ผม ไป โรงเรียน", "th", ["ผม", "ไป", "โรงเรียน"]),
        ("to be or", "en", ["to", "be", "or"]),
    ],
)
def test_words_are_grouped_where_the_text_parts_them(text: str, language: str, words: list[str]) -> None:
    spans = word_spans(text, language)
    grouped = [text[spans[a][0] : spans[b - 1][1]] for a, b in group_words(text, spans, language)]
    assert grouped == words
