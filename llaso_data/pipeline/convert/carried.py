"""What a sample says that a layout cannot hold."""

from __future__ import annotations

from collections.abc import Iterator

from llaso_data.formats.writing.writer import FIELDS, transcript_of
from llaso_data.records import UNKNOWN, Sample, Utterance

_SEEN = frozenset(FIELDS)


def not_carried(sample: Sample, holds: frozenset[str]) -> list[str]:
    """The fields of :data:`~llaso_data.formats.writing.writer.FIELDS` that a sample says and a layout does not hold."""
    missing = says(sample) - holds
    transcript = transcript_of(sample)
    if transcript is not None and "conversation" in holds and transcript[0].text == transcript[1]:
        missing.discard("text")  # it is the answer
    return sorted(missing)


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
        "speaker": _known(audio.speaker.id.value),
        "gender": _known(audio.speaker.gender.value),
        "age": _known(audio.speaker.age_range.value),
        "accent": _known(audio.speaker.accent.value),
        "environment": _known(audio.environment.value),
        "license": audio.source.license or audio.source.consent,
        "scores": audio.scores.avg_logprob is not None,
    }
    return (name for name, value in said.items() if value)


def _known(value: str) -> bool:
    return value != UNKNOWN
