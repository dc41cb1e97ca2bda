"""Noise at an exact ratio to active speech. Samples are float32, mono, 16 kHz; equal draws give equal sound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from llaso_data.audio.mixing import SAMPLE_RATE_HZ
from llaso_data.errors import LLaSOError

Samples = npt.NDArray[np.float32]
NoiseShape = Literal["white", "pink", "speech"]
NOISE_SHAPES: tuple[NoiseShape, ...] = ("white", "pink", "speech")

FRAME_SAMPLES = SAMPLE_RATE_HZ // 50  # 20 ms
ACTIVE_DB = 30.0  # frames this far below the loudest are pauses


def active_speech(samples: Samples) -> npt.NDArray[np.bool_]:
    """Which samples are active speech: those of 20 ms frames within 30 dB of the loudest frame.

    Pauses are left out, so that a recording with long pauses gets noise as loud as one without. The idea is that of
    ITU-T P.56, with a fixed threshold.

    Args:
        samples: float32 at 16 kHz, (n,).

    Returns:
        bool, (n,). Nothing of silence is active.
    """
    if not len(samples):
        return np.zeros(0, bool)
    frames = -(-len(samples) // FRAME_SAMPLES)
    padded = np.zeros(frames * FRAME_SAMPLES)
    padded[: len(samples)] = samples
    power = np.mean(padded.reshape(frames, FRAME_SAMPLES) ** 2, axis=1)
    loud = (power > 0) & (power >= power.max() * 10 ** (-ACTIVE_DB / 10))
    return np.repeat(loud, FRAME_SAMPLES)[: len(samples)]


def snr_db(speech: Samples, noise: npt.NDArray[np.floating]) -> float:
    """Signal-to-noise ratio over active speech.

    Returns:
        Power of the speech over power of the noise in dB; NaN where either is silent.
    """
    is_active = active_speech(speech)
    if not is_active.any():
        return math.nan
    speech_power = float(np.mean(speech[is_active].astype(np.float64) ** 2))
    noise_power = float(np.mean(np.asarray(noise, np.float64)[is_active] ** 2))
    return 10 * math.log10(speech_power / noise_power) if speech_power and noise_power else math.nan


def mix_at_snr(speech: Samples, noise: npt.NDArray[np.floating], level_db: float) -> Samples:
    """Adds noise to speech at a given signal-to-noise ratio over active speech (:func:`snr_db`).

    Args:
        speech: float32 at 16 kHz, (n,).
        noise: As long as the speech.
        level_db: The ratio in dB.

    Returns:
        The mixture, (n,). A mixture that would clip is made softer as a whole, which leaves the ratio as it is. Silent
        speech is returned unchanged.

    Raises:
        LLaSOError: The noise is silent where the speech is active.
    """
    is_active = active_speech(speech)
    if not is_active.any():
        return speech
    speech_power = float(np.mean(speech[is_active].astype(np.float64) ** 2))
    noise_power = float(np.mean(np.asarray(noise, np.float64)[is_active] ** 2))
    if noise_power == 0:
        raise LLaSOError("the noise is silent where the speech is not; use another recording")
    mixture = speech + np.sqrt(speech_power / noise_power / 10 ** (level_db / 10)) * np.asarray(noise, np.float64)
    return np.asarray(mixture / max(1.0, float(np.abs(mixture).max())), np.float32)


def shaped_noise(speech: Samples, shape: NoiseShape, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Stationary noise as long as the speech.

    Args:
        speech: float32 at 16 kHz, (n,).
        shape: ``white``; ``pink``, whose power falls as 1/f; or ``speech``, with the speech's own long-term
            spectrum, which masks it most evenly.
        rng: The random numbers.

    Returns:
        float64, (n,).

    Raises:
        LLaSOError: There is no such shape.
    """
    count = len(speech)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    if shape == "pink":
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
        spectrum[0] = 0
    elif shape == "speech":
        size = 512
        padded = np.zeros(max(count, size))
        padded[:count] = speech
        frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2] * np.hanning(size)
        mean = np.sqrt(np.mean(np.abs(np.fft.rfft(frames, axis=1)) ** 2, axis=0)) + 1e-12
        bins = np.linspace(0, 1, len(spectrum))
        spectrum *= np.interp(bins, np.linspace(0, 1, len(mean)), mean)
    elif shape != "white":
        raise LLaSOError(f"noise {shape!r} is none of {', '.join(NOISE_SHAPES)}")
    return np.asarray(np.fft.irfft(spectrum, count))


def noise_excerpt(noise: Samples, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """``count`` samples of a recording from a random offset. A shorter recording is repeated.

    Raises:
        LLaSOError: The recording is empty.
    """
    if not len(noise):
        raise LLaSOError("the noise has no samples")
    start = int(rng.integers(len(noise)))
    indices = (start + np.arange(count)) % len(noise)
    return np.asarray(noise[indices], np.float64)


def babble(voices: Sequence[Samples], count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Voices that talk at once, each from a random offset and equally loud in its active parts.

    Args:
        voices: Recordings of speech; shorter ones are repeated, silent ones left out.
        count: Samples of the noise.
        rng: The random numbers.

    Raises:
        LLaSOError: None of them is anything but silent.
    """
    mixed = np.zeros(count)
    for voice in voices:
        is_active = active_speech(voice)
        if is_active.any():
            level = np.sqrt(np.mean(voice[is_active].astype(np.float64) ** 2))
            mixed += noise_excerpt(voice, count, rng) / level
    if not mixed.any():
        raise LLaSOError("no voice for babble is anything but silent")
    return mixed
