"""Loaded models and decoded clips that the tests of listening share: each is loaded once per run."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from llaso_data import audio
from llaso_data.recipe import Asr, Run
from llaso_data.records import GIVEN, UNKNOWN, Source, Utterance, utterance_id
from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.load import Whisper, load
from llaso_data.whisper.windows import assemble, pack
from tests.conftest import Clip


@functools.cache
def whisper(folder: Path, engine: Literal["ctranslate2", "torch"] = "ctranslate2") -> Whisper:
    return load(Asr(model=str(folder), engine=engine), Run(device="cpu", threads=2))


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
    """The encoder states (clips, 1500, width) of each clip alone in its window, kept for who asks again."""
    key = (id(model), *(samples.tobytes() for samples in audio_of))
    if key not in _ENCODED:
        _ENCODED[key] = (model, _encoded(model, audio_of))
    return _ENCODED[key][1]


_ENCODED: dict[tuple[int | bytes, ...], tuple[Whisper, torch.Tensor]] = {}  # with the model, or its id is another's


def _encoded(model: Whisper, audio_of: Sequence[NDArray[np.int16]]) -> torch.Tensor:
    windows = pack([len(samples) for samples in audio_of], [None] * len(audio_of), 0.6, packed=False)
    return model.engine.encode([assemble(window, dict(enumerate(audio_of))) for window in windows])


def states(model: Whisper, audio_of: Sequence[NDArray[np.int16]]) -> list[EncoderStates]:
    """The same as text is forced over them."""
    return model.decoder.cache_cross_attention(encoded(model, audio_of))


def own_frames(samples: NDArray[np.int16]) -> int:
    return -(-len(samples) // 320)
