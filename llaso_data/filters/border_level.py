"""Whether a clip starts or ends inside a word: what sounds at its borders, its first and last 20 ms.

Complete speech starts and ends with room noise. A cut word has its full level in the border's first milliseconds, and
its voice. What a whole word leaves in a room dies away, as all sounds of that room do. The level must not depend on how
loud the room is or how it sounds, so all is measured against the clip itself. Music and other voices are no cut word,
so a detector of voices hears the border, too. A small network weighs the measurements; its numbers, in
``border_level.json``, were fitted by ``bench/borders.py --fit``.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.audio import FULL_SCALE, SAMPLE_RATE_HZ, SILENCE_DBFS, Pcm
from llaso_data.audio.voice_activity import FRAME_SAMPLES, speech_probabilities

Floats = npt.NDArray[np.float64]

_MS = SAMPLE_RATE_HZ // 1000
WINDOW = 20 * _MS
HOP = 10 * _MS
HOP_S = HOP / SAMPLE_RATE_HZ
LEAST = 100 * _MS  # a shorter clip has no floor and no loud speech to compare with
BESIDE = 270 * _MS  # the part of the clip beside a border, whose course is measured
NEAR = 14  # windows beside a border, in which a cut word goes on
EDGES_HZ = (80, 200, 350, 600, 1000, 1700, 2800, 4500, 7500)
SPEECH = slice(1, 6)  # 200-2800 Hz, where most of its power is
FLOOR_PERCENT, LOUD_PERCENT = 5, 90
DEEPEST_DB = 60.0  # digital silence counts as the noise floor of a quiet room
COURSES = (5, 10, 20)  # windows beside a border over which a line is laid through the level
OF_BANDS = 8  # and through that of each band; the next is 80 ms on
OF_CLIP, ABOVE_FLOOR_DB = 10, 6.0  # and through each part of the clip that stays so much above its floor
DECAY_PERCENTS = (50, 75, 95)
VOICED, PITCH_HZ = 40 * _MS, (70, 400)
HEARD = 16 * FRAME_SAMPLES  # the part of the clip up to a border in which a voice is looked for
HEARD_FRAMES = (1, 2, 4, 8)  # counted back from the border
SUREST = 7.0  # log-odds

MEASURED = (
    "level", "excess", "span", "tilt", "near", "rise",
    *(f"{what} over {count * 10} ms" for count in COURSES for what in ("slope", "roughness")),
    "slopes of bands", *(f"decay, percentile {percent}" for percent in DECAY_PERCENTS),
    "periodicity", "band", "band 80 ms on", "end", *(f"speech, frame {number}" for number in HEARD_FRAMES),
)  # fmt: skip
"""What :func:`evidence` gives of a border, by column."""


def border_level(pcm: Pcm) -> float | None:
    """How much a clip sounds as if it started or ended inside a word, the more of the two.

    Ten times the decimal logarithm of the odds that the network gives, shifted so that -35 is the limit of the default
    recipe: whole words are below, and most of them under -45.

    Args:
        pcm: (T,) int16 at 16 kHz.

    Returns:
        dB, not below -120; None for less than 0.1 s.
    """
    if len(pcm) < LEAST:
        return None
    found = evidence(pcm)
    if not found[:, MEASURED.index("span")].any():  # no part is louder than another: nobody speaks
        return SILENCE_DBFS
    return max(float(_network()(found).max()), SILENCE_DBFS)


def evidence(pcm: Pcm) -> Floats:
    """The measurements that :func:`border_level` weighs.

    Args:
        pcm: (T,) int16 at 16 kHz, at least 0.1 s.

    Returns:
        (2, len(MEASURED)) float64, for the first border and the last; levels in dB, slopes in dB/s from there on:

        - level: of the 20 ms, relative to the loud speech;
        - excess: the largest difference between a band of the 20 ms and the band's floor;
        - span: the loud speech above the floor;
        - tilt: span minus its mean over the bands;
        - near: the loudest level within 150 ms, relative to the loud speech;
        - rise: the second 20 ms above the first 5 ms;
        - slope and roughness: the line through the level beside the border, and the RMS distance from it;
        - slopes of bands: the standard deviation of the slopes of the bands over 80 ms;
        - decay: percentiles of how fast the clip's sounds die away, dB/s;
        - periodicity: the largest correlation of the 40 ms with themselves at the pitch of a voice;
        - band: the mean band of the power of the 20 ms, counted from 0, and of the 20 ms that are 80 ms on;
        - end: 1 at the last border, 0 at the first;
        - speech: the log-odds of a voice in frames of 32 ms, counted from the border: Silero's, which hears the half
          second beside the border, the first one backwards.
    """
    samples = pcm.astype(np.float64) / FULL_SCALE
    power = _band_power(samples)
    quiet_db, loud_db = np.percentile(_decibel(power), [FLOOR_PERCENT, LOUD_PERCENT], axis=0)
    bands_db = np.minimum(loud_db - quiet_db, DEEPEST_DB)
    speech_db = _decibel(power[:, SPEECH].sum(axis=1))
    quiet, loud = np.percentile(speech_db, [FLOOR_PERCENT, LOUD_PERCENT])
    span = min(float(loud - quiet), DEEPEST_DB)
    of_clip = [span, span - float(bands_db.mean())]
    decays = _decays(speech_db, float(quiet) + ABOVE_FLOOR_DB)
    rows = []
    for end, side in enumerate((samples, samples[::-1])):
        beside = _band_power(side[:BESIDE])
        level, excess, near, rise = _levels(side, beside, loud_db - bands_db, float(loud))
        rows.append([level, excess, *of_clip, near, rise, *_course(beside), *decays, _periodicity(side)])
        rows[-1] += [*_bands(beside), float(end), *_heard(pcm if end else pcm[::-1])]
    return np.array(rows)


def _levels(samples: Floats, power: Floats, floor_db: Floats, loud_db: float) -> tuple[float, float, float, float]:
    """(level, excess, near, rise) of :func:`evidence` at the start; the end is the start of the reversed samples."""
    speech_db = _decibel(power[:NEAR, SPEECH].sum(axis=1)) - loud_db
    excess_db = max(0.0, float((_decibel(power[0]) - floor_db).max()))
    first_db, second_db = (_decibel(np.mean(part**2)) for part in (samples[: 5 * _MS], samples[20 * _MS : 40 * _MS]))
    return float(speech_db[0]), excess_db, float(speech_db.max()), float(second_db - first_db)


def _course(power: Floats) -> list[float]:
    """Slopes and roughness of the level beside the start, and how the bands' slopes differ."""
    speech_db = _decibel(power[:, SPEECH].sum(axis=1))
    found = []
    for count in COURSES:
        part_db = speech_db[:count]
        slope = _slopes(part_db)
        line_db = slope * _times_s(len(part_db))
        found += [float(slope), float(np.sqrt(np.mean((part_db - part_db.mean() - line_db) ** 2)))]
    return [*found, float(np.std(_slopes(_decibel(power[:OF_BANDS]).T)))]


def _decays(speech_db: Floats, least_db: float) -> list[float]:
    """Percentiles of how fast the level falls, dB/s, over the parts that stay above a level; 0 without any."""
    if len(speech_db) < OF_CLIP:
        return [0.0] * len(DECAY_PERCENTS)
    parts = np.lib.stride_tricks.sliding_window_view(speech_db, OF_CLIP)
    falling = -_slopes(parts[parts.min(axis=1) > least_db])
    return [float(one) for one in np.percentile(falling if len(falling) else [0.0], DECAY_PERCENTS)]


def _periodicity(samples: Floats) -> float:
    """The largest normalised correlation of the first 40 ms with themselves, at lags from 2.5 to 14 ms."""
    part = samples[:VOICED]
    lags = np.arange(SAMPLE_RATE_HZ // PITCH_HZ[1], SAMPLE_RATE_HZ // PITCH_HZ[0] + 1)
    products = np.fft.irfft(np.abs(np.fft.rfft(part, 4 * VOICED)) ** 2)[lags]
    power = np.asarray(np.cumsum(part**2), np.float64)
    before, after = power[len(part) - 1 - lags], power[-1] - power[lags - 1]
    return float((products / np.sqrt(before * after + 1e-9)).max())


def _bands(power: Floats) -> list[float]:
    """The mean band of the power at the start, and that 80 ms on."""
    power = power[[0, OF_BANDS]] + 1e-12
    means = power @ np.arange(power.shape[1]) / power.sum(axis=1)
    return [float(means[0]), float(means[-1])]


def _heard(pcm: Pcm) -> Floats:
    """The log-odds of a voice in some frames up to the last sample."""
    part = pcm[-HEARD:]
    probs = speech_probabilities(np.pad(part, (HEARD - len(part), 0))).astype(np.float64)
    probs = probs[[-number for number in HEARD_FRAMES]]
    odds: Floats = np.log(probs + 1e-9) - np.log1p(1e-9 - probs)
    return np.clip(odds, -SUREST, SUREST)


def _slopes(level_db: Floats) -> Floats:
    """The slope of the line through levels every 10 ms, dB/s, along the last axis."""
    times_s = _times_s(level_db.shape[-1])
    slopes: Floats = level_db @ times_s / max(float(times_s @ times_s), 1e-12)
    return slopes


def _times_s(count: int) -> Floats:
    """Seconds of levels every 10 ms, from their middle on."""
    times_s: Floats = HOP_S * (np.arange(count, dtype=np.float64) - (count - 1) / 2)
    return times_s


@dataclass(frozen=True)
class Network:
    """One hidden layer over standardised measurements."""

    mean: Floats  # (measurements,)
    scale: Floats  # (measurements,)
    limit: float  # measurements count up to so many standard deviations from their mean
    hidden: Floats  # (measurements, units)
    hidden_bias: Floats  # (units,)
    output: Floats  # (units,)
    output_bias: float

    def __call__(self, found: Floats) -> Floats:
        """Levels (n,), dB, of borders (n, measurements)."""
        inputs = np.clip((found - self.mean) / self.scale, -self.limit, self.limit)
        levels: Floats = np.maximum(inputs @ self.hidden + self.hidden_bias, 0) @ self.output + self.output_bias
        return levels


@functools.cache
def _network() -> Network:
    stated = json.loads(resources.files(__package__).joinpath("border_level.json").read_text(encoding="utf-8"))
    assert tuple(stated.pop("measured")) == MEASURED, "border_level.json was fitted to other measurements"
    numbers: dict[str, Any] = {name: np.array(one) if isinstance(one, list) else one for name, one in stated.items()}
    return Network(**numbers)


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
