"""Listening back: spoken texts are transcribed by the pipeline's Whisper, and kept where it hears what was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.audio.mixing import Pcm
from llaso_data.instruct.voices.cache import Line
from llaso_data.records import GIVEN, Source, Utterance
from llaso_data.records.digests import digest
from llaso_data.text import cer, comparable_words, pinyin

MAX_CER = 0.1
"""The error rate up to which speech is kept, after normalisation: of characters, of Mandarin of syllables."""

NOT_TRANSCRIBED = "language_unsupported"
"""Why lines in a language that Whisper has no token of are not judged."""

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
        syllables: Of Mandarin the error rate of syllables with their tones, where pypinyin is installed.
        toneless: The same without tones.
        failure: Why Whisper cannot judge the line, such as ``language_unsupported``.
    """

    line: Line
    hypothesis: str
    cer: float
    errors: int
    words: int
    syllables: float | None = None
    toneless: float | None = None
    failure: str | None = None

    @property
    def error_rate(self) -> float:
        """What a bound is compared with: the character error rate; of Mandarin the mean of both syllable error rates.

        Whisper writes characters that sound alike for each other, which says nothing of the voice. A syllable that is
        right but for its tone counts half, because smaller Whispers guess tones from what is likely to be meant.
        """
        if self.syllables is None or self.toneless is None:
            return self.cer
        return (self.syllables + self.toneless) / 2


@dataclass(slots=True)
class Tally:
    """What one voice said in one language: lines, those rejected, and words with their errors."""

    lines: int = 0
    rejected: int = 0
    errors: int = 0
    words: int = 0


def listen_back(
    transcribe: Transcribe, lines: Sequence[Line], pcm: Sequence[Pcm], alone: Transcribe | None = None
) -> list[Heard]:
    """Transcribe what was spoken, several lines to a window.

    Args:
        transcribe: A stage that transcribes, as :func:`~llaso_data.pipeline.transcription.listeners` makes it.
        lines: What was to be said.
        pcm: What was said: int16 at 16 kHz, of each line.
        alone: Transcribes lines that differ from what was meant once more, each in a window of its own; None: none is.

    Returns:
        What was heard, in the order of the lines.
    """
    utterances = [
        _utterance(number, line, samples) for number, (line, samples) in enumerate(zip(lines, pcm, strict=True))
    ]
    transcribed = transcribe(utterances, pcm)
    heard = [_heard(line, utterance) for line, utterance in zip(lines, transcribed, strict=True)]
    packed = [number for number, utterance in enumerate(transcribed) if utterance.decoding == "packed"]
    again = [number for number in packed if heard[number].error_rate > MAX_CER]
    if alone is not None and again:
        solo = alone([utterances[number] for number in again], [pcm[number] for number in again])
        for number, utterance in zip(again, solo, strict=True):
            heard[number] = _heard(lines[number], utterance)
    return heard


def tallies(heard: Iterable[Heard], max_cer: float = MAX_CER) -> dict[tuple[str, str], Tally]:
    """Count lines, rejections and errors by voice and language.

    Args:
        heard: What was heard.
        max_cer: The error rate above which a line is rejected.
    """
    counts: dict[tuple[str, str], Tally] = {}
    for one in heard:
        tally = counts.setdefault((one.line.voice, one.line.language), Tally())
        tally.lines += 1
        tally.rejected += one.error_rate > max_cer
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


def _heard(line: Line, utterance: Utterance) -> Heard:
    from rapidfuzz.distance import Levenshtein

    hypothesis = utterance.hypothesis or ""
    reference, other = comparable_words(line.text, hypothesis, line.language)
    errors = Levenshtein.distance(reference, other)
    syllables = toneless = None
    if pinyin.version(line.language) is not None:
        syllables, toneless = pinyin.syllable_error_rates(line.text, hypothesis)
    failure = None if utterance.failure is None else utterance.failure.reason
    if failure is None and utterance.hypothesis is None:
        failure = NOT_TRANSCRIBED
    error_rate = cer(line.text, hypothesis, line.language)
    return Heard(line, hypothesis, error_rate, errors, len(reference), syllables, toneless, failure)
