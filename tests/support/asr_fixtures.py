"""Loaded models and decoded clips that the tests of listening share: each is loaded once per run."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from llaso_data import audio
from llaso_data.recipe import Align, Asr, Run
from llaso_data.records import GIVEN, UNKNOWN, Source, Utterance, utterance_id
from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.engine import DecodingResult, Engine
from llaso_data.whisper.load import Whisper, load
from llaso_data.whisper.windows import assemble, pack
from tests.conftest import Clip


class KeepingEngine:
    """An engine that encodes no window twice: most tests of listening hear the same clips, and encoding takes longest.

    What it kept counts as encoded, as the engine itself would count it. :func:`forget` makes it encode anew.
    """

    def __init__(self, engine: Engine) -> None:
        self.vocabulary, self.statistics = engine.vocabulary, engine.statistics
        self._engine = engine
        self._kept: dict[tuple[bytes, ...], torch.Tensor] = {}

    def encode(self, windows: Sequence[NDArray[np.int16]]) -> torch.Tensor:
        key = tuple(hashlib.blake2b(window.tobytes()).digest() for window in windows)
        if key in self._kept:
            self.statistics.count(windows_encoded=len(windows))
        else:
            self._kept[key] = self._engine.encode(windows)
        return self._kept[key].clone()

    def decode(self, states_BSD: torch.Tensor, languages: Sequence[str]) -> list[DecodingResult]:
        return self._engine.decode(states_BSD, languages)

    def forget(self) -> None:
        self._kept.clear()


@functools.cache
def whisper(folder: Path, engine: Literal["ctranslate2", "torch"] = "ctranslate2") -> Whisper:
    # One thread: as many tests as there are cores run beside each other.
    loaded = load(Asr(model=str(folder), engine=engine), Run(device="cpu", threads=1), Align(compute_type="float32"))
    return replace(loaded, engine=KeepingEngine(loaded.engine))


def forget(model: Whisper) -> None:
    """Have the model encode again what it has encoded."""
    assert isinstance(model.engine, KeepingEngine)
    model.engine.forget()


@functools.cache
def pcm(path: Path) -> NDArray[np.int16]:
    return audio.decode(str(path))[0]


def named(clips: Sequence[Clip], *names: str) -> list[Clip]:
    """The clips of these file names, in this order."""
    by_name = {f"{clip.language}/{clip.path.stem}": clip for clip in clips}
    return [by_name[name] for name in names]


def utterance(clip: Clip, *, language: str | None = "", text: str | None = None) -> Utterance:
    """A clip not yet heard; its own language unless another, or None, is named."""
    name = utterance_id("clips", str(clip.path))
    return Utterance(
        id=name,
        recording=name,
        source=Source(corpus="clips", uri=str(clip.path)),
        language=clip.language if language == "" else language,
        language_origin=UNKNOWN if language is None else GIVEN,
        text=text,
        text_origin=UNKNOWN if text is None else GIVEN,
    )


def encoded(model: Whisper, audio_of: Sequence[NDArray[np.int16]]) -> torch.Tensor:
    """The encoder states (clips, 1500, width) of each clip alone in its window."""
    windows = pack([len(samples) for samples in audio_of], [None] * len(audio_of), 0.6, packed=False)
    return torch.cat([model.engine.encode([assemble(window, dict(enumerate(audio_of)))]) for window in windows])


def states(model: Whisper, audio_of: Sequence[NDArray[np.int16]]) -> list[EncoderStates]:
    """The same as text is forced over them."""
    return model.decoder.cache_cross_attention(encoded(model, audio_of))


def own_frames(samples: NDArray[np.int16]) -> int:
    return -(-len(samples) // 320)
