"""Word times where the truth is known to the sample: recordings of single words, joined with known gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llaso_data.demo import assets
from llaso_data.demo.exact import errors_ms, joined_words
from llaso_data.pipeline.transcription import transcriber
from llaso_data.recipe import Align, Asr
from llaso_data.text import word_spans
from tests.conftest import obtained
from tests.support.asr_fixtures import whisper

pytestmark = pytest.mark.slow  # the prompts come from Debian


@pytest.fixture(scope="module")
def prompts() -> Path:
    return obtained(assets.prompts)


def test_the_truth_is_what_was_joined(prompts: Path) -> None:
    for truth in joined_words(3):
        assert len(truth.edges) == len(word_spans(truth.text, "en"))
        level = np.abs(truth.pcm.astype(float))
        edges = [(round(a * 16000), round(b * 16000)) for a, b in truth.edges if a is not None and b is not None]
        assert len(edges) == len(truth.edges)
        silence = np.ones(len(level), bool)
        for first, last in edges:
            silence[first:last] = False
            assert level[first:last].max() > 20 * np.median(level[silence])


def test_word_times_are_near_the_truth(prompts: Path, tiny_en: Path) -> None:
    errors = errors_ms(transcriber(whisper(tiny_en), Asr(), Align()), joined_words(8))
    assert len(errors) == 84
    assert errors.mean() <= 50 and (errors <= 100).mean() >= 0.95


def test_a_text_without_times_is_all_wrong(prompts: Path, tiny_en: Path) -> None:
    (truth,) = joined_words(1)
    nowhere = type(truth)(truth.text, truth.language, np.zeros(1600, np.int16), truth.edges)
    assert errors_ms(transcriber(whisper(tiny_en), Asr(), Align()), [nowhere]).min() > 50
