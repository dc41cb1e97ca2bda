"""Variation: which voice speaks a text, how fast, how loud, and where. All of it is a function of a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llaso_data.audio import to_float32
from llaso_data.audio.encoding import level
from llaso_data.audio.mixing import FULL_SCALE, Pcm, to_int16
from llaso_data.audio.surroundings import add_reverberation, noisy
from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import SPEEDS
from llaso_data.instruct.voices.cache import Line
from llaso_data.io.prng import noise
from llaso_data.records.digests import digest

_STEPS = 100  # of a speed of 1: speeds differ by 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """The ranges that are drawn from, lowest first, all of them evenly.

    Attributes:
        speed: Of the voice, within :data:`~llaso_data.instruct.voices.SPEEDS`.
        loudness_dbfs: Root mean square in dB of full scale. Speech that would clip becomes as loud as it can be.
        room_share: The share of the lines (0-1) that are said in a room.
        room_s: Reverberation time (T60) of the rooms in seconds.
        noise_share: The share of the lines (0-1) that get pink noise.
        noise_snr_db: Signal-to-noise ratio in dB.

    Raises:
        LLaSOError: A range is not lowest first or out of bounds, or a share is not from 0 to 1.
    """

    speed: tuple[float, float] = SPEEDS
    loudness_dbfs: tuple[float, float] = (-30.0, -18.0)
    room_share: float = 0.0
    room_s: tuple[float, float] = (0.15, 0.5)
    noise_share: float = 0.0
    noise_snr_db: tuple[float, float] = (10.0, 30.0)

    def __post_init__(self) -> None:
        bounds = {"speed": SPEEDS, "loudness_dbfs": (-60.0, 0.0), "room_s": (0.05, 5.0), "noise_snr_db": (-20.0, 60.0)}
        for name, (least, most) in bounds.items():
            low, high = getattr(self, name)
            if not least <= low <= high <= most:
                raise LLaSOError(
                    f"voices.{name}: a range within {least:g} to {most:g}, lowest first, not {(low, high)}"
                )
        for name in ("room_share", "noise_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise LLaSOError(f"voices.{name}: a share from 0 to 1 is expected, not {getattr(self, name)}")


def draw_line(text: str, language: str, voices: Sequence[str], variation: Variation, *key: object) -> Line:
    """Draw the voice, the speed and the seed of a text.

    Args:
        text: What is to be spoken.
        language: Its code.
        voices: To draw one from, evenly.
        variation: The range of speeds.
        key: Names the draw, such as a recipe's seed and a row's id; equal keys give equal draws.
    """
    voice, speed, seed = noise(_state("line", *key), 3)
    low, high = (round(bound * _STEPS) for bound in variation.speed)
    steps = low + int(speed) % (high - low + 1)
    return Line(text, language, voices[int(voice) % len(voices)], steps / _STEPS, int(seed) % 2**31)


def surrounded(pcm: Pcm, variation: Variation, *key: object) -> Pcm:
    """Speech in its room, with its noise, as loud as drawn.

    Args:
        pcm: int16 at 16 kHz, shape (samples,).
        variation: The ranges.
        key: Names the draw.

    Returns:
        int16, shape (samples,). Silence stays as it is.
    """
    state = _state("surroundings", *key)
    in_room, room, is_noisy, snr, loudness = (noise(state, 5) >> np.uint64(11)) * 2.0**-53
    rng = np.random.Generator(np.random.Philox(state))
    samples = to_float32(pcm)
    if in_room < variation.room_share:
        samples = add_reverberation(samples, _between(variation.room_s, room), rng)
    if is_noisy < variation.noise_share:
        samples = noisy(samples, _between(variation.noise_snr_db, snr), rng)
    rms_dbfs, _ = level(to_int16(samples))
    peak = float(np.abs(samples).max(initial=0.0))
    if not peak:
        return pcm
    gain = 10 ** ((_between(variation.loudness_dbfs, loudness) - rms_dbfs) / 20)
    return to_int16(samples * np.float32(min(gain, (FULL_SCALE - 1) / FULL_SCALE / peak)))


def _state(purpose: str, *key: object) -> int:
    return int(digest(purpose, *key, length=16), 16)


def _between(bounds: tuple[float, float], share: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * float(share)
