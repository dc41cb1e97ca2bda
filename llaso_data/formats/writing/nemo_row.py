"""A row of NeMo's manifests, as they are written."""

from __future__ import annotations

from typing import Any

from llaso_data.formats.writing.attributes import attributes_of, seconds
from llaso_data.formats.writing.writer import SoundedSample, spoken


def nemo_row(sounded: SoundedSample, audio_filepath: str) -> dict[str, Any]:
    """The row of a transcription.

    Args:
        sounded: A sample that says what one audio says.
        audio_filepath: Where the sound is, as the manifest has it.

    Raises:
        LLaSOError: The sample is no transcription of one audio.
    """
    utterance, text = spoken(sounded)
    (sound,) = sounded.sounds
    row: dict[str, Any] = {"audio_filepath": audio_filepath}
    if sound.start_s is not None:
        row["offset"] = seconds(sound.start_s)
    row |= {"duration": seconds(sound.duration_s), "sampling_rate": sound.sampling_rate_hz, "text": text}
    attributes = attributes_of(sounded.sample, utterance)
    if "language" in attributes:
        row["lang"] = attributes.pop("language")
    return {**row, **attributes}
