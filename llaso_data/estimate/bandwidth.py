"""The highest frequency of a recording: files at 16 kHz or more often hold less, from a telephone or a codec."""

from __future__ import annotations

import numpy as np

from llaso_data.audio import FULL_SCALE, SAMPLE_RATE_HZ, Pcm

_FFT = 512
_BIN_HZ = SAMPLE_RATE_HZ / _FFT
_DROP_DB = 60.0
"""What is this far below the strongest frequency counts as empty. Filters stop 80 dB and more; speech at 8 kHz is
about 50 dB below its strongest frequency."""
_ROUNDING_DB = 10.0  # above the noise of 16-bit rounding, which fills every frequency of a faint clip
_LEAK_BINS = 2  # a window's flank, which reaches beyond the last frequency


def bandwidth_hz(pcm: Pcm) -> float | None:
    """The frequency above which a clip has nothing.

    Args:
        pcm: (T,) int16 at 16 kHz mono.

    Returns:
        Hz, at most 8,000, in steps of 31.25 Hz; None for less than a window of 32 ms, and for silence.
    """
    if len(pcm) < _FFT or not pcm.any():
        return None
    shape = np.hanning(_FFT + 2)[1:-1]
    frames = np.lib.stride_tricks.sliding_window_view(pcm.astype(np.float64) / FULL_SCALE, _FFT)[:: _FFT // 2]
    power = (np.abs(np.fft.rfft(frames * shape)) ** 2).mean(axis=0) / (_FFT / 2 * np.sum(shape**2))
    rounding = 1 / FULL_SCALE**2 / 12 / (_FFT / 2)  # a bin's share of the power of uniform rounding errors
    limit = max(power.max() / 10 ** (_DROP_DB / 10), rounding * 10 ** (_ROUNDING_DB / 10))
    present = np.flatnonzero(power > limit)
    if not len(present):
        return None
    last = int(present[-1])
    return SAMPLE_RATE_HZ / 2 if last >= _FFT // 2 - _LEAK_BINS else max(last - _LEAK_BINS + 1, 1) * _BIN_HZ
