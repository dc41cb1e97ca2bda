"""Voices as vectors: two clips of one speaker point into nearly the same direction.

The network is that of Wan et al., "Generalized End-to-End Loss for Speaker Verification" (ICASSP 2018), with the
weights of the package Resemblyzer (Apache-2.0). Only its weights are used: its code needs webrtcvad, and all cores.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, to_float32
from llaso_data.extras import require

SIZE = 256
"""The length of an embedding."""
WINDOW_S = 1.6
"""What the network was trained on; it is asked for windows of this length."""
WINDOW = int(WINDOW_S * SAMPLE_RATE_HZ)

_HOP, _MEL_FFT, _MELS = 160, 400, 40
_FRAMES = WINDOW // _HOP
_STEP = WINDOW // 2
_LEVEL_DBFS = -30.0  # fainter clips are made as loud, as in training
_BATCH = 32
_QUIET_DB, _QUIET_FRAME = 40.0, 480  # what is so far below the loud speech is a pause

Embedding = npt.NDArray[np.float32]


def speaker_embedding(pcm: Pcm) -> Embedding | None:
    """The voice of a clip of one speaker.

    Args:
        pcm: (T,) int16 at 16 kHz mono. A second tells little of a voice, five tell what there is.

    Returns:
        (256,) float32 of length 1. The dot product of two is their similarity: 0.7 to 0.95 for two clips of one voice,
        0.4 to 0.65 for those of two. None for silence.

    Raises:
        LLaSOError: Resemblyzer is not installed.
    """
    speech = _without_pauses(pcm)
    if not speech.any():
        return None
    starts = range(0, max(1, len(speech) - WINDOW + _STEP), _STEP)
    windows = [speech[start : start + WINDOW] for start in starts]
    kept = [window for window in windows if len(window) >= 0.75 * WINDOW] or windows[:1]
    return unit(window_embeddings(kept).mean(axis=0))


def window_embeddings(windows: Sequence[Pcm]) -> Embedding:
    """The voices of windows of one recording.

    Args:
        windows: int16 at 16 kHz mono, 1.6 s or less each; a shorter one is repeated until it fills a window.

    Returns:
        (windows, 256) float32 of length 1 each.

    Raises:
        LLaSOError: Resemblyzer is not installed.
    """
    if not windows:
        return np.zeros((0, SIZE), np.float32)
    import torch

    network = _network()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums whatever else runs
    try:
        with torch.inference_mode():
            mels = [torch.from_numpy(_mel(window)) for window in windows]
            batches = [torch.stack(mels[start : start + _BATCH]) for start in range(0, len(mels), _BATCH)]
            return np.concatenate([np.asarray(network(batch).numpy(), np.float32) for batch in batches])
    finally:
        torch.set_num_threads(threads)


def unit(vector: npt.NDArray[Any]) -> Embedding:
    """The vector with length 1, float32; a vector of zeros stays."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def weights_file() -> Path:
    """The file of the weights, which decide the embeddings.

    Raises:
        LLaSOError: Resemblyzer is not installed.
    """
    require("the comparison of voices", "resemblyzer")
    spec = importlib.util.find_spec("resemblyzer")
    assert spec is not None and spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))) / "pretrained.pt"


def _without_pauses(pcm: Pcm) -> Pcm:
    """The frames of 30 ms that are not far below the loud ones."""
    whole = len(pcm) // _QUIET_FRAME * _QUIET_FRAME
    if not whole:
        return pcm
    frames = pcm[:whole].reshape(-1, _QUIET_FRAME)
    power = (frames.astype(np.float64) ** 2).mean(axis=1)
    kept: Pcm = frames[power >= np.percentile(power, 95) / 10 ** (_QUIET_DB / 10)].reshape(-1)
    return kept


def _mel(window: Pcm) -> npt.NDArray[np.float32]:
    """The network's spectrogram: (160, 40) powers."""
    import librosa

    filled = np.resize(window, WINDOW)  # repeats a shorter one
    samples = to_float32(filled)
    level = 10 * np.log10(max(float(np.mean(samples.astype(np.float64) ** 2)), 1e-12))
    samples = samples * np.float32(10 ** (max(0.0, _LEVEL_DBFS - level) / 20))
    power = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE_HZ, n_fft=_MEL_FFT, hop_length=_HOP, n_mels=_MELS)
    return np.ascontiguousarray(power[:, :_FRAMES].T, np.float32)


@functools.cache
def _network() -> Any:
    import torch

    class VoiceEncoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = torch.nn.LSTM(_MELS, SIZE, 3, batch_first=True)
            self.linear = torch.nn.Linear(SIZE, SIZE)

        def forward(self, mels_BTM: torch.Tensor) -> torch.Tensor:
            _, (hidden_LBD, _) = self.lstm(mels_BTM)
            return torch.nn.functional.normalize(torch.relu(self.linear(hidden_LBD[-1])))

    network = VoiceEncoder()
    state = torch.load(weights_file(), map_location="cpu", weights_only=True)["model_state"]
    network.load_state_dict({name: value for name, value in state.items() if name.split(".")[0] in ("lstm", "linear")})
    return network.eval()
