"""The stage that hears a block: transcription, with the scorer of texts that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llaso_data.align.scorer import Scorer
from llaso_data.asr.transcribe import Transcriber
from llaso_data.whisper.load import Whisper

if TYPE_CHECKING:
    from llaso_data.recipe import Align, Asr, Segment


def transcriber(whisper: Whisper, asr: Asr, align: Align, segment: Segment | None = None) -> Transcriber:
    """The stage as a recipe's sections say; ``segment`` where recordings were cut."""
    return Transcriber(whisper, asr, Scorer(whisper.decoder, align), segment)
