"""The likelihood ratio: zero where text and hypothesis say the same, far below it where the text is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from llaso_data.align.likelihood import log_likelihood_ratios
from llaso_data.whisper.clips import Clip
from llaso_data.whisper.load import Whisper
from tests import conftest
from tests.llaso_data.align.test_backward import forced_clip
from tests.support.asr_fixtures import named, pcm, whisper

HEARD = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module")
def fox(tiny_en: Path, clips: list[conftest.Clip]) -> tuple[Whisper, Clip]:
    (clip,) = named(clips, "en/quick_brown_fox")
    return whisper(tiny_en), forced_clip(whisper(tiny_en), pcm(clip.path), clip.text)


def test_the_same_words_have_no_ratio_to_speak_of(fox: tuple[Whisper, Clip]) -> None:
    model, clip = fox
    texts = [HEARD, "the quick brown fox jumps over the lazy dog", "THE QUICK, BROWN FOX - JUMPS OVER THE LAZY DOG!"]
    assert (
        log_likelihood_ratios(model.decoder, [dataclasses.replace(clip, text=t) for t in texts], [HEARD] * 3)
        == [0.0] * 3
    )


@pytest.mark.parametrize(
    "wrong",
    [
        "The quick brown fox jumps over the crazy dog.",
        "The quick fox jumps over the lazy dog.",
        "The quick brown fox jumps right over the lazy dog.",
        "The quick brown jumps fox over the lazy dog.",
        "brown fox jumps over the lazy dog.",
        "The quick brown fox jumps over",
        "Hello.",
    ],
)
def test_a_wrong_text_is_far_less_likely_than_what_was_heard(fox: tuple[Whisper, Clip], wrong: str) -> None:
    model, clip = fox
    (ratio,) = log_likelihood_ratios(model.decoder, [dataclasses.replace(clip, text=wrong)], [HEARD])
    assert ratio is not None and ratio < -5.0


def test_a_wrong_hypothesis_speaks_for_the_text(fox: tuple[Whisper, Clip]) -> None:
    model, clip = fox
    (ratio,) = log_likelihood_ratios(model.decoder, [clip], ["The quick brown fox jumps over the crazy dog."])
    assert ratio is not None and ratio > 2.0


def test_one_difference_makes_up_for_no_other(fox: tuple[Whisper, Clip]) -> None:
    model, clip = fox
    one = dataclasses.replace(clip, text="The quick brown fox jumps over the crazy dog.")
    alone, both = log_likelihood_ratios(
        model.decoder, [one, one], [HEARD, "The slow brown fox jumps over the lazy dog."]
    )
    assert alone is not None and both is not None and both < -3.0


def test_nothing_to_compare_with_is_null(fox: tuple[Whisper, Clip]) -> None:
    model, clip = fox
    blank, endless = dataclasses.replace(clip, text=" "), dataclasses.replace(clip, text="word " * 500)
    assert log_likelihood_ratios(model.decoder, [clip, blank, endless], [None, HEARD, HEARD]) == [None, None, None]
    (silent,) = log_likelihood_ratios(model.decoder, [clip], [""])
    assert silent is not None and silent > 0.0


def test_clips_come_back_in_their_order(fox: tuple[Whisper, Clip]) -> None:
    model, clip = fox
    texts = ["Hello.", HEARD, "The quick brown fox jumps over the crazy dog."]
    together = log_likelihood_ratios(model.decoder, [dataclasses.replace(clip, text=t) for t in texts], [HEARD] * 3)
    alone = [log_likelihood_ratios(model.decoder, [dataclasses.replace(clip, text=t)], [HEARD])[0] for t in texts]
    assert together == pytest.approx(alone, abs=1e-3)
