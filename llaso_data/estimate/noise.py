"""The signal-to-noise ratio of a recording of speech.

The noise of each frequency band is what is left in its quietest moments (minimum statistics: Martin, IEEE Transactions
on Speech and Audio Processing 9(5), 2001). So noise counts that is there all the time; a door that slams does not.
``bench/quality.py`` prints the error on noise that was added.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from llaso_data.audio import FULL_SCALE, SAMPLE_RATE_HZ, Pcm

HIGHEST_DB, LOWEST_DB = 60.0, -20.0
LEAST = SAMPLE_RATE_HZ // 2  # a shorter clip has too few quiet moments

_WINDOW, _HOP, _FFT = 400, 160, 512
_SMOOTH = 3  # frames that are averaged
_QUIET_PERCENT = 5
_EDGES_HZ = (60, 150, 250, 350, 450, 570, 700, 840, 1000, 1170, 1370, 1600, 1850, 2150, 2500, 2900, 3400, 4000, 4800,
             5800, 7000, 8000)  # fmt: skip  # critical bands

Floats = npt.NDArray[np.float64]


def snr_db(pcm: Pcm) -> float | None:
    """The power of the speech over that of the noise, both as means over the whole clip, above 60 Hz.

    Args:
        pcm: (T,) int16 at 16 kHz mono.

    Returns:
        dB, from -20 to 60: more than 60 is not told apart. None for less than 0.5 s, and for silence.
    """
    if len(pcm) < LEAST or not pcm.any():
        return None
    power = _band_power(pcm.astype(np.float64) / FULL_SCALE)
    total = power.mean(axis=0)
    noise = np.minimum(np.percentile(power, _QUIET_PERCENT, axis=0) * _quiet_factors(), total)
    floor = 1e-14  # far below what 16 bits can say
    ratio = max(float(total.sum() - noise.sum()), floor) / max(float(noise.sum()), floor)
    return min(max(10 * math.log10(ratio), LOWEST_DB), HIGHEST_DB)


def _band_power(samples: Floats) -> Floats:
    """Power by frame of 25 ms and critical band, averaged over three frames: (frames, bands)."""
    shape, filters = _analysis()
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP] * shape
    power = np.abs(np.fft.rfft(frames, _FFT)) ** 2 @ filters
    sums = np.cumsum(np.vstack([np.zeros(power.shape[1]), power]), axis=0)
    smooth: Floats = (sums[_SMOOTH:] - sums[:-_SMOOTH]) / _SMOOTH
    return np.maximum(smooth, 0)  # differences of sums may fall just below zero


@functools.cache
def _analysis() -> tuple[Floats, Floats]:
    """The window's shape, and the weight of each bin's power in each band, shape (257, bands)."""
    shape = np.hanning(_WINDOW + 2)[1:-1]
    hz = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE_HZ)[:, None]
    edges = np.array(_EDGES_HZ)
    filters = ((hz >= edges[:-1]) & (hz < edges[1:])) / (_FFT / 2 * np.sum(shape**2))
    return shape, filters


@functools.cache
def _quiet_factors() -> Floats:
    """Mean over the quiet percentile of steady noise, by band: how far the quietest moments lie below the mean."""
    power = _band_power(np.random.default_rng(1).standard_normal(60 * SAMPLE_RATE_HZ))
    factors: Floats = power.mean(axis=0) / np.percentile(power, _QUIET_PERCENT, axis=0)
    return factors
