"""Levels of frames are librosa's, bit for bit, without its imports, which take longer than a short run's audio."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from llaso_data.align.attention import levels_db
from tests.conftest import Clip
from tests.support.asr_fixtures import pcm


@pytest.mark.parametrize(("hop", "width"), [(320, 320), (160, 320), (80, 400)])
def test_levels_are_those_of_librosa(clips: list[Clip], hop: int, width: int) -> None:
    for samples in (part for clip in clips[::5] for part in (pcm(clip.path), pcm(clip.path)[:321], pcm(clip.path)[:0])):
        count = len(samples) // hop + 3
        scaled = samples.astype(np.float64) / 32768.0
        rms = librosa.feature.rms(y=scaled, frame_length=width, hop_length=hop, pad_mode="constant", dtype=np.float64)
        wanted = 10.0 * np.log10(np.pad(rms[0][:count] ** 2, (0, max(0, count - rms.shape[1]))) + 1e-10)
        assert np.array_equal(levels_db(samples, count, hop, width), wanted)
