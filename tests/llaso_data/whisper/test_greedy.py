"""Greedy decoding by the decoder that forces texts: what teacher forcing says of the same tokens, in the same steps."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from llaso_data.asr.split import masses, territories
from llaso_data.recipe import Align, Asr, Run
from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.greedy import Decoded, GreedyDecoder, _Text
from llaso_data.whisper.linear import computes_bf16
from llaso_data.whisper.load import Whisper, load
from llaso_data.whisper.windows import Window, assemble, pack
from tests.conftest import Clip
from tests.support.asr_fixtures import encoded, named, pcm, whisper

NAMES = ("en/counting", "en/hello_world", "en/quick_brown_fox")
HEADS = 6


@functools.cache
def greedy(folder: Path, bfloat16: bool = False) -> Whisper:
    asr = Asr(model=str(folder), compute_type="float32_encoder")
    return load(asr, Run(device="cpu", threads=1), Align(compute_type="bfloat16" if bfloat16 else "float32"))


def windows_of(model: Whisper, clips: list[Clip]) -> tuple[list[Window], list[EncoderStates]]:
    """All clips in one window, then each alone."""
    audio_of = dict(enumerate(pcm(clip.path) for clip in named(clips, *NAMES)))
    lengths, languages = [len(samples) for samples in audio_of.values()], [None] * len(audio_of)
    windows = [*pack(lengths, languages, 0.6), *pack(lengths, languages, 0.6, packed=False)]
    states_BSW = torch.cat([model.engine.encode([assemble(window, audio_of)]) for window in windows])
    return windows, model.decoder.cache_cross_attention(states_BSW)


def decoded(model: Whisper, windows: list[Window], states: list[EncoderStates]) -> list[Decoded]:
    places = [None if window.solo else territories(window.slots) for window in windows]
    return model.decoder.decode(states, ["en"] * len(windows), places, HEADS)


@pytest.mark.parametrize("bfloat16", [False] + [True] * computes_bf16(torch.device("cpu")))
def test_tokens_are_scored_and_located_as_teacher_forcing_does(
    tiny_en: Path, clips: list[Clip], bfloat16: bool
) -> None:
    model = greedy(tiny_en, bfloat16)
    windows, states = windows_of(model, clips)
    found = decoded(model, windows, states)
    targets = [[*one.result.tokens, model.vocabulary.end] for one in found]
    forced = model.decoder.force([model.vocabulary.prompt("en")] * len(targets), targets, states, heads=HEADS)
    bound = 0.1 if bfloat16 else 1e-3
    for window, one, scores in zip(windows, found, forced, strict=True):
        assert one.result.tokens and not one.looped
        assert np.abs(one.logprobs - scores.logprobs).max() < bound
        likely = scores.end_logprobs > -8.0
        assert np.abs(one.end_logprobs - scores.end_logprobs)[likely].max() < bound
        assert (one.masses_TK is None) is window.solo
        if one.masses_TK is not None:
            assert scores.attention_HTS is not None
            assert one.masses_TK.sum(axis=1) == pytest.approx(1.0, abs=0.02)
            assert np.abs(one.masses_TK - masses(scores.attention_HTS, window.slots)).max() < bound


def test_the_texts_are_those_of_transformers(tiny_en: Path, clips: list[Clip]) -> None:
    model, exact = greedy(tiny_en), whisper(tiny_en, "torch")
    states_BSW = encoded(model, [pcm(clip.path) for clip in named(clips, *NAMES)])
    ours = model.engine.decode(states_BSW, ["en"] * len(NAMES))
    theirs = exact.engine.decode(states_BSW, ["en"] * len(NAMES))
    assert [one.tokens for one in ours] == [one.tokens for one in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one.no_speech_prob == pytest.approx(other.no_speech_prob, abs=1e-4)
    assert model.statistics.tokens_decoded >= sum(len(one.tokens) for one in ours)


def test_a_window_is_heard_alike_among_others_and_alone(tiny_en: Path, clips: list[Clip]) -> None:
    model = greedy(tiny_en)
    windows, states = windows_of(model, clips)
    together = decoded(model, windows, states)
    for window, state, one in zip(windows, states, together, strict=True):
        (alone,) = decoded(model, [window], [EncoderStates(state.hidden_SW)])  # keys and values are made here
        assert alone.result.tokens == one.result.tokens
        assert np.abs(alone.logprobs - one.logprobs).max() < 1e-3


def test_forbidden_tokens_are_not_chosen(tiny_en: Path, clips: list[Clip]) -> None:
    model = greedy(tiny_en)
    windows, states = windows_of(model, clips)
    first = decoded(model, windows[1:2], states[1:2])[0].result.tokens

    class Config:
        suppress_tokens = (first[1],)
        begin_suppress_tokens = (first[0], model.vocabulary.end)

    again = GreedyDecoder(model.decoder._decoder, model.decoder._logprobs, model.vocabulary, Config())
    (one,) = again(states[1:2], [model.vocabulary.prompt("en")], [None], HEADS)
    assert one.result.tokens and one.result.tokens[0] != first[0] and first[1] not in one.result.tokens


@pytest.mark.parametrize("period", [1, 2, 8])
def test_a_text_that_repeats_itself_is_ended(period: int) -> None:
    text = _Text(None)
    for number in range(100, 110):
        text.add(number, -1.0, -9.0)
    for number in range(48):
        assert not text.loops()
        text.add(number % period, 0.0, -9.0)
    assert text.loops()
    text.add(1, -9.0, -9.0)
    assert text.decoded(0.0, HEADS).looped


def test_a_long_text_without_a_loop_goes_on() -> None:
    text = _Text(None)
    for number in range(300):
        text.add(number % 9, 0.0, -9.0)
        assert not text.loops()
