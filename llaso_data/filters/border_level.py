"""The level of speech at a clip's borders, its first and last 20 ms; a word that was cut is loud there.

Complete speech starts and ends with room noise. A cut word has its full level in the border's first milliseconds. The
level must not depend on how loud the room is or how it sounds, so a border is compared with the clip's own noise floor,
band by band, and with its own loud speech. The numbers below were fitted by ``bench/borders.py --fit``.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from llaso_data.audio import FULL_SCALE, SAMPLE_RATE_HZ, SILENCE_DBFS, Pcm

Floats = npt.NDArray[np.float64]

_MS = SAMPLE_RATE_HZ // 1000
WINDOW = 20 * _MS
HOP = 10 * _MS
LEAST = 100 * _MS  # a shorter clip has no floor and no loud speech to compare with
NEAR = 150 * _MS  # the part of the clip beside a border, in which a cut word goes on
EDGES_HZ = (80, 200, 350, 600, 1000, 1700, 2800, 4500, 7500)
SPEECH = slice(1, 6)  # 200-2800 Hz, where most of its power is
FLOOR_PERCENT, LOUD_PERCENT = 5, 90
DEEPEST_DB = 60.0  # digital silence counts as the noise floor of a quiet room

NEAR_SHARE = 0.65  # weight of the nearby speech's level in a border's level
EXCESS_DB, EXCESS_FULL_DB = 53.6, 72.0  # dB per tenfold excess over the floor; no correction at the full excess
RANGE_DB, RANGE_COST = 35.0, 0.3  # a clip with less range is noisy: other people's speech may be at its border
TILT_DB, TILT_GAIN = 12.0, 1.24  # noise that leaves some bands less range than speech has is not other speech
RISE_DB, RISE_COST = 12.0, 1.23  # a clip that starts from near silence was trimmed, not cut


def border_level(pcm: Pcm) -> float | None:
    """The level of the speech at the first or last 20 ms, the louder of the two, in dB against the clip's loud speech.

    In a quiet room a cut vowel is near 0 and a whole word under -50. Noise lowers both, so that one limit does for all
    rooms.

    Args:
        pcm: (T,) int16 at 16 kHz.

    Returns:
        dB, not below -120; None for less than 0.1 s.
    """
    if len(pcm) < LEAST:
        return None
    level, excess, span, tilt, near, rise = evidence(pcm).T
    levels = (
        level
        + NEAR_SHARE * (near - level)
        + EXCESS_DB * np.log10((1 + excess) / (1 + EXCESS_FULL_DB))
        - RANGE_COST * np.maximum(0, RANGE_DB - span)
        + TILT_GAIN * np.clip(tilt, 0, TILT_DB)
        - RISE_COST * np.maximum(0, rise - RISE_DB)
    )
    return max(float(levels.max()), SILENCE_DBFS)


def evidence(pcm: Pcm) -> Floats:
    """The measurements that :func:`border_level` combines.

    Args:
        pcm: (T,) int16 at 16 kHz, at least 0.1 s.

    Returns:
        (2, 6) float64 in dB, for the first border and the last:

        - level: of the 20 ms, relative to the loud speech;
        - excess: the largest difference between a band of the 20 ms and the band's floor;
        - span: the loud speech above the floor;
        - tilt: span minus its mean over the bands;
        - near: the loudest level within 150 ms, relative to the loud speech;
        - rise: the second 20 ms above the first 5 ms.
    """
    samples = pcm.astype(np.float64) / FULL_SCALE
    power = _band_power(samples)
    quiet_db, loud_db = np.percentile(_decibel(power), [FLOOR_PERCENT, LOUD_PERCENT], axis=0)
    bands_db = np.minimum(loud_db - quiet_db, DEEPEST_DB)
    quiet, loud = np.percentile(_decibel(power[:, SPEECH].sum(axis=1)), [FLOOR_PERCENT, LOUD_PERCENT])
    span = min(float(loud - quiet), DEEPEST_DB)
    of_clip = [span, span - float(bands_db.mean())]
    sides = (_at_start(side, loud_db - bands_db, float(loud)) for side in (samples, samples[::-1]))
    return np.array([[level, excess, *of_clip, near, rise] for level, excess, near, rise in sides])


def _at_start(samples: Floats, floor_db: Floats, loud_db: float) -> tuple[float, float, float, float]:
    """(level, excess, near, rise) of :func:`evidence` at the start; the end is the start of the reversed samples."""
    power = _band_power(samples[:NEAR])
    speech_db = _decibel(power[:, SPEECH].sum(axis=1)) - loud_db
    excess_db = max(0.0, float((_decibel(power[0]) - floor_db).max()))
    first_db, second_db = (_decibel(np.mean(part**2)) for part in (samples[: 5 * _MS], samples[20 * _MS : 40 * _MS]))
    return float(speech_db[0]), excess_db, float(speech_db.max()), float(second_db - first_db)


def _band_power(samples: Floats) -> Floats:
    """Mean power in each band of windows of 20 ms every 10 ms, shape (windows, bands)."""
    shape, filters = _analysis()
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * shape
    power: Floats = np.abs(np.fft.rfft(windows, 512)) ** 2 @ filters
    return power


@functools.cache
def _analysis() -> tuple[Floats, Floats]:
    """The window's shape, and the weight of each bin's power in each band, shape (257, bands)."""
    shape = np.hanning(WINDOW + 2)[1:-1]
    hz = np.fft.rfftfreq(512, 1 / SAMPLE_RATE_HZ)[:, None]
    filters = ((hz >= EDGES_HZ[:-1]) & (hz < EDGES_HZ[1:])) / (256 * np.sum(shape**2))
    return shape, filters


def _decibel(power: npt.ArrayLike) -> Floats:
    decibels: Floats = 10 * np.log10(np.asarray(power, np.float64) + 1e-12)
    return decibels
