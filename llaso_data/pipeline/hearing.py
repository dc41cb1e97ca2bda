"""The stage that hears a block: transcription, with the scorer of texts that it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llaso_data.align.scorer import Scorer
from llaso_data.asr.listen import Listen
from llaso_data.whisper.load import Whisper

if TYPE_CHECKING:
    from llaso_data.recipe import Align, Asr, Segment


def listener(whisper: Whisper, asr: Asr, align: Align, segment: Segment | None = None) -> Listen:
    """The stage as a recipe's sections say; ``segment`` where recordings were cut."""
    return Listen(whisper, asr, Scorer(whisper.decoder, align), segment)
