"""What is spoken: ``voices``."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from llaso_data.recipe.part import Part


class Voices(Part):
    """Voices that speak instructions and texts, and what becomes of what they say."""

    engines: dict[str, dict[str, Any]] = Field(
        default_factory=lambda: {"hibari": dict[str, Any]()},
        description="Engines by name, each with its settings. `weight` is its share of a language, `voices` "
        "the ones that are drawn from, by language.",
    )
    speed: tuple[float, float] = Field((0.8, 1.2), description="The slowest and the fastest speed.")
    loudness_dbfs: tuple[float, float] = Field((-30.0, -18.0), description="The level, in dB of full scale.")
    room_share: float = Field(0.0, ge=0, le=1, description="The share of what is spoken that is said in a room.")
    room_s: tuple[float, float] = Field((0.15, 0.5), description="The reverberation time of rooms in seconds.")
    noise_share: float = Field(0.0, ge=0, le=1, description="The share of what is spoken that gets pink noise.")
    noise_snr_db: tuple[float, float] = Field((10.0, 30.0), description="The signal-to-noise ratio of that noise.")
    takes: int = Field(
        8, ge=1, description="How many times a text is spoken, by other voices or at other speeds; samples share them."
    )
    tries: int = Field(3, ge=1, description="How many voices try a text that Whisper mishears.")
    max_error: float = Field(
        0.1, ge=0, description="The character error rate above which Whisper's transcription rejects what was spoken."
    )
    cache: str | None = Field(
        None, description="The folder of what was spoken, which runs share. Null: a folder in `out`."
    )
