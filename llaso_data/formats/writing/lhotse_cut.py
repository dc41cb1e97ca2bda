"""A transcription as one of Lhotse's cuts, in the JSON that Lhotse writes."""

from __future__ import annotations

from typing import Any

from llaso_data.formats.writing.attributes import ATTRIBUTES, attributes_of, seconds
from llaso_data.formats.writing.writer import Sound, SoundedSample, spoken
from llaso_data.records import Utterance

HOLDS = frozenset(("text", "words", *ATTRIBUTES))
_OF_SUPERVISION = ("language", "speaker", "gender")


def cut_of(sounded: SoundedSample, kind: str, source: str) -> dict[str, Any]:
    """The JSON of a cut with one supervision, which spans it.

    Args:
        sounded: A sample that says what one audio says.
        kind: Of the source: ``file``, or ``shar`` where the sound lies in a tar beside the cuts.
        source: The path, empty for ``shar``.

    Raises:
        LLaSOError: The sample is no transcription of one audio.
    """
    utterance, text = spoken(sounded)
    (sound,) = sounded.sounds
    duration_s = seconds(sound.duration_s)
    return {
        "id": sounded.key,
        "start": seconds(sound.start_s or 0.0),
        "duration": duration_s,
        "channel": 0,
        "supervisions": [_supervision(sounded, utterance, text, duration_s)],
        "recording": recording_of(sounded.key, sound, kind, source),
        "type": "MonoCut",
    }


def recording_of(id: str, sound: Sound, kind: str, source: str) -> dict[str, Any]:
    """The JSON of a cut's recording. Of a file of which a span is pointed to, it ends where the span does."""
    samples = round(((sound.start_s or 0.0) + sound.duration_s) * sound.sampling_rate_hz)
    return {
        "id": id,
        "sources": [{"type": kind, "channels": [0], "source": source}],
        "sampling_rate": sound.sampling_rate_hz,
        "num_samples": samples,
        "duration": samples / sound.sampling_rate_hz,
        "channel_ids": [0],
    }


def _supervision(sounded: SoundedSample, utterance: Utterance, text: str, duration_s: float) -> dict[str, Any]:
    said = attributes_of(sounded.sample, utterance)
    row: dict[str, Any] = {
        "id": sounded.key,
        "recording_id": sounded.key,
        "start": 0.0,
        "duration": duration_s,
        "channel": 0,
        "text": text,
        **{name: said.pop(name) for name in _OF_SUPERVISION if name in said},
    }
    if said:
        row["custom"] = said
    if utterance.words:
        start_s = sounded.sounds[0].start_s or 0.0  # the times of an alignment count from the start of the recording
        row["alignment"] = {
            "word": [
                [word.text, seconds(start_s + word.start_s), seconds(word.end_s - word.start_s), word.logprob]
                for word in utterance.words
            ]
        }
    return row
