"""Clips in a language that Whisper has no token of: their given texts are aligned and not scored.

Characters that are teacher-forced without a language token are aligned nearly as well as with one. Their likelihood
means little, because the model does not know the language, so no score is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llaso_data.records import GIVEN, GIVEN_UNMATCHED, UNJUDGED, Utterance, Word
from llaso_data.whisper.clips import Clip, TextScorer
from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.windows import Window


def mark_unjudged(utterance: Utterance) -> Utterance:
    """The utterance marked as one that the judge does not score.

    A segment loses the text of its recording, because only a transcription could say which part of it is the segment's.
    """
    extra = {**utterance.scores.extra, UNJUDGED: 1.0}
    text, origin = utterance.text, utterance.text_origin
    if origin == GIVEN and utterance.recording != utterance.id:
        extra[GIVEN_UNMATCHED], text = 1.0, None
    return dataclasses.replace(utterance, text=text, scores=dataclasses.replace(utterance.scores, extra=extra))


def align_words(
    scorer: TextScorer,
    utterances: Sequence[Utterance],
    windows: Sequence[Window],
    states: Sequence[EncoderStates],
    audio: Mapping[int, NDArray[np.int16]],
) -> Iterator[tuple[int, tuple[Word, ...]]]:
    """Align the texts of windows with one clip each.

    Args:
        scorer: Aligns with the Whisper that ``states`` are of.
        utterances: All of the block; windows name them by number.
        windows: Each with one slot.
        states: Encoder states of each window.
        audio: 16 kHz mono samples by the clip's number.

    Yields:
        The clip's number and its words with their times, without log-probabilities.
    """
    slots = [window.slots[0] for window in windows]
    clips = [
        Clip(
            audio[s.clip], context[s.frames], context, utterances[s.clip].text or "", utterances[s.clip].language or ""
        )
        for s, context in zip(slots, states, strict=True)
    ]
    for slot, backward in zip(slots, scorer.align(clips), strict=True):
        yield slot.clip, tuple(dataclasses.replace(word, logprob=None) for word in backward.words)
