"""Listening back: spoken texts are transcribed by the pipeline's Whisper, and kept where it hears what was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.audio.mixing import Pcm
from llaso_data.instruct.voices.cache import Line
from llaso_data.records import GIVEN, Source, Utterance
from llaso_data.records.digests import digest
from llaso_data.text import cer, comparable_words

MAX_CER = 0.1
"""The character error rate up to which speech is kept, after normalisation."""

Transcribe = Callable[[Sequence[Utterance], Sequence[Pcm | None]], list[Utterance]]


@dataclass(frozen=True, slots=True)
class Heard:
    """A line, and what Whisper heard of it.

    Attributes:
        line: What was to be said.
        hypothesis: What was heard.
        cer: Character error rate of the two, normalised.
        errors: Words that differ, normalised; characters in languages without spaces.
        words: Words of the line, alike.
    """

    line: Line
    hypothesis: str
    cer: float
    errors: int
    words: int


@dataclass(slots=True)
class Tally:
    """What one voice said in one language: lines, those rejected, and words with their errors."""

    lines: int = 0
    rejected: int = 0
    errors: int = 0
    words: int = 0


def listen_back(transcribe: Transcribe, lines: Sequence[Line], pcm: Sequence[Pcm]) -> list[Heard]:
    """Transcribe what was spoken, several lines to a window.

    A line whose packed transcription contradicts it is transcribed again, alone, as the recipe's
    ``asr.disputed_alone`` says.

    Args:
        transcribe: The stage that :func:`~llaso_data.pipeline.transcription.transcriber` makes.
        lines: What was to be said.
        pcm: What was said: int16 at 16 kHz, of each line.

    Returns:
        What was heard, in the order of the lines.
    """
    utterances = [
        _utterance(number, line, samples) for number, (line, samples) in enumerate(zip(lines, pcm, strict=True))
    ]
    return [
        _heard(line, utterance.hypothesis or "")
        for line, utterance in zip(lines, transcribe(utterances, pcm), strict=True)
    ]


def tallies(heard: Iterable[Heard], max_cer: float = MAX_CER) -> dict[tuple[str, str], Tally]:
    """Count lines, rejections and errors by voice and language.

    Args:
        heard: What was heard.
        max_cer: The character error rate above which a line is rejected.
    """
    counts: dict[tuple[str, str], Tally] = {}
    for one in heard:
        tally = counts.setdefault((one.line.voice, one.line.language), Tally())
        tally.lines += 1
        tally.rejected += one.cer > max_cer
        tally.errors += one.errors
        tally.words += one.words
    return dict(sorted(counts.items()))


def _utterance(number: int, line: Line, pcm: Pcm) -> Utterance:
    name = digest(number, line.text)
    return Utterance(
        id=name,
        recording=name,
        source=Source(corpus="voices", uri=line.voice),
        duration_s=len(pcm) / SAMPLE_RATE_HZ,
        language=line.language,
        language_origin=GIVEN,
        text=line.text,
        text_origin=GIVEN,
    )


def _heard(line: Line, hypothesis: str) -> Heard:
    from rapidfuzz.distance import Levenshtein

    reference, other = comparable_words(line.text, hypothesis, line.language)
    error_rate = cer(line.text, hypothesis, line.language)
    return Heard(line, hypothesis, error_rate, Levenshtein.distance(reference, other), len(reference))
