"""Augmentation of audio: noise and speed. The plan decides every draw, so that a resumed run gets the same audio."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llaso_data.audio.surroundings import faster, noisy
from llaso_data.errors import LLaSOError
from llaso_data.stream.batch import StreamSample

SPEEDS = 41  # different speeds in a range: a resampler's filter is made for each


@dataclass(frozen=True, slots=True)
class Augment:
    """What is done to each audio.

    Attributes:
        noise_snr_db: Range of signal-to-noise ratios in dB, drawn evenly, of pink noise over the whole audio.
        noise_share: The share of the samples that get noise.
        speed: Range of speeds, drawn evenly; the words' times in the sample's JSON follow. Where it may be below 1 the
            plan reckons with the longest audio that comes of it.

    Raises:
        LLaSOError: A range is not lowest first, or a speed is below 0.25.
    """

    noise_snr_db: tuple[float, float] | None = None
    noise_share: float = 1.0
    speed: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, pair in (("noise_snr_db", self.noise_snr_db), ("speed", self.speed)):
            if pair is not None and not pair[0] <= pair[1]:
                raise LLaSOError(f"augment: {name} is a range, lowest first, not {pair}")
        if self.speed is not None and self.speed[0] < 0.25:
            raise LLaSOError(f"augment: speed {self.speed[0]} is below 0.25")

    @property
    def longest(self) -> float:
        """How many times longer a sample may become."""
        return 1.0 if self.speed is None else max(1.0, 1 / self.speed[0])

    def __call__(self, sample: StreamSample, key: int) -> StreamSample:
        """The sample with other sound; ``key`` names the draw."""
        rng = np.random.Generator(np.random.Philox(key))
        speed = 1.0
        if self.speed is not None:
            low, high = self.speed
            speed = low + (high - low) * int(rng.integers(SPEEDS)) / (SPEEDS - 1)
        sounds = tuple(faster(sound, speed) for sound in sample.sounds)
        if self.noise_snr_db is not None and rng.random() < self.noise_share:
            snr_db = rng.uniform(*self.noise_snr_db)
            sounds = tuple(noisy(sound, snr_db, rng) for sound in sounds)
        return replace(sample, sounds=sounds, content=retimed(sample.content, speed))


def retimed(content: dict[str, Any], speed: float) -> dict[str, Any]:
    """The sample's JSON with the times of its audios and words scaled to this speed."""
    if speed == 1.0 or not isinstance(content.get("audios"), list):
        return content

    def scaled(value: Any, names: tuple[str, ...]) -> Any:
        return {**value, **{name: value[name] / speed for name in names if isinstance(value.get(name), int | float)}}

    def scaled_audio(audio: dict[str, Any]) -> Any:
        words = [scaled(word, ("start_s", "end_s")) for word in audio.get("words", [])]
        return scaled({**audio, "words": words}, ("duration_s",))

    audios = [scaled_audio(audio) for audio in content["audios"]]
    return scaled({**content, "audios": audios}, ("duration_s",))  # type: ignore[no-any-return]
