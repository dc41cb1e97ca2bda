"""What the backward direction takes and gives. Transcription asks for it, and alignment does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llaso_data.records import Word
from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.teacher_forcing import ForcedScores

ForcedTokens = tuple[tuple[int, ...], tuple[int, ...]]
"""A prompt, and the targets that are forced after it."""


@dataclass(frozen=True, slots=True)
class Clip:
    """What scoring and alignment need of one utterance.

    Attributes:
        pcm: 16 kHz mono samples, shape (samples,).
        states: The clip's own slice of its window's encoder states. Words are aligned to it.
        context: The same slice with silence around it. The text is scored over it.
        text: The text that is scored and aligned.
        language: Code of the text's language.
        forced: Scores of what was forced over ``context`` already, by prompt and targets; what is forced next joins it.
    """

    pcm: NDArray[np.int16]
    states: EncoderStates
    context: EncoderStates
    text: str
    language: str
    forced: dict[ForcedTokens, ForcedScores] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class BackwardScores:
    """Scores and word times of one clip's text; log-probabilities are natural logarithms.

    Attributes:
        words: The words with their times; empty where the text does not fit the audio's frames.
        min_word_logprob: The lowest of the words' mean log-probabilities per token; of words without a letter or digit
            only where the text has no other.
        mean_word_logprob: The mean of the same.
        eot_logprob: Log-probability that the text ends where it does.
    """

    words: tuple[Word, ...]
    min_word_logprob: float | None
    mean_word_logprob: float | None
    eot_logprob: float | None


class TextScorer(Protocol):
    """Scores the texts of clips and aligns their words to the audio."""

    @property
    def scores_texts(self) -> bool:
        """Whether it does; else hypotheses are not scored, and windows of one clip not forced."""

    @property
    def heads(self) -> int:
        """How many of the decoder's cross-attention heads locate the tokens of a packed window."""

    def align(self, clips: Sequence[Clip]) -> list[BackwardScores]:
        """Scores and word times of every clip's text, in the order of the clips."""

    def compare(self, clips: Sequence[Clip], hypotheses: Sequence[str | None]) -> list[float | None]:
        """The log-likelihood ratio of every clip's text to its hypothesis; None where there is no hypothesis."""
