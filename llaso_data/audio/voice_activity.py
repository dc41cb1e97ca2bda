"""Whether somebody speaks, every 32 ms: Silero VAD."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_SAMPLES = 512
"""Silero's step at 16 kHz, 32 ms."""

_FRAMES_AT_ONCE = 16
_LOADING = threading.Lock()


def speech_probabilities(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """Probability of speech in every 32 ms of 16 kHz samples: shape (frames,); the last frame may be shorter."""
    frames = -(-len(pcm) // FRAME_SAMPLES)
    # The runtime plans its memory for every length and keeps the plans, so samples are padded to a multiple of half a
    # second. Silence that follows does not change the probabilities before it.
    padded = np.zeros(-(-frames // _FRAMES_AT_ONCE) * _FRAMES_AT_ONCE * FRAME_SAMPLES, dtype=np.float32)
    padded[: len(pcm)] = pcm / np.float32(32768.0)
    with _silero() as model:
        probs: NDArray[np.float32] = model.audio_forward(padded)[:frames]
    return probs


_idle: list[Any] = []
"""Loaded models that nobody uses now. One keeps the state of what it hears, so threads share none."""


@contextmanager
def _silero() -> Iterator[Any]:
    with _LOADING:
        model = _idle.pop() if _idle else _load()
    try:
        yield model
    finally:
        _idle.append(model)


def _load() -> Any:
    import torch

    threads = torch.get_num_threads()
    import silero_vad  # sets torch to one thread when imported

    torch.set_num_threads(threads)
    model = silero_vad.load_silero_vad(sequence=True)
    # The runtime keeps the memory of its longest input. Give it the longest it takes at once, so that memory is steady.
    model.audio_forward(np.zeros(model.max_frames * FRAME_SAMPLES, dtype=np.float32))
    return model
