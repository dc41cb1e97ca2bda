"""What surrounds speech, and how fast it is: noise, a room, speed. Samples are float32, mono, 16 kHz."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from llaso_data.audio.mixing import SAMPLE_RATE_HZ

Samples = npt.NDArray[np.float32]

_SLOPE = 0.5  # of noise: amplitude falls with the root of the frequency, as pink noise's does


def noisy(sound: Samples, snr_db: float, rng: np.random.Generator) -> Samples:
    """Adds pink noise to a sound; silence stays as it is.

    Args:
        sound: (T,) float32 at 16 kHz.
        snr_db: Signal-to-noise ratio in dB of mean powers over the whole sound.
        rng: Draws the noise.

    Returns:
        (T,) float32, clipped to -1 to 1.
    """
    power = float(np.mean(sound.astype(np.float64) ** 2)) if len(sound) else 0.0
    if not power:
        return sound
    spectrum = np.fft.rfft(rng.standard_normal(len(sound)))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** _SLOPE
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, len(sound))
    scale = np.sqrt(power / 10 ** (snr_db / 10) / max(float(np.mean(noise**2)), 1e-30))
    mixed: Samples = np.clip(sound + scale * noise, -1, 1).astype(np.float32)
    return mixed


def faster(sound: Samples, speed: float) -> Samples:
    """Plays a sound faster, pitch and all.

    Args:
        sound: (T,) float32 at 16 kHz.
        speed: How many times faster.

    Returns:
        (about T / speed,) float32 at 16 kHz.
    """
    if speed == 1.0 or not len(sound):
        return sound
    import soxr

    resampled: Samples = soxr.resample(sound, SAMPLE_RATE_HZ * speed, SAMPLE_RATE_HZ, quality="HQ")
    return resampled


def add_reverberation(samples: Samples, time_s: float, rng: np.random.Generator) -> Samples:
    """Convolves samples with exponentially decaying noise, Polack's model of a room.

    Args:
        samples: float32 at 16 kHz, (n,).
        time_s: Reverberation time (T60) in seconds.
        rng: The random numbers of the tail.

    Returns:
        float32, (n,), as loud as the input. The direct sound keeps its place, with the power of the whole tail.
    """
    from scipy.signal import fftconvolve

    if not len(samples) or time_s <= 0:
        return samples
    count = max(2, round(time_s * SAMPLE_RATE_HZ))
    decay = np.exp(-3 * math.log(10) * np.arange(count) / count)  # 60 dB after T60
    tail = rng.standard_normal(count) * decay
    tail[0] = 0
    tail /= np.sqrt(np.sum(tail**2))
    tail[0] = 1
    wet = fftconvolve(samples.astype(np.float64), tail)[: len(samples)]
    loudness = np.sqrt(np.mean(samples.astype(np.float64) ** 2) / max(float(np.mean(wet**2)), 1e-30))
    wet *= loudness
    return np.asarray(wet / max(1.0, float(np.abs(wet).max())), np.float32)
