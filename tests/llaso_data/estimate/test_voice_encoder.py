"""Clips of one voice are alike, those of two are not; ``bench/diarisation.py`` has many voices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llaso_data import audio
from llaso_data.estimate.voice_encoder import SIZE, speaker_embedding, weights_file, window_embeddings
from tests.conftest import Clip


@pytest.fixture(scope="module", autouse=True)
def installed() -> Path:
    pytest.importorskip("resemblyzer.hparams", reason="the extra [speakers] is not installed")
    return weights_file()


def test_clips_of_one_voice_are_more_alike_than_those_of_two(clips: list[Clip]) -> None:
    pcm = {
        code: np.concatenate([audio.decode(str(c.path))[0] for c in clips if c.language == code])
        for code in ("en", "fr", "ja")
    }
    halves = {code: (one[: len(one) // 2], one[len(one) // 2 :]) for code, one in pcm.items()}
    voices = {code: [speaker_embedding(half) for half in pair] for code, pair in halves.items()}
    for code, (first, second) in voices.items():
        assert first is not None and second is not None
        assert first.shape == (SIZE,) and first.dtype == np.float32 and np.linalg.norm(first) == pytest.approx(1)
        others = [float(first @ other[1]) for name, other in voices.items() if name != code and other[1] is not None]
        assert float(first @ second) > max(others) + 0.1, code


def test_the_same_clip_gives_the_same_vector_at_any_level_and_whatever_threads_torch_has(clips: list[Clip]) -> None:
    import torch

    pcm, _ = audio.decode(str(clips[0].path))
    first = speaker_embedding(pcm)
    torch.set_num_threads(2)
    again = speaker_embedding(pcm)
    assert first is not None and again is not None and first.tobytes() == again.tobytes()
    assert torch.get_num_threads() == 2
    quieter = speaker_embedding(pcm // 8)
    assert quieter is not None and float(first @ quieter) > 0.95


def test_silence_has_no_voice_and_a_short_clip_has_one() -> None:
    assert speaker_embedding(np.zeros(16_000, np.int16)) is None
    assert speaker_embedding(np.zeros(0, np.int16)) is None
    tone = (8000 * np.sin(np.arange(200) / 5)).astype(np.int16)
    assert speaker_embedding(tone) is not None
    assert window_embeddings([]).shape == (0, SIZE)
