"""Packing: every clip lies in one window, alone in its place, and the result depends on nothing but the lengths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.whisper.windows import FRAME_SAMPLES, WINDOW_FRAMES, WINDOW_SAMPLES, Slot, Window, assemble, pack

LENGTHS = st.one_of(st.integers(1, 6_000), st.integers(1, 160_000), st.integers(WINDOW_SAMPLES - 700, WINDOW_SAMPLES))
CLIPS = st.lists(st.tuples(LENGTHS, st.sampled_from(["en", "fr", None])), max_size=40)
GAPS = st.one_of(st.sampled_from([0.0, 0.6]), st.floats(0, 2))


@given(CLIPS, GAPS)
def test_every_clip_lies_once_in_a_window_of_its_language_with_the_gap_after_it(
    clips: list[tuple[int, str | None]], gap_s: float
) -> None:
    lengths, languages = [length for length, _ in clips], [language for _, language in clips]
    windows = pack(lengths, languages, gap_s)
    assert sorted(slot.clip for window in windows for slot in window.slots) == list(range(len(clips)))
    for window in windows:
        assert {languages[slot.clip] for slot in window.slots} == {window.language}
        assert all(slot.length == lengths[slot.clip] and slot.start % FRAME_SAMPLES == 0 for slot in window.slots)
        for before, after in zip(window.slots, window.slots[1:], strict=False):
            assert after.start - (before.start + before.length) >= round(gap_s * 16_000)
            assert before.frames.stop <= after.frames.start
        assert window.slots[0].start == 0
        assert window.slots[-1].start + window.slots[-1].length <= WINDOW_SAMPLES
        assert window.slots[-1].frames.stop <= WINDOW_FRAMES


@given(CLIPS, GAPS)
def test_windows_and_their_clips_keep_the_order_of_the_corpus(
    clips: list[tuple[int, str | None]], gap_s: float
) -> None:
    lengths, languages = [length for length, _ in clips], [language for _, language in clips]
    windows = pack(lengths, languages, gap_s)
    assert windows == pack(list(lengths), list(languages), gap_s)
    firsts = [window.slots[0].clip for window in windows]
    assert firsts == sorted(firsts)
    for window in windows:
        assert [slot.clip for slot in window.slots] == sorted(slot.clip for slot in window.slots)


@given(st.lists(st.integers(1_600, 300_000), min_size=1, max_size=60))
def test_one_window_less_would_not_do(lengths: list[int]) -> None:
    windows = pack(lengths, [None] * len(lengths), 0.6)
    used = [sum(_room(slot.length) for slot in window.slots) for window in windows]
    assert sum(used) > (len(windows) - 1) * (WINDOW_SAMPLES - max(lengths))


@given(st.lists(st.integers(1_600, 300_000), min_size=1, max_size=60))
def test_no_two_windows_could_have_been_one(lengths: list[int]) -> None:
    windows = pack(lengths, [None] * len(lengths), 0.6)
    used = [sum(_room(slot.length) for slot in window.slots) for window in windows]
    for i, one in enumerate(used):
        assert all(one + other > WINDOW_SAMPLES for other in used[i + 1 :])


def test_single_words_lie_among_sentences() -> None:
    sentences, words = [96_000] * 20, [12_000] * 20
    windows = pack(sentences + words, [None] * 40, 0.6)
    assert all(sum(slot.length == 12_000 for slot in window.slots) <= 6 for window in windows)


def test_fuller_than_filling_one_window_after_the_other() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        lengths = np.clip(rng.lognormal(10.7, 0.7, size=300), 4_800, WINDOW_SAMPLES).astype(int).tolist()  # 2.8 s
        used, next_fit = 0, 1
        for length in lengths:
            if used + length > WINDOW_SAMPLES:
                used, next_fit = 0, next_fit + 1
            used += _room(length)
        assert len(pack(lengths, [None] * len(lengths), 0.6)) < next_fit


def _room(length: int) -> int:
    """Samples that a clip takes with 0.6 s after it."""
    return -(-length // FRAME_SAMPLES) * FRAME_SAMPLES + 9_600


def test_a_gap_of_no_whole_frames_never_pushes_the_last_clip_out() -> None:
    # Laid in the order of the corpus, the short clip's rounding would cost more room than the long one's.
    windows = pack([221, 479_580], [None, None], 100 / 16_000)
    assert all(slot.start + slot.length <= WINDOW_SAMPLES for window in windows for slot in window.slots)


def test_unpacked_every_clip_is_alone() -> None:
    windows = pack([16_000, WINDOW_SAMPLES, 8_000], ["en", "en", "fr"], 0.6, packed=False)
    assert [(w.slots, w.language, w.solo) for w in windows] == [
        ((Slot(0, 0, 16_000),), "en", True),
        ((Slot(1, 0, WINDOW_SAMPLES),), "en", True),
        ((Slot(2, 0, 8_000),), "fr", True),
    ]


@pytest.mark.parametrize("packed", [True, False])
def test_a_clip_longer_than_a_window_is_an_error_that_names_it(packed: bool) -> None:
    with pytest.raises(ValueError, match=r"clip 1 has 480001 samples; a window holds 480000"):
        pack([1, WINDOW_SAMPLES + 1], [None, None], 0.6, packed=packed)


def test_assemble_lays_the_clips_in_their_places_and_zeros_between() -> None:
    clips = {3: np.arange(1, 1_001, dtype=np.int16), 8: np.full(500, -7, dtype=np.int16)}
    samples = assemble(Window((Slot(3, 0, 1_000), Slot(8, 1_600, 500)), None), clips)
    assert samples.shape == (WINDOW_SAMPLES,) and samples.dtype == np.int16
    assert np.array_equal(samples[:1_000], clips[3]) and np.array_equal(samples[1_600:2_100], clips[8])
    assert not samples[1_000:1_600].any() and not samples[2_100:].any()
