"""The backward direction: the right text scores best, and all of its words get times inside the audio."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llaso_data.align.backward import in_whisper_style, score_backward, word_logprobs
from llaso_data.recipe import Align
from llaso_data.text import letters
from llaso_data.whisper.clips import BackwardScores, Clip
from llaso_data.whisper.load import Whisper
from tests import conftest
from tests.support.asr_fixtures import named, own_frames, pcm, states, whisper


def forced_clip(model: Whisper, samples: NDArray[np.int16], text: str, language: str = "en") -> Clip:
    (whole,) = states(model, [samples])
    return Clip(samples, whole[: own_frames(samples)], whole, text, language)


def only(model: Whisper, clip: Clip, text: str, settings: Align | None = None) -> BackwardScores:
    (found,) = score_backward(model.decoder, [dataclasses.replace(clip, text=text)], settings or Align())
    return found


@pytest.fixture(scope="module")
def fox(tiny_en: Path, clips: list[conftest.Clip]) -> tuple[Whisper, Clip]:
    (clip,) = named(clips, "en/quick_brown_fox")
    return whisper(tiny_en), forced_clip(whisper(tiny_en), pcm(clip.path), clip.text)


@pytest.fixture(scope="module")
def right(fox: tuple[Whisper, Clip]) -> BackwardScores:
    """What the fox's own text gets."""
    return only(*fox, fox[1].text)


def assert_words_lie_in(found: BackwardScores, clip: Clip, between: str = " ") -> None:
    assert between.join(word.text for word in found.words) == clip.text
    duration_s = len(clip.pcm) / 16_000
    for word in found.words:
        assert 0.0 <= word.start_s < word.end_s <= duration_s
        assert word.logprob is not None and word.logprob < 0.0
    for before, after in pairwise(found.words):
        assert before.end_s <= after.start_s + 1e-9


@pytest.mark.parametrize(
    "wrong",
    [
        "The quick brown fox jumps over the crazy dog.",
        pytest.param("The quick green fox jumps over the lazy dog.", marks=pytest.mark.slow),
        "The quick brown fox over the lazy dog.",
        pytest.param("The quick brown fox jumps over the very lazy dog.", marks=pytest.mark.slow),
    ],
)
def test_one_wrong_word_lowers_the_least_likely_word(
    fox: tuple[Whisper, Clip], right: BackwardScores, wrong: str
) -> None:
    other = only(*fox, wrong)
    assert right.min_word_logprob is not None and other.min_word_logprob is not None
    assert right.mean_word_logprob is not None and other.mean_word_logprob is not None
    assert right.min_word_logprob > -1.5 > -4.0 > other.min_word_logprob
    assert right.mean_word_logprob > other.mean_word_logprob


@pytest.mark.parametrize(
    "cut",
    ["The quick brown fox jumps over the", pytest.param("The quick brown fox", marks=pytest.mark.slow), "The"],
)
def test_a_cut_text_lowers_its_end(fox: tuple[Whisper, Clip], right: BackwardScores, cut: str) -> None:
    other = only(*fox, cut)
    assert right.eot_logprob is not None and other.eot_logprob is not None
    assert right.eot_logprob > -1.0 > -4.0 > other.eot_logprob


def test_a_missing_full_stop_costs_nothing(fox: tuple[Whisper, Clip], right: BackwardScores) -> None:
    model, clip = fox
    assert only(model, clip, clip.text.rstrip(".")).eot_logprob == pytest.approx(right.eot_logprob, abs=0.5)


@pytest.mark.parametrize(
    "closed", ['{}"', *(pytest.param(text, marks=pytest.mark.slow) for text in ("{})", "{},", "{}”")), "{} —"]
)
def test_what_stands_after_the_last_word_costs_nothing(fox: tuple[Whisper, Clip], closed: str) -> None:
    model, clip = fox
    found = only(model, clip, closed.format(clip.text.rstrip(".")))
    assert found.eot_logprob is not None and found.eot_logprob > -1.0
    assert found.min_word_logprob is not None and found.min_word_logprob > -1.5
    assert " ".join(word.text for word in found.words) == closed.format(clip.text.rstrip("."))


@pytest.mark.parametrize(
    "name",
    ["zh/nihao_shijie", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ja/konnichiwa_sekai", "hi/ginti"))],
)
def test_a_missing_full_stop_costs_nothing_in_scripts_with_their_own(
    whisper_base: Path, clips: list[conftest.Clip], name: str
) -> None:
    model, (clip,) = whisper(whisper_base), named(clips, name)
    text = clip.text.rstrip(".。।")
    one = forced_clip(model, pcm(clip.path), text, clip.language)
    whole, cut = only(model, one, text), only(model, one, text[:-2].strip())
    assert whole.eot_logprob is not None and cut.eot_logprob is not None
    assert whole.eot_logprob > -1.0 > -5.0 > cut.eot_logprob


@pytest.mark.parametrize(
    ("signed", "place"),
    [
        ("The quick brown fox jumps over the lazy dog [.]", -1),
        ("§ The quick brown fox jumps over the lazy dog.", 0),
    ],
)
def test_a_sign_that_is_no_word_is_never_the_least_likely_word(
    fox: tuple[Whisper, Clip], signed: str, place: int
) -> None:
    found = only(*fox, signed)
    sign = found.words[place]
    assert not letters(sign.text) and (sign.logprob or 0.0) < -5.0
    assert (found.min_word_logprob or -99.0) > -4.0
    assert (only(*fox, "~ [.]").min_word_logprob or 0.0) < -5.0  # where there is no word, they count


def test_letter_case_costs_nothing(fox: tuple[Whisper, Clip], right: BackwardScores) -> None:
    model, clip = fox
    for text in (clip.text.upper(), clip.text.lower()):
        found = only(model, clip, text)
        assert found.min_word_logprob == pytest.approx(right.min_word_logprob, abs=1e-4)
        assert " ".join(word.text for word in found.words) == text  # the words stay as they were given


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("en/counting", "en/quick_brown_fox", "hi/pangrama")),
        "ja/konnichiwa_sekai",
    ],
)
def test_words_are_the_texts_and_lie_in_order_inside_the_clip(
    whisper_base: Path, clips: list[conftest.Clip], name: str
) -> None:
    model, (clip,) = whisper(whisper_base), named(clips, name)
    one = forced_clip(model, pcm(clip.path), clip.text, clip.language)
    assert_words_lie_in(only(model, one, clip.text), one, "" if clip.language == "ja" else " ")


def test_silence_before_the_speech_belongs_to_no_word(tiny_en: Path, clips: list[conftest.Clip]) -> None:
    model, (clip,) = whisper(tiny_en), named(clips, "en/quick_brown_fox")
    samples = np.concatenate([np.zeros(32_000, dtype=np.int16), pcm(clip.path)])
    words = only(model, forced_clip(model, samples, clip.text), clip.text).words
    assert words[0].start_s == pytest.approx(2.0, abs=0.25)


def test_silence_between_and_around_belongs_to_no_word(tiny_en: Path, clips: list[conftest.Clip]) -> None:
    model, chosen = whisper(tiny_en), named(clips, "en/quick_brown_fox", "en/hello_world")
    sounds = [spoken(clip) for clip in chosen]
    noise = np.random.default_rng(0).normal(0, 10, 16_000).astype(np.int16)
    samples = np.concatenate([noise[:12_000], sounds[0], noise[:11_200], sounds[1], noise])
    text = " ".join(clip.text for clip in chosen)
    words = only(model, forced_clip(model, samples, text), text).words
    first_s, pause_s = 0.75, 0.75 + len(sounds[0]) / 16_000
    second_s = pause_s + 0.7
    before, after = words[len(chosen[0].text.split()) - 1], words[len(chosen[0].text.split())]
    assert words[0].start_s == pytest.approx(first_s, abs=0.05)
    assert before.end_s == pytest.approx(pause_s, abs=0.05)
    assert after.start_s == pytest.approx(second_s, abs=0.05)
    assert words[-1].end_s == pytest.approx(second_s + len(sounds[1]) / 16_000, abs=0.05)


def test_digits_and_symbols_have_the_place_of_the_words_they_stand_for(
    tiny_en: Path, clips: list[conftest.Clip]
) -> None:
    model, (clip,) = whisper(tiny_en), named(clips, "en/counting")
    one = forced_clip(model, pcm(clip.path), clip.text)
    spelled = only(model, one, clip.text).words
    for text in ("1 2 3 4 5 6 7 8 9 10.", "1 2 3 4 — 5 6 7 8 9 10"):
        found = only(model, one, text).words
        words = [word for word in found if word.text != "—"]
        assert len(words) == len(spelled)
        assert max(abs(a.start_s - b.start_s) for a, b in zip(words, spelled, strict=True)) < 0.15
    (dash,) = [word for word in found if word.text == "—"]
    assert dash.start_s == dash.end_s


def test_a_text_that_parts_its_words_gets_these_words(whisper_base: Path, clips: list[conftest.Clip]) -> None:
    model, (clip,) = whisper(whisper_base), named(clips, "zh/nihao_shijie")
    one = forced_clip(model, pcm(clip.path), clip.text, clip.language)
    characters = only(model, one, clip.text).words
    assert [word.text for word in characters] == ["你", "好", "世", "界。"]
    words = only(model, one, "你好 世界。").words
    assert [word.text for word in words] == ["你好", "世界。"]
    assert words[1].start_s == pytest.approx(characters[2].start_s, abs=0.15)


def test_both_aligners_give_the_same_words(fox: tuple[Whisper, Clip], right: BackwardScores) -> None:
    model, clip = fox
    assert only(model, clip, clip.text, Align(dtw="dtw-python")) == right


def test_clips_come_back_in_their_order(fox: tuple[Whisper, Clip]) -> None:
    model, clip = fox
    texts = ["The quick brown fox jumps over the lazy dog.", "", "dog", "The quick brown fox"]
    found = score_backward(model.decoder, [dataclasses.replace(clip, text=text) for text in texts], Align())
    assert [" ".join(word.text for word in one.words) for one in found] == texts
    assert found[1] == BackwardScores((), None, None, None)


def spoken(clip: conftest.Clip) -> NDArray[np.int16]:
    """A clip without the silence around its speech."""
    samples = pcm(clip.path)
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > 300)
    return samples[loud[0] : loud[-1]]


@pytest.mark.slow
def test_a_text_of_more_characters_than_positions_gives_every_word_its_time(
    whisper_base: Path, clips: list[conftest.Clip]
) -> None:
    chosen = [clip for clip in clips if clip.language in ("en", "es", "fr", "it", "pt") and len(clip.text) > 40]
    parts = [spoken(clip) for clip in chosen]
    text = " ".join(clip.text for clip in chosen)
    model = whisper(whisper_base)
    assert len(model.vocabulary.character_tokens(text)[0]) > 448
    clip = forced_clip(model, np.concatenate(parts), text)
    found = only(model, clip, text)
    assert_words_lie_in(found, clip)
    borders = np.cumsum([0, *(len(part) for part in parts)]) / 16_000
    owners = [n for n, one in enumerate(chosen) for _ in one.text.split()]
    middles = [(word.start_s + word.end_s) / 2 for word in found.words]
    inside = [borders[n] <= t < borders[n + 1] for n, t in zip(owners, middles, strict=True)]
    assert np.mean(inside) > 0.9  # though the model was told that all of it is English


def test_a_word_longer_than_whispers_positions_gives_no_words(fox: tuple[Whisper, Clip]) -> None:
    model, clip = fox
    long = dataclasses.replace(clip, states=clip.context)
    found = only(model, long, "aaaa" * 120)
    assert found.words == () and found.min_word_logprob is not None


@pytest.mark.slow
def test_a_long_text_of_several_tokens_per_character(whisper_base: Path, clips: list[conftest.Clip]) -> None:
    chosen = [*named(clips, "hi/pangrama") * 6, *named(clips, "hi/ginti")]
    samples, text = np.concatenate([spoken(clip) for clip in chosen]), " ".join(clip.text for clip in chosen)
    model = whisper(whisper_base)
    assert len(model.vocabulary.character_tokens(text)[0]) > 440
    clip = forced_clip(model, samples, text, "hi")
    assert_words_lie_in(only(model, clip, text), clip)


def test_a_text_of_more_characters_than_frames_has_scores_and_no_words(fox: tuple[Whisper, Clip]) -> None:
    model, clip = fox
    short = Clip(clip.pcm[:6_400], clip.states[:20], clip.context, clip.text, "en")
    found = only(model, short, clip.text)
    assert found.words == () and found.min_word_logprob is not None and found.eot_logprob is not None


@pytest.mark.parametrize("samples", [1, 320])
def test_a_clip_of_fewer_frames_than_sounds(fox: tuple[Whisper, Clip], samples: int) -> None:
    model, clip = fox
    short = Clip(clip.pcm[:samples], clip.states[: -(-samples // 320)], clip.context, "Oh.", "en")
    assert only(model, short, "Oh.").words == ()


def test_a_text_that_passes_whispers_positions_has_neither(fox: tuple[Whisper, Clip]) -> None:
    model, clip = fox
    assert only(model, clip, "word " * 500) == BackwardScores((), None, None, None)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("HELLO WORLD", "Hello world"),
        ("hello world", "Hello world"),
        ("Hello World", "Hello World"),
        ("¿QUÉ TAL?", "¿Qué tal?"),
        ("ПРИВЕТ МИР", "Привет мир"),
        ("İSTANBUL", "İSTANBUL"),  # lowering would add a character
        ("ß", "ß"),
        ("你好世界", "你好世界"),
        ("नमस्ते", "नमस्ते"),
        ("42", "42"),
        ("", ""),
    ],
)
def test_a_text_in_one_case_is_written_in_whisper_style(text: str, written: str) -> None:
    assert in_whisper_style(text) == written


def test_a_word_without_a_token_of_its_own_shares_that_of_the_word_it_is_in() -> None:
    # One token for two words, as in Chinese, then one for the third: [ab][c]
    logprobs = np.array([-1.0, -3.0], dtype=np.float32)
    assert word_logprobs(logprobs, [1, 2], [(0, 1), (1, 2), (2, 3)]) == [-1.0, -1.0, -3.0]
    assert word_logprobs(np.zeros(0, dtype=np.float32), [], []) == []
