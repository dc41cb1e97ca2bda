"""Conditions: the signal-to-noise ratio is what was asked for, and every draw can be repeated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data import audio
from llaso_data.audio.surroundings import add_reverberation
from llaso_data.errors import LLaSOError
from llaso_model.evaluate import conditions
from tests.conftest import Clip


def spoken(clips: list[Clip], number: int = 0) -> conditions.Samples:
    pcm, _ = audio.decode(str(clips[number].path), None)
    return (pcm / audio.FULL_SCALE).astype(np.float32)


@pytest.mark.parametrize(
    "shape",
    [pytest.param(shape, marks=() if shape == "speech" else pytest.mark.slow) for shape in conditions.NOISE_SHAPES],
)
def test_the_ratio_is_exact_on_recorded_speech(clips: list[Clip], shape: conditions.NoiseShape) -> None:
    """Within 0.1 dB at every level and for every clip, with pauses before, within and after the speech."""
    for number in range(0, len(clips), 5):
        speech = np.concatenate([np.zeros(16000, np.float32), spoken(clips, number), np.zeros(24000, np.float32)])
        for condition in conditions.noise_sweep("-10:20:5", shape):
            level = float(condition.tag.removeprefix("snr:"))
            heard = condition.apply(speech, number)
            assert heard.dtype == np.float32 and len(heard) == len(speech) and np.abs(heard).max() <= 1
            made = conditions.shaped_noise(speech, shape, conditions.random_generator(0, number, condition.tag))
            parts = np.stack([speech.astype(np.float64), made], axis=1)
            (of_speech, of_noise), *_ = np.linalg.lstsq(parts, heard.astype(np.float64), rcond=None)
            assert conditions.snr_db(of_speech * speech, of_noise * made) == pytest.approx(level, abs=0.1)


@given(st.integers(0, 2**32), st.floats(-20, 40), st.integers(400, 6000))
def test_the_ratio_is_exact_on_any_signal(key: int, level: float, count: int) -> None:
    rng = np.random.default_rng(key)
    speech = (rng.standard_normal(count) * 0.001).astype(np.float32)
    heard = conditions.mix_at_snr(speech, rng.standard_normal(count), level)
    if np.abs(heard).max() < 1:
        assert conditions.snr_db(speech, heard.astype(np.float64) - speech) == pytest.approx(level, abs=0.1)


def test_pauses_do_not_count() -> None:
    tone = np.sin(np.arange(16000) / 5).astype(np.float32) * 0.3
    longer = np.concatenate([tone, np.zeros(64000, np.float32)])
    hiss = np.random.default_rng(0).standard_normal(len(longer))
    noise_alone = conditions.mix_at_snr(longer, hiss, 10)[16000:]
    assert 10 * math.log10(np.mean(tone**2) / np.mean(noise_alone**2)) == pytest.approx(10, abs=0.3)
    assert conditions.active_speech(longer).sum() == 16000


def test_draws_repeat_and_differ(clips: list[Clip]) -> None:
    speech = spoken(clips)
    five, again = (conditions.noise_sweep("5:5:1", "pink", seed=1)[0] for _ in range(2))
    assert np.array_equal(five.apply(speech, 3), again.apply(speech, 3))
    assert not np.array_equal(five.apply(speech, 3), five.apply(speech, 4))
    assert not np.array_equal(
        five.apply(speech, 3), conditions.noise_sweep("5:5:1", "pink", seed=2)[0].apply(speech, 3)
    )


def test_a_recorded_noise_is_repeated_where_it_is_short(clips: list[Clip]) -> None:
    speech, hum = spoken(clips), np.sin(np.arange(800) / 8).astype(np.float32)
    heard = conditions.noise_sweep("0:0:1", hum)[0].apply(speech, 0)
    assert len(heard) == len(speech)
    with pytest.raises(LLaSOError, match="silent"):
        conditions.mix_at_snr(speech, np.zeros(len(speech)), 0)


def test_silence_stays() -> None:
    silence = np.zeros(1000, np.float32)
    assert np.array_equal(conditions.mix_at_snr(silence, np.ones(1000), 5), silence)
    assert len(conditions.mix_at_snr(silence[:0], np.ones(0), 5)) == 0


def test_levels_of_a_sweep() -> None:
    assert conditions.sweep_levels("-10:20:5") == [-10, -5, 0, 5, 10, 15, 20]
    assert conditions.sweep_levels("0:1:0.25") == [0, 0.25, 0.5, 0.75, 1]
    assert conditions.sweep_levels("3,-3") == [3, -3]
    for wrong in ("", "5:1:1", "0:10:0", "0:10", "a", "0:1e9:1", "nan"):
        with pytest.raises(LLaSOError, match="lowest:highest:step"):
            conditions.sweep_levels(wrong)


def test_speed_room_and_band(clips: list[Clip]) -> None:
    speech = spoken(clips)
    made = {one.tag: one.apply(speech, 0) for one in conditions.variants()}
    assert set(made) == {"speed:0.8", "speed:1.25", "reverberation:0.4", "reverberation:0.9", "band:300-3400"}
    assert len(made["speed:1.25"]) == pytest.approx(len(speech) / 1.25, abs=2)
    for tag in ("reverberation:0.4", "reverberation:0.9", "band:300-3400"):
        assert len(made[tag]) == len(speech) and np.abs(made[tag]).max() <= 1.01
    frequencies = np.fft.rfftfreq(len(speech), 1 / 16000)
    spectrum = np.abs(np.fft.rfft(made["band:300-3400"])) ** 2
    assert spectrum[(frequencies < 150) | (frequencies > 5000)].sum() < 1e-3 * spectrum.sum()
    with pytest.raises(LLaSOError, match="in order"):
        conditions.band_pass(speech, 3400, 300)


def test_a_room_decays_by_60_db_in_its_time() -> None:
    click = np.zeros(16000, np.float32)
    click[0] = 1
    heard = add_reverberation(click, 0.5, np.random.default_rng(0)).astype(np.float64)
    energy = np.cumsum(heard[1:][::-1] ** 2)[::-1]  # Schroeder's backward integration
    level = 10 * np.log10(energy / energy[0] + 1e-12)
    time_s = np.argmax(level < -30) / 16000
    assert time_s == pytest.approx(0.25, abs=0.03)
