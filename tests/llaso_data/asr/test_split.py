"""Taking a packed window's text apart: words go to the clip that their attention lies in, in order, undivided."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llaso_data.asr.split import TokenSpan, masses, split
from llaso_data.whisper.windows import WINDOW_FRAMES, pack


def looks(frames: list[int]) -> NDArray[np.float32]:
    """Of two heads as Whisper has them: one looks at the token that it predicts, one still at the token before.

    ``frames[t]`` is where token ``t`` was spoken; the last is end of text.
    """
    attention = np.full((2, len(frames), WINDOW_FRAMES), 1e-4, dtype=np.float32)
    for token, (before, frame) in enumerate(zip([frames[0], *frames], frames, strict=False)):
        attention[0, token, max(0, frame - 2) : frame + 3] = 1.0
        attention[1, token, max(0, before - 2) : before + 3] = 1.0
    return masses(attention / attention.sum(axis=2, keepdims=True), SLOTS)


SLOTS = pack([32_000, 32_000, 32_000], ["en"] * 3, 0.6)[0].slots  # frames 0-100, 130-230, 260-360


def test_words_go_to_the_clip_that_they_were_heard_in() -> None:
    parts = split(looks([20, 50, 80, 150, 200, 300, 300]), [0, 1, 2, 3, 4, 5])
    assert [(part.first, part.last) for part in parts] == [(0, 3), (3, 5), (5, 6)]
    assert all(part.attention_share > 0.6 for part in parts)


def test_a_word_of_several_tokens_is_never_divided() -> None:
    # The word of tokens 1-3 begins in the first clip, yet most of its attention lies in the second.
    parts = split(looks([20, 80, 150, 200, 290, 300]), [0, 1, 4])
    assert [(part.first, part.last) for part in parts] == [(0, 1), (1, 4), (4, 5)]


def test_a_clip_that_was_not_heard_has_an_empty_part_in_its_place() -> None:
    parts = split(looks([20, 80, 290, 320, 350]), [0, 1, 2, 3])
    assert [(part.first, part.last) for part in parts] == [(0, 2), (2, 2), (2, 4)]
    assert parts[1].attention_share == 0.0


def test_words_never_go_back() -> None:
    # A stray look into the first clip in the midst of the second stays with the second.
    parts = split(looks([20, 50, 150, 30, 200, 210, 210]), [0, 1, 2, 3, 4, 5])
    assert [(part.first, part.last) for part in parts][:2] == [(0, 2), (2, 6)]


def test_a_window_without_text_has_only_empty_parts() -> None:
    assert split(looks([0]), []) == [TokenSpan(0, 0, 0.0)] * 3


@st.composite
def windows(draw: st.DrawFn) -> tuple[NDArray[np.float32], list[int], list[int]]:
    lengths = draw(st.lists(st.integers(320, 60_000), min_size=1, max_size=6))
    tokens = draw(st.integers(1, 12))
    seed = draw(st.integers(0, 2**32 - 1))
    attention = np.random.default_rng(seed).random((2, tokens + 1, WINDOW_FRAMES), dtype=np.float32)
    starts = draw(st.sets(st.integers(1, max(1, tokens - 1)), max_size=tokens - 1)) if tokens > 1 else set()
    return attention, sorted({0, *starts}), lengths


@given(windows())
def test_parts_are_ordered_disjoint_and_hold_every_token(
    case: tuple[NDArray[np.float32], list[int], list[int]],
) -> None:
    attention, starts, lengths = case
    attention /= attention.sum(axis=2, keepdims=True)
    parts = split(masses(attention, pack(lengths, [None] * len(lengths), 0.6)[0].slots), starts)
    assert parts[0].first == 0 and parts[-1].last == attention.shape[1] - 1
    for before, after in itertools.pairwise(parts):
        assert before.last == after.first
    for part in parts:
        assert part.first in {*starts, attention.shape[1] - 1} and part.first <= part.last
        assert 0.0 <= part.attention_share <= 1.0 + 1e-5
