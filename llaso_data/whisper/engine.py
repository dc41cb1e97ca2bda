"""What an engine of Whisper is to the rest: encode windows, decode them freely, and count both.

The teacher-forced passes (:mod:`llaso_data.whisper.teacher_forcing`) work on the states of either engine.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from llaso_data.errors import LLaSOError

if TYPE_CHECKING:
    import torch

    from llaso_data.recipe import Asr, Run
    from llaso_data.whisper.tokenizer import WhisperTokenizer


_COUNTING = threading.Lock()
MAX_NEW_TOKENS = 440  # of one window's free decoding: what Whisper's 448 positions leave beside the prompt


@dataclass(slots=True)
class Statistics:
    """Model calls since loading: a rerun that transcribes nothing has zeros here."""

    models_loaded: int = 0
    windows_encoded: int = 0
    windows_decoded: int = 0
    tokens_decoded: int = 0
    passes_forced: int = 0

    def add(self, other: Statistics) -> None:
        self.count(**asdict(other))

    def count(self, **more: int) -> None:
        with _COUNTING:  # batches are many at once
            for name, value in more.items():
                setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What free decoding heard in one window: text tokens without the prompt and without end of text."""

    tokens: tuple[int, ...]
    no_speech_prob: float


class Engine(Protocol):
    """One loaded Whisper. ``states`` are (windows, 1500, width) on the engine's torch device."""

    vocabulary: WhisperTokenizer
    statistics: Statistics

    def encode(self, windows: Sequence[NDArray[np.int16]]) -> torch.Tensor: ...

    def decode(self, states_BSD: torch.Tensor, languages: Sequence[str]) -> list[Decoded]: ...


def device(run: Run) -> str:
    """``cpu`` or ``cuda`` for what the recipe asks; an error where cuda is asked for and absent."""
    import torch

    if run.device == "cuda" and not torch.cuda.is_available():
        raise LLaSOError("run.device: cuda was asked for, but torch sees no CUDA device; use --device cpu or auto")
    if run.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return run.device


def compute_type(asr: Asr, on: str) -> str:
    if asr.compute_type != "auto":
        return asr.compute_type
    return "int8" if on == "cpu" else "float16"
