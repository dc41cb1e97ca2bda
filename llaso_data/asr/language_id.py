"""Language identification of clips, each over its own slice of its window's encoder states."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from llaso_data.asr.window_decoder import WindowDecoder
from llaso_data.records import ASR, Utterance
from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.load import Whisper
from llaso_data.whisper.windows import Window

# Below these a packed clip is identified again in a window of its own: languages leak into each other's states.
_MIN_PROB = 0.5
_MIN_PROB_MIXED = 0.9  # in a window in which several languages were found


def identify_languages(
    whisper: Whisper, states: Mapping[int, EncoderStates], candidates: Collection[str]
) -> dict[int, tuple[str, float | None]]:
    """The most likely language of every clip, and its probability among the candidates.

    An English-only model gives English, without a probability.

    Args:
        whisper: The model that the states are of.
        states: Encoder states of each clip, by its number.
        candidates: Codes of the languages that may be found; empty for all that the model knows.
    """
    vocabulary = whisper.vocabulary
    if not vocabulary.multilingual:
        english: tuple[str, float | None] = ("en", None)
        return dict.fromkeys(states, english)
    codes = list(vocabulary.languages)
    allowed = np.array([not candidates or code in candidates for code in codes])
    clips = sorted(states)
    probs = whisper.decoder.language_probs([states[clip] for clip in clips]) * allowed
    probs = probs / np.maximum(probs.sum(axis=1, keepdims=True), 1e-9)
    best = probs.argmax(axis=1)
    return {
        clip: (codes[language], float(row[language])) for clip, language, row in zip(clips, best, probs, strict=True)
    }


def clip_states(
    decoder: WindowDecoder, windows: Sequence[Window], states: Sequence[EncoderStates]
) -> dict[int, EncoderStates]:
    """The states that each clip's language is identified over: its own context or, of a clip alone, the window."""
    return {
        slot.clip: window_states if window.solo else decoder.context(window_states, window, slot)
        for window, window_states in zip(windows, states, strict=True)
        for slot in window.slots
    }


def with_language(utterance: Utterance, code: str, prob: float | None) -> Utterance:
    """The utterance in the language that was identified."""
    scores = utterance.scores if prob is None else dataclasses.replace(utterance.scores, language_prob=prob)
    return dataclasses.replace(utterance, language=code, language_origin=ASR, scores=scores)


def uncertain_clips(utterances: Sequence[Utterance], window: Window) -> set[int]:
    """The clips of a window whose language has to be identified again, without neighbours."""
    if window.solo:
        return set()
    clips = [slot.clip for slot in window.slots]
    mixed = len({utterances[clip].language for clip in clips}) > 1
    min_prob = _MIN_PROB_MIXED if mixed else _MIN_PROB
    return {clip for clip in clips if (utterances[clip].scores.language_prob or 0.0) < min_prob}
