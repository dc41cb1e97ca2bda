"""From Whisper's cross-attention to a tokens x frames score that a monotone path can follow.

Characters are teacher-forced (Yeh et al., "Whisper Has an Internal Word Aligner", 2025). Which heads are read is
:mod:`llaso_data.asr.forced`'s choice: the checkpoint's own alignment heads, else those of largest norm for this
utterance. ``bench/joined_words.py`` holds them side by side: with base and packed windows the checkpoint's own put
93 % of the borders within 100 ms, the six of largest norm 69 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llaso_data.audio import SAMPLE_RATE_HZ

FRAME_S = 0.02  # Whisper's encoder gives one state per 20 ms
FRAME_SAMPLES = round(FRAME_S * SAMPLE_RATE_HZ)


def score(
    attention_HTS: NDArray[np.float32], median: int, is_space_T: NDArray[np.bool_], energy_S: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Tokens x frames: the heads' mean as each frame's distribution over tokens, in logarithms, plus the energy.

    ``attention_HTS`` holds the chosen heads, ``energy_S`` the frames' energy scaled to 0-1 times its weight.
    Energy is added to the tokens that sound and its complement to those that do not (``is_space_T``: spaces, end
    of text), which lets silence fall between words instead of stretching them.
    """
    from scipy.ndimage import median_filter

    mean_TS = attention_HTS.mean(axis=0)
    share_TS = mean_TS / np.maximum(mean_TS.sum(axis=0, keepdims=True), 1e-9)
    # A third of the logarithm lies in 0 to -3, beside an energy of 0 to 1 times its weight.
    score_TS = np.log(share_TS + 1e-4) / 3.0
    if median > 1:
        score_TS = median_filter(score_TS, size=(1, median), mode="nearest")
    weight = float(energy_S.max(initial=0.0))
    sounding_TS = np.where(is_space_T[:, None], weight - energy_S[None, :], energy_S[None, :])
    total: NDArray[np.float32] = (score_TS + sounding_TS).astype(np.float32)
    return total


def energy(pcm: NDArray[np.int16], frames: int, weight: float) -> NDArray[np.float32]:
    """The level of each 20 ms frame in dB, from its 10th percentile (0) to its 90th (``weight``), shape (frames,)."""
    import librosa

    if weight == 0 or frames == 0:
        return np.zeros(frames, dtype=np.float32)
    samples = pcm.astype(np.float32) / 32768.0
    rms = librosa.feature.rms(y=samples, frame_length=2 * FRAME_SAMPLES, hop_length=FRAME_SAMPLES, center=True)[0]
    level_db = 20.0 * np.log10(np.maximum(rms, 1e-5))
    level_db = np.pad(level_db[:frames], (0, max(0, frames - len(level_db))), mode="edge")
    low, high = np.percentile(level_db, [10, 90])
    if high - low < 1.0:  # nothing to tell speech from silence by
        return np.zeros(frames, dtype=np.float32)
    scaled: NDArray[np.float32] = (weight * np.clip((level_db - low) / (high - low), 0.0, 1.0)).astype(np.float32)
    return scaled
