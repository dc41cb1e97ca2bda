"""DNSMOS: what listeners would say of the quality of speech, by Microsoft's two networks.

Reddy et al., "DNSMOS P.835" (ICASSP 2022) and "DNSMOS" (ICASSP 2021, P.808). The networks lie in the package speechmos
(MIT). They are run here, and not by its functions, because those use all cores and start one window each second, which
costs nine times as much.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, to_float32
from llaso_data.extras import require

WINDOW_S = 9.01
_WINDOW = int(WINDOW_S * SAMPLE_RATE_HZ)
_MEL_CUT = 160  # samples that the P.808 network does without
_FILES = ("dnsmos_models/sig_bak_ovr.onnx", "dnsmos_models/model_v8.onnx")
# From the networks' outputs to mean opinion scores: speechmos 0.0.1.1, dnsmos.py, get_polyfit_val.
_SIGNAL = (-0.08397278, 1.22083953, 0.0052439)
_BACKGROUND = (-0.13166888, 1.60915514, -0.39604546)
_OVERALL = (-0.06766283, 1.11546468, 0.04602535)


@dataclass(frozen=True, slots=True)
class Dnsmos:
    """Mean opinion scores, 1 (bad) to 5 (excellent).

    Attributes:
        overall: Of all that is heard (P.835).
        signal: Of the speech alone (P.835).
        background: How little the background intrudes (P.835).
        p808: Of all that is heard, by the older network (P.808).
    """

    overall: float
    signal: float
    background: float
    p808: float


def dnsmos(pcm: Pcm, step_s: float = WINDOW_S) -> Dnsmos | None:
    """The quality of speech as listeners would judge it.

    Args:
        pcm: (T,) int16 at 16 kHz mono.
        step_s: The distance between windows of 9.01 s, whose scores are averaged. A shorter clip is repeated until it
            fills one. With 1 the scores are those of speechmos, which leaves out some windows by errors of rounding.

    Returns:
        The scores; None for an empty clip.

    Raises:
        LLaSOError: speechmos is not installed.
    """
    if not len(pcm):
        return None
    primary, p808 = _networks()
    scores = []
    for window in _windows(to_float32(pcm), step_s):
        signal, background, overall = primary.run(None, {"input_1": window[None]})[0][0]
        older = p808.run(None, {"input_1": _mel(window[:-_MEL_CUT])[None]})[0][0][0]
        fitted = (np.polyval(_OVERALL, overall), np.polyval(_SIGNAL, signal), np.polyval(_BACKGROUND, background))
        scores.append((*fitted, older))
    return Dnsmos(*(float(score) for score in np.mean(scores, axis=0)))


def model_files() -> list[Path]:
    """The files of the networks, which decide the scores.

    Raises:
        LLaSOError: speechmos is not installed.
    """
    require("observe.quality.dnsmos", "speechmos")
    spec = importlib.util.find_spec("speechmos")
    assert spec is not None and spec.submodule_search_locations is not None
    return [Path(next(iter(spec.submodule_search_locations))) / name for name in _FILES]


def _windows(samples: npt.NDArray[np.float32], step_s: float) -> Sequence[npt.NDArray[np.float32]]:
    """Windows of 9.01 s; the last is the last that fits, as in speechmos."""
    while len(samples) < _WINDOW:
        samples = np.append(samples, samples)
    count = int((len(samples) // SAMPLE_RATE_HZ - WINDOW_S) / step_s) + 1
    starts = [int(number * step_s * SAMPLE_RATE_HZ) for number in range(count)]
    return [samples[start : start + _WINDOW] for start in starts if start + _WINDOW <= len(samples)]


def _mel(window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The P.808 network's spectrogram: (900, 120), dB scaled to about -1 to 1."""
    import librosa

    power = librosa.feature.melspectrogram(y=window, sr=SAMPLE_RATE_HZ, n_fft=321, hop_length=160, n_mels=120)
    decibels = librosa.power_to_db(power, ref=np.max)
    scaled: npt.NDArray[np.float32] = ((decibels + 40) / 40).astype(np.float32).T
    return scaled


@functools.cache
def _networks() -> tuple[Any, Any]:
    """Both networks, once per process, on one thread: the same numbers whatever else runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    first, second = (
        onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]) for file in model_files()
    )
    return first, second
