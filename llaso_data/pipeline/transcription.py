"""The transcription stage, given its scorer: ``asr`` and ``align`` do not import each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llaso_data.align.scorer import NoScores, Scorer
from llaso_data.asr.transcribe import Transcriber
from llaso_data.whisper.load import Whisper

if TYPE_CHECKING:
    from llaso_data.recipe import Align, Asr, Segment


def transcriber(whisper: Whisper, asr: Asr, align: Align | None, segment: Segment | None = None) -> Transcriber:
    """The transcription stage for a recipe's sections; ``segment`` where recordings were cut."""
    scorer = NoScores() if align is None else Scorer(whisper.decoder, align)
    return Transcriber(whisper, asr, scorer, segment)


def listeners(whisper: Whisper, asr: Asr, align: Align | None) -> tuple[Transcriber, Transcriber]:
    """Stages that transcribe and score nothing: several clips to a window, and each in a window of its own."""
    plain = asr.model_copy(update={"disputed_alone": False})
    scorer = NoScores(align)
    return Transcriber(whisper, plain, scorer), Transcriber(whisper, plain.model_copy(update={"pack": False}), scorer)
