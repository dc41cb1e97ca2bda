"""What a sample says that a layout cannot hold."""

from __future__ import annotations

from collections.abc import Iterator

from llaso_data.formats.writing.writer import FIELDS, transcript_of
from llaso_data.records import ASR, GIVEN, UNKNOWN, Attribute, Sample, Utterance

_SEEN = frozenset(FIELDS)
ORIGIN = "_origin"
"""What the name of a field ends in where it is kept, but not that a model said it: ``speaker_origin``."""


def not_carried(sample: Sample, holds: frozenset[str]) -> list[str]:
    """What a sample says and a layout does not hold.

    Returns:
        Fields of :data:`~llaso_data.formats.writing.writer.FIELDS`; and where the layout cannot say whose word a field
        is, and a model said it, the field's name and :data:`ORIGIN`.
    """
    missing = says(sample) - holds
    transcript = transcript_of(sample)
    if transcript is not None and "conversation" in holds and transcript[0].text == transcript[1]:
        missing.discard("text")  # it is the answer
    if "origins" not in holds:
        missing |= {f"{name}{ORIGIN}" for name in _of_a_model(sample) - missing}
    return sorted(missing)


def _of_a_model(sample: Sample) -> set[str]:
    """The fields of a sample that a model said: Whisper, an estimate, a stage of the user's."""
    found = set()
    for audio in sample.audios:
        found |= {name for name, one in _attributes(audio).items() if one.origin not in (GIVEN, UNKNOWN)}
        found |= {"text"} if audio.text and audio.text_origin == ASR else set()
        found |= {"language"} if audio.language and audio.language_origin == ASR else set()
    return found


def _attributes(audio: Utterance) -> dict[str, Attribute]:
    speaker = audio.speaker
    return {
        "speaker": speaker.id,
        "gender": speaker.gender,
        "age": speaker.age_range,
        "accent": speaker.accent,
        "environment": audio.environment,
    }


def says(sample: Sample) -> set[str]:
    """The fields of a sample that say something."""
    stated = {name for audio in sample.audios for name in _of_audio(audio)}
    if sample.language is not None:
        stated.add("language")
    if sample.split is not None:
        stated.add("split")
    if sample.provenance is not None and sample.provenance.kept:
        stated.add("kept")
    if transcript_of(sample) is None:
        stated |= {"task", "instruction", "conversation"}
    return stated & _SEEN


def _of_audio(audio: Utterance) -> Iterator[str]:
    said = {
        "text": audio.text,
        "language": audio.language,
        "words": audio.words,
        "hypothesis": audio.hypothesis,
        **{name: one.value != UNKNOWN for name, one in _attributes(audio).items()},
        "license": audio.source.license or audio.source.consent,
        "scores": audio.scores.avg_logprob is not None,
    }
    return (name for name, value in said.items() if value)
