"""Conditions that an evaluation applies to speech: noise at an exact level, speed, reverberation, band limits.

All are functions of (samples, key); equal arguments give equal sound. Samples are float32, mono, 16 kHz.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ, limited
from llaso_data.audio.noise import NOISE_SHAPES as NOISE_SHAPES
from llaso_data.audio.noise import NoiseShape as NoiseShape
from llaso_data.audio.noise import Samples as Samples
from llaso_data.audio.noise import active_speech as active_speech
from llaso_data.audio.noise import mix_at_snr as mix_at_snr
from llaso_data.audio.noise import noise_excerpt as noise_excerpt
from llaso_data.audio.noise import shaped_noise as shaped_noise
from llaso_data.audio.noise import snr_db as snr_db
from llaso_data.audio.surroundings import add_reverberation, faster
from llaso_data.errors import LLaSOError
from llaso_data.io import storage
from llaso_data.records import digest
from llaso_data.stream.batching import key_of
from llaso_data.uris import extension

_MOST_LEVELS = 100

CONDITION_KINDS = ("snr", "speed", "reverberation", "band")
"""Kinds of conditions: the part of a tag before its colon."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A change that is made to a sample's sound before the model gets it.

    Attributes:
        tag: Its kind and value, such as ``snr:5``.
        apply: Gives the changed samples; (samples, key). The key names the random draw.
        seed: Seed of the draws.
        noise: Shape of the noise, or the digest of the recordings. With it and the seed :func:`condition_of_tag` makes
            the condition again.
    """

    tag: str
    apply: Callable[[Samples, int], Samples]
    seed: int | None = None
    noise: str | None = None


def sample_key(id: str) -> int:
    """The key of a sample's random draws: it depends on the sample's id, not on its batch."""
    return key_of("condition", id)


def noise_name(noise: NoiseShape | Sequence[Samples]) -> str:
    """The name of a noise: its shape, or the digest of its recordings."""
    return noise if isinstance(noise, str) else digest(*(recording.tobytes() for recording in noise))


def condition_of_tag(tag: str, seed: int, noise: NoiseShape | Samples | Sequence[Samples] | None) -> Condition | None:
    """Makes a condition again from the tag that :func:`noise_sweep` or :func:`variants` gave it.

    Args:
        tag: Such as ``snr:5``.
        seed: Seed of its draws.
        noise: Shape or recordings of the noise; None where neither is known.

    Returns:
        The condition; None where the tag is none of theirs, or the noise is not known.
    """
    kind, _, value = tag.partition(":")
    try:
        condition = _parse_condition(kind, value, seed, noise)
    except (ValueError, LLaSOError):
        return None
    return condition if condition is not None and condition.tag == tag else None


def _parse_condition(
    kind: str, value: str, seed: int, noise: NoiseShape | Samples | Sequence[Samples] | None
) -> Condition | None:
    """The condition of a kind and value. Raises ValueError and LLaSOError.

    Values are limited to what :func:`variants` is for, so that a line of data cannot ask for unlimited computation.
    """
    if kind == "snr" and noise is not None:
        return noise_sweep(value, noise, seed)[0]
    if kind == "speed" and 0.25 <= float(value) <= 4:
        return speed_condition(float(value), seed)
    if kind == "reverberation" and 0 < float(value) <= 10:
        return reverberation_condition(float(value), seed)
    if kind == "band":
        low_hz, high_hz = map(float, value.split("-"))
        return band_condition(low_hz, high_hz, seed) if 0 < low_hz < high_hz < SAMPLE_RATE_HZ / 2 else None
    return None


def sweep_levels(levels_option: str) -> list[float]:
    """Reads the levels of a noise sweep.

    Args:
        levels_option: ``lowest:highest:step`` in dB, both ends included, or a list such as ``0,5,10``.

    Returns:
        Signal-to-noise ratios in dB.

    Raises:
        LLaSOError: It is neither.
    """
    try:
        if ":" in levels_option:
            low, high, step = (float(part) for part in levels_option.split(":"))
            if not (math.isfinite(low) and math.isfinite(high) and step > 0 and low <= high):
                raise ValueError(levels_option)
            count = int((high - low) / step + 1e-9) + 1
            if count > _MOST_LEVELS:
                raise ValueError(levels_option)
            return [low + i * step for i in range(count)]
        levels = [float(part) for part in levels_option.split(",")]
        if not all(map(math.isfinite, levels)):
            raise ValueError(levels_option)
        return levels
    except ValueError as error:
        raise LLaSOError(
            f"--noise-sweep {levels_option}: write it as lowest:highest:step in dB, such as -10:20:5"
        ) from error


def noise_sweep(
    levels_option: str, noise: NoiseShape | Samples | Sequence[Samples] = "speech", seed: int = 0
) -> list[Condition]:
    """Conditions of noise, one for each level.

    Args:
        levels_option: Levels in dB, as :func:`sweep_levels` reads them.
        noise: Shape of noise that is generated, or recordings (float32, 16 kHz). The key of a sample chooses one of
            several recordings, the same at every level.
        seed: Seed of the draws.
    """

    def at(level: float) -> Condition:
        def apply(samples: Samples, key: int) -> Samples:
            rng = random_generator(seed, key, f"snr:{level:g}")
            if isinstance(noise, str):
                noise_samples = shaped_noise(samples, noise, rng)
            else:
                recording = noise if isinstance(noise, np.ndarray) else noise[key % len(noise)]
                noise_samples = noise_excerpt(recording, len(samples), rng)
            return mix_at_snr(samples, noise_samples, level)

        return Condition(f"snr:{level:g}", apply, seed, name)

    name = noise_name([noise] if isinstance(noise, np.ndarray) else noise)
    return [at(level) for level in sweep_levels(levels_option)]


def variants(
    speeds: Sequence[float] = (0.8, 1.25),
    reverberations_s: Sequence[float] = (0.4, 0.9),
    bands_hz: Sequence[tuple[float, float]] = ((300.0, 3400.0),),
    seed: int = 0,
) -> list[Condition]:
    """Conditions without noise.

    Args:
        speeds: Factors of speed.
        reverberations_s: Reverberation times (T60) in seconds.
        bands_hz: Lower and upper limit of each band in Hz.
        seed: Seed of the draws.
    """
    conditions = [speed_condition(speed, seed) for speed in speeds] + [
        reverberation_condition(time_s, seed) for time_s in reverberations_s
    ]
    return conditions + [band_condition(*band, seed) for band in bands_hz]


def speed_condition(speed: float, seed: int) -> Condition:
    """Speech that is ``speed`` times as fast."""
    return Condition(f"speed:{speed:g}", lambda samples, key: faster(samples, speed), seed)


def reverberation_condition(time_s: float, seed: int) -> Condition:
    """Speech in a room of this reverberation time (T60) in seconds."""
    tag = f"reverberation:{time_s:g}"
    return Condition(
        tag, lambda samples, key: add_reverberation(samples, time_s, random_generator(seed, key, tag)), seed
    )


def band_condition(low_hz: float, high_hz: float, seed: int) -> Condition:
    """Speech that is limited to the frequencies between two limits in Hz."""
    return Condition(f"band:{low_hz:g}-{high_hz:g}", lambda samples, key: band_pass(samples, low_hz, high_hz), seed)


def random_generator(seed: int, key: int, tag: str) -> np.random.Generator:
    """The random numbers of one sample in one condition."""
    return np.random.Generator(np.random.Philox(key=[(seed << 32) + zlib.crc32(tag.encode()), key % 2**64]))


def read_noise(path: str) -> Samples:
    """Decodes a noise recording to float32 at 16 kHz. Raises AudioError."""
    pcm, _ = limited.decode(path, max_duration_s=limited.MAX_DURATION_S)
    return audio.to_float32(pcm)


def load_noise(source: str) -> NoiseShape | list[Samples]:
    """Reads the option ``--noise``.

    Args:
        source: The name of a shape, or a file or folder of recordings.

    Returns:
        The shape, or the recordings in the order of their names.

    Raises:
        LLaSOError: It is neither.
        AudioError: A recording cannot be decoded.
    """
    for shape in NOISE_SHAPES:
        if source == shape:
            return shape
    rows = storage.listing(source)  # of a file itself, with no path within it
    paths = [storage.join(source, row["path"]) if row["path"] else source for row in rows]
    audio_paths = [path for path in paths if extension(path) in audio.AUDIO_EXTENSIONS]
    if not audio_paths:
        raise LLaSOError(f"--noise {source}: neither one of {', '.join(NOISE_SHAPES)} nor a file or folder of audio")
    return [read_noise(path) for path in audio_paths]


def band_pass(samples: Samples, low_hz: float, high_hz: float) -> Samples:
    """Filters samples with a Butterworth band-pass of order 8, without delay.

    Args:
        samples: float32 at 16 kHz, (n,). Fewer than 64 are returned unchanged.
        low_hz: Lower limit.
        high_hz: Upper limit, below 8,000.

    Raises:
        LLaSOError: The limits are not in order.
    """
    from scipy.signal import butter, sosfiltfilt

    if not 0 < low_hz < high_hz < SAMPLE_RATE_HZ / 2:
        raise LLaSOError(
            f"band {low_hz:g}-{high_hz:g}: frequencies lie in order between 0 and {SAMPLE_RATE_HZ // 2} Hz"
        )
    if len(samples) < 64:
        return samples
    filters = butter(4, (low_hz, high_hz), "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return np.asarray(sosfiltfilt(filters, samples.astype(np.float64), padlen=min(len(samples) - 1, 240)), np.float32)
