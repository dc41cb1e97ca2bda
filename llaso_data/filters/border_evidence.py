"""What is measured of a clip's borders, its first and last 20 ms, to tell whether it starts or ends inside a word.

Complete speech starts and ends with room noise. A cut word has its full level in the border's first milliseconds, and
its voice. What a whole word leaves in a room dies away, as all sounds of that room do. All is measured against the clip
itself, so it does not depend on how loud the room is or how it sounds. Music and other voices are no cut word, so a
detector of voices hears the border, too. :mod:`llaso_data.filters.border_level` weighs the measurements.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llaso_data.audio import FULL_SCALE, SAMPLE_RATE_HZ, Pcm
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
FLOOR_PERCENT, BETWEEN_PERCENTS, LOUD_PERCENT = 5, (10, 25, 50, 75), 90
DEEPEST_DB = 60.0  # a deeper floor counts as that of a quiet room
DIGITAL_SILENCE_DB = -100.0  # what is softer is no sound of the room: a pause that was gated, or added
COURSES = (5, 10, 20)  # windows beside a border over which a line is laid through the level
OF_BANDS = 8  # and through that of each band; the next is 80 ms on
OF_CLIP, ABOVE_FLOOR_DB = 10, 6.0  # and through each part of the clip that stays so much above its floor
DECAY_PERCENTS = (50, 75, 95)
RANKED = (1, 5, 10)  # windows beside a border whose level is ranked among all
SHAPED = 3  # and whose bands are compared with the clip's
SOFT_SHARE, SOFTEST = 0.2, -90.0  # of the clip's windows: the softest, and the loudest; dB, of a band
VOICED, PITCH_HZ = 40 * _MS, (70, 400)
QUIET_PLACES, APART = 4, 4  # of the clip, where its voicing is measured; windows between them
HEARD = 16 * FRAME_SAMPLES  # the part of the clip up to a border in which a voice is looked for
HEARD_FRAMES = (1, 2, 4, 8)  # counted back from the border
SUREST = 7.0  # log-odds

SURROUNDINGS = (
    "span", "tilt", *(f"decay, percentile {percent}" for percent in DECAY_PERCENTS),
    *(f"level, percentile {percent}" for percent in BETWEEN_PERCENTS),
    "floor periodicity", "most floor periodicity", "floor variation", "length",
)  # fmt: skip
"""What :func:`evidence` gives of the whole clip, the same at both borders."""

MEASURED = (
    "level", "excess", "near", "rise",
    *(f"{what} over {count * 10} ms" for count in COURSES for what in ("slope", "roughness")),
    "slopes of bands", "periodicity", "band", "band 80 ms on",
    *(f"rank over {count * 10} ms" for count in RANKED), "rank of bands", "unlike floor", "unlike speech",
    "end", *(f"speech, frame {number}" for number in HEARD_FRAMES), *SURROUNDINGS,
)  # fmt: skip
"""What :func:`evidence` gives of a border, by column."""


def evidence(pcm: Pcm) -> Floats:
    """Measurements of both borders.

    Args:
        pcm: (T,) int16 at 16 kHz, at least 0.1 s.

    Returns:
        (2, len(MEASURED)) float64, for the first border and the last; levels in dB, slopes in dB/s from there on:

        - level: of the 20 ms, relative to the loud speech;
        - excess: the largest difference between a band of the 20 ms and the band's floor;
        - near: the loudest level within 150 ms, relative to the loud speech;
        - rise: the second 20 ms above the first 5 ms;
        - slope and roughness: the line through the level beside the border, and the RMS distance from it;
        - slopes of bands: the standard deviation of the slopes of the bands over 80 ms;
        - periodicity: the largest correlation of the 40 ms with themselves at the pitch of a voice;
        - band: the mean band of the power of the 20 ms, counted from 0, and of the 20 ms that are 80 ms on;
        - rank: the share of the clip's windows that are softer, and that of the bands, their mean;
        - unlike: how far the shape of the bands over 40 ms is from that of the clip's softest windows, and of the
          loudest;
        - end: 1 at the last border, 0 at the first;
        - speech: the log-odds of a voice in frames of 32 ms, counted from the border: Silero's, which hears the half
          second beside the border, the first one backwards;
        - span: the loud speech above the floor;
        - tilt: span minus its mean over the bands;
        - decay: percentiles of how fast the clip's sounds die away, dB/s;
        - level, percentile: of the clip's windows, relative to the loud speech;
        - floor periodicity: that of the softest places, their mean and the most;
        - floor variation: the standard deviation of a band in the softest windows, the mean of the bands;
        - length: the decimal logarithm of the number of the clip's windows.
    """
    samples = pcm.astype(np.float64) / FULL_SCALE
    clip = _Clip.of(samples)
    rows = []
    for end, side in enumerate((samples, samples[::-1])):
        rows.append([*_border(side, clip), float(end), *_heard(pcm if end else pcm[::-1]), *clip.surroundings])
    return np.array(rows)


@dataclass(frozen=True)
class _Clip:
    """What a border is compared with: the clip's windows without those of digital silence.

    Attributes:
        speech_db: (windows,) the level where speech has its power, in ascending order.
        bands_db: (windows, bands) the level of each band, likewise.
        loud_db: The loud speech.
        floor_db: (bands,) the noise floor.
        softest_db: (bands,) the mean of the softest windows.
        loudest_db: (bands,) that of the loudest.
        surroundings: As in :data:`SURROUNDINGS`.
    """

    speech_db: Floats
    bands_db: Floats
    loud_db: float
    floor_db: Floats
    softest_db: Floats
    loudest_db: Floats
    surroundings: list[float]

    @classmethod
    def of(cls, samples: Floats) -> _Clip:
        power = _band_power(samples)
        sounds = _decibel(power.sum(axis=1)) > DIGITAL_SILENCE_DB
        if sounds.sum() < LEAST // HOP:
            sounds[:] = True
        every_db = _decibel(power[:, SPEECH].sum(axis=1))
        bands_db, speech_db = _decibel(power[sounds]), every_db[sounds]
        quiet_bands_db, loud_bands_db = np.percentile(bands_db, [FLOOR_PERCENT, LOUD_PERCENT], axis=0)
        spans_db = np.minimum(loud_bands_db - quiet_bands_db, DEEPEST_DB)
        quiet, *between, loud = np.percentile(speech_db, [FLOOR_PERCENT, *BETWEEN_PERCENTS, LOUD_PERCENT])
        span = min(float(loud - quiet), DEEPEST_DB)
        order = np.argsort(speech_db, kind="stable")
        few = max(3, int(SOFT_SHARE * len(order)))
        softest_db = bands_db[order[:few]]
        places = _quiet_places(np.flatnonzero(sounds)[order], len(every_db))
        voiced = [_periodicity(samples[place * HOP :][:VOICED]) for place in places]
        return cls(
            speech_db[order],
            np.sort(bands_db, axis=0),
            float(loud),
            loud_bands_db - spans_db,
            softest_db.mean(axis=0),
            bands_db[order[-few:]].mean(axis=0),
            [
                span,
                span - float(spans_db.mean()),
                *_decays(every_db, float(quiet) + ABOVE_FLOOR_DB),
                *(float(one - loud) for one in between),
                float(np.mean(voiced)),
                max(voiced),
                float(softest_db.std(axis=0).mean()),
                float(np.log10(len(order))),
            ],
        )


def _quiet_places(order: npt.NDArray[np.intp], count: int) -> list[int]:
    """Some of the softest windows, none beside another or at a border of all; they are in order of their level."""
    within = order[(order >= 2) & (order < count - 4)] if count > 12 else order
    within = within if len(within) else order
    places: list[int] = []
    for place in within.tolist():
        if all(abs(place - other) >= APART for other in places):
            places.append(place)
            if len(places) == QUIET_PLACES:
                break
    return places


def _border(samples: Floats, clip: _Clip) -> list[float]:
    """The measurements of the start that ask for no voice; the end is the start of the reversed samples."""
    power = _band_power(samples[:BESIDE])
    bands_db, speech_db = _decibel(power), _decibel(power[:, SPEECH].sum(axis=1))
    excess_db = max(0.0, float((bands_db[0] - clip.floor_db).max()))
    first_db, second_db = (_decibel(np.mean(part**2)) for part in (samples[: 5 * _MS], samples[20 * _MS : 40 * _MS]))
    return [
        float(speech_db[0]) - clip.loud_db,
        excess_db,
        float(speech_db[:NEAR].max()) - clip.loud_db,
        float(second_db - first_db),
        *_course(bands_db, speech_db),
        _periodicity(samples[:VOICED]),
        *_mean_bands(power),
        *(_rank(clip.speech_db, float(speech_db[:count].mean())) for count in RANKED),
        float(np.mean([_rank(clip.bands_db[:, band], float(bands_db[0, band])) for band in range(power.shape[1])])),
        *(_unlike(bands_db[:SHAPED].mean(axis=0), other_db) for other_db in (clip.softest_db, clip.loudest_db)),
    ]


def _course(bands_db: Floats, speech_db: Floats) -> list[float]:
    """Slopes and roughness of the level beside the start, and how the bands' slopes differ."""
    found = []
    for count in COURSES:
        part_db = speech_db[:count]
        slope = _slopes(part_db)
        line_db = slope * _times_s(len(part_db))
        found += [float(slope), float(np.sqrt(np.mean((part_db - part_db.mean() - line_db) ** 2)))]
    return [*found, float(np.std(_slopes(bands_db[:OF_BANDS].T)))]


def _decays(speech_db: Floats, least_db: float) -> list[float]:
    """Percentiles of how fast the level falls, dB/s, over the parts that stay above a level; 0 without any."""
    if len(speech_db) < OF_CLIP:
        return [0.0] * len(DECAY_PERCENTS)
    parts = np.lib.stride_tricks.sliding_window_view(speech_db, OF_CLIP)
    falling = -_slopes(parts[parts.min(axis=1) > least_db])
    return [float(one) for one in np.percentile(falling if len(falling) else [0.0], DECAY_PERCENTS)]


def _periodicity(part: Floats) -> float:
    """The largest normalised correlation of up to 40 ms with themselves, at lags from 2.5 to 14 ms."""
    lags = np.arange(SAMPLE_RATE_HZ // PITCH_HZ[1], SAMPLE_RATE_HZ // PITCH_HZ[0] + 1)
    products = np.fft.irfft(np.abs(np.fft.rfft(part, 4 * VOICED)) ** 2)[lags]
    power = np.asarray(np.cumsum(part**2), np.float64)
    before, after = power[len(part) - 1 - lags], power[-1] - power[lags - 1]
    return float((products / np.sqrt(before * after + 1e-9)).max())


def _mean_bands(power: Floats) -> list[float]:
    """The mean band of the power at the start, and that 80 ms on."""
    power = power[[0, min(OF_BANDS, len(power) - 1)]] + 1e-12
    means = power @ np.arange(power.shape[1]) / power.sum(axis=1)
    return [float(means[0]), float(means[-1])]


def _rank(ordered: Floats, level_db: float) -> float:
    """The share of levels in ascending order that are lower."""
    return float(np.searchsorted(ordered, level_db)) / len(ordered)


def _unlike(bands_db: Floats, other_db: Floats) -> float:
    """The RMS difference of two shapes, whatever their levels, dB."""
    apart_db = np.maximum(bands_db, SOFTEST) - np.maximum(other_db, SOFTEST)
    return float(np.std(apart_db))


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
