"""What texts are scored over, and what scoring says: transcription asks for it, alignment does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llaso_data.records import Word
from llaso_data.whisper.encoder_states import EncoderStates


@dataclass(frozen=True, slots=True)
class Clip:
    """What the backward passes need of one utterance."""

    pcm: NDArray[np.int16]
    states: EncoderStates  # the clip's own slice, which words are aligned to
    context: EncoderStates  # the same with silence around it, which the text is scored over
    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Backward:
    """Scores and words of one clip; ``words`` is empty where the text cannot be laid over the audio."""

    words: tuple[Word, ...]
    min_word_logprob: float | None
    mean_word_logprob: float | None
    eot_logprob: float | None


class TextScorer(Protocol):
    """Scores texts of clips, and lays their words over the audio."""

    @property
    def heads(self) -> int:
        """How many of the decoder's cross-attention heads are looked at."""

    def align(self, clips: Sequence[Clip]) -> list[Backward]:
        """Scores and words of every clip's text."""

    def compare(self, clips: Sequence[Clip], hypotheses: Sequence[str | None]) -> list[float | None]:
        """The log-likelihood ratio of every clip's text to what was heard; None where there is no hypothesis."""
