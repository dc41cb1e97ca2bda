"""Clips in a language that Whisper is told by no token: their given texts are aligned, and judged by nobody.

Characters teacher-forced without a language's token find their places all the same (5 ms from where the own language's
token puts them, in the mean of clips in six languages). What the model makes of their likelihood means little in a
language that it was not told, so no score is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llaso_data.records import GIVEN, Utterance, Word
from llaso_data.whisper.clips import Clip, TextScorer
from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.windows import Window

UNJUDGED = "unjudged"
"""``scores.extra``: 1 where Whisper has no token of the clip's language and the recipe names no relative."""


def mark_unjudged(utterance: Utterance) -> Utterance:
    """The utterance as one that nobody judges. A segment loses the text of its recording: only transcribing could say
    which part of it belongs there.
    """
    extra = {**utterance.scores.extra, UNJUDGED: 1.0}
    text, origin = utterance.text, utterance.text_origin
    if origin == GIVEN and utterance.recording != utterance.id:
        extra["given_unmatched"], text = 1.0, None
    return dataclasses.replace(utterance, text=text, scores=dataclasses.replace(utterance.scores, extra=extra))


def align_words(
    scorer: TextScorer,
    utterances: Sequence[Utterance],
    windows: Sequence[Window],
    states: Sequence[EncoderStates],
    audio: Mapping[int, NDArray[np.int16]],
) -> Iterator[tuple[int, tuple[Word, ...]]]:
    """(number of the clip, its words with their times) of windows with one clip each.

    Args:
        scorer: With the decoder of the Whisper whose ``states`` these are.
        utterances: All of the block; windows name them by number.
        windows: Each with one slot.
        states: The encoder's, of each window.
        audio: 16 kHz mono samples by number.
    """
    slots = [window.slots[0] for window in windows]
    clips = [
        Clip(audio[s.clip], own[s.frames], own, utterances[s.clip].text or "", utterances[s.clip].language or "")
        for s, own in zip(slots, states, strict=True)
    ]
    for slot, found in zip(slots, scorer.align(clips), strict=True):
        yield slot.clip, tuple(dataclasses.replace(word, logprob=None) for word in found.words)
