"""Voice, speed, loudness, room and noise are functions of a key, and stay in the ranges that were said."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from llaso_data.audio.encoding import level
from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices.variation import Variation, draw_line, surrounded

PCM = (6000 * np.sin(np.arange(16_000) / 7) * np.hanning(16_000)).astype(np.int16)


def test_lines_are_drawn_evenly_and_again_the_same() -> None:
    lines = [draw_line("Hi.", "en", ["a", "b"], Variation(), 1, f"row {number}") for number in range(2000)]
    assert lines[:9] == [draw_line("Hi.", "en", ["a", "b"], Variation(), 1, f"row {number}") for number in range(9)]
    assert 900 < Counter(line.voice for line in lines)["a"] < 1100
    speeds = {line.speed for line in lines}
    assert min(speeds) == 0.8 and max(speeds) == 1.2 and len(speeds) == 41
    assert len({line.seed for line in lines}) == 2000


def test_loudness_room_and_noise_are_those_that_were_said() -> None:
    plain = [surrounded(PCM, Variation(), 1, number) for number in range(40)]
    levels = [level(pcm)[0] for pcm in plain]
    assert -30.1 < min(levels) < -28 and -20 < max(levels) < -17.9
    assert np.array_equal(plain[3], surrounded(PCM, Variation(), 1, 3)) and len(plain[0]) == len(PCM)
    steady = {"loudness_dbfs": (-20.0, -20.0)}
    half = [surrounded(PCM, Variation(**steady, room_share=0.5), 1, number) for number in range(40)]
    dry = surrounded(PCM, Variation(**steady), 1)
    assert 10 < sum(np.array_equal(pcm, dry) for pcm in half) < 30
    noised = surrounded(PCM, Variation(**steady, noise_share=1, noise_snr_db=(10, 10)), 1).astype(np.float64)
    rest = noised - dry * (noised @ dry) / (dry.astype(np.float64) @ dry)
    assert 10 * np.log10(np.mean(noised**2) / np.mean(rest**2)) == pytest.approx(10, abs=1)
    assert level(surrounded(PCM, Variation(loudness_dbfs=(0, 0)), 1))[1] < 0.001  # as loud as it can be
    assert not surrounded(np.zeros(9, np.int16), Variation(noise_share=1, room_share=1), 1).any()


def test_ranges_that_make_no_sense_are_told() -> None:
    with pytest.raises(LLaSOError, match=r"voices.speed: a range within 0.8 to 1.2, lowest first, not \(1.2, 0.8\)"):
        Variation(speed=(1.2, 0.8))
    with pytest.raises(LLaSOError, match=r"voices.noise_share: a share from 0 to 1 is expected, not 2"):
        Variation(noise_share=2)
