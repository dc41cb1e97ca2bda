"""From Whisper's cross-attention to a states x frames score that a monotone path can follow.

Characters are teacher-forced (Yeh et al., "Whisper Has an Internal Word Aligner", 2025). A character is looked at best
where it is read, in the step after the one that predicts it, and by other heads than a BPE token: the checkpoints' own
``alignment_heads`` are for the latter. ``bench/alignment.py`` prints what either choice is worth.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llaso_data.align import dtw
from llaso_data.align.word_states import WordStates
from llaso_data.whisper.windows import FRAME_SAMPLES

CANDIDATE_HEADS = 32  # heads of largest norm among which `best_heads` chooses

_LEAST_SHARE = 1e-4
_UNWRITTEN_SHARE = 0.05  # of a pause that the text has no token for
_LEAST_RANGE_DB, _MOST_RANGE_DB = 10.0, 60.0  # between the loud and the quiet frames of a clip


def input_rows(attention_HTS: NDArray[np.float32], last: bool) -> NDArray[np.float32]:
    """Rows in which each token is read instead of predicted; ``last``: with one for end of text, which never is."""
    rows = attention_HTS[:, 1:]
    return np.concatenate([rows, attention_HTS[:, -1:]], axis=1) if last else rows


def state_scores(
    attention_HTS: NDArray[np.float32],
    states: WordStates,
    energy_S: NDArray[np.float32],
    weight: float,
    median: int,
) -> NDArray[np.float32]:
    """States x frames: the heads' mean as each frame's distribution over states, in logarithms, plus the energy.

    ``attention_HTS``: the chosen heads, a row for every token and end of text. Energy (0-1) times ``weight`` is added
    to sounds and its complement to pauses, so that silence falls between words instead of stretching them.
    """
    from scipy.ndimage import median_filter

    # A third of the logarithm lies in 0 to -3, beside an energy of 0 to 1 times its weight.
    score_NS = np.log(_shares(attention_HTS.mean(axis=0), states) + _LEAST_SHARE) / 3.0
    if median > 1:
        score_NS = median_filter(score_NS, size=(1, median), mode="nearest")
    sounding_NS = np.where(states.pause_N[:, None], 1.0 - energy_S[None, :], energy_S[None, :])
    total: NDArray[np.float32] = (score_NS + weight * sounding_NS).astype(np.float32)
    return total


def select_heads(
    attention_HTS: NDArray[np.float32], states: WordStates, energy_S: NDArray[np.float32], weight: float, count: int
) -> NDArray[np.float32]:
    """The ``count`` heads that follow the audio best: those of which most lies on their own best path.

    What lies there is measured as a share of the frames' attention and of the sounds', and the two are multiplied: a
    head that looks at one place all the time has much of the one and little of the other.
    """
    frames = np.arange(attention_HTS.shape[2])
    merits = []
    for head_TS in attention_HTS:
        own = dtw.best_path(state_scores(head_TS[None], states, energy_S, weight, 1), states.pause_N)
        share_NS = _shares(head_TS, states)
        of_frames = share_NS[np.repeat(np.arange(len(own) - 1), np.diff(own)), frames].mean()
        row_TS = head_TS / np.maximum(head_TS.sum(axis=1, keepdims=True), 1e-9)
        sounds = [
            row_TS[states.tokens[n], a:b].sum() / (states.tokens[n].stop - states.tokens[n].start)
            for n, (a, b) in enumerate(pairwise(own))
            if not states.pause_N[n]
        ]
        merits.append(float(of_frames * np.mean(sounds)))
    chosen = np.sort(np.argsort(-np.array(merits), kind="stable")[:count])
    best: NDArray[np.float32] = attention_HTS[chosen]
    return best


def _shares(attention_TS: NDArray[np.float32], states: WordStates) -> NDArray[np.float32]:
    """States x frames: how each frame's attention is shared among the states."""
    share_TS = attention_TS / np.maximum(attention_TS.sum(axis=0, keepdims=True), 1e-9)
    shares: NDArray[np.float32] = np.stack([share_TS[tokens].sum(axis=0) for tokens in states.tokens])
    shares[[tokens.start == tokens.stop for tokens in states.tokens]] = _UNWRITTEN_SHARE
    return shares


def frame_energy(pcm: NDArray[np.int16], frames: int) -> NDArray[np.float32]:
    """The level of each 20 ms frame, from the clip's 5th percentile in dB (0) to its 95th (1), shape (frames,)."""
    level_db = levels_db(pcm, frames, FRAME_SAMPLES, FRAME_SAMPLES)
    low, high = np.percentile(level_db, [5, 95]) if frames else (0.0, 0.0)
    low = min(max(low, high - _MOST_RANGE_DB), high - _LEAST_RANGE_DB)
    scaled: NDArray[np.float32] = np.clip((level_db - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return scaled


def levels_db(pcm: NDArray[np.int16], count: int, hop: int, width: int) -> NDArray[np.float64]:
    """RMS level in dB of full scale of ``count`` stretches of ``width`` samples, their middles ``hop`` apart from 0."""
    import librosa

    samples = pcm.astype(np.float64) / 32768.0
    rms = librosa.feature.rms(
        y=samples, frame_length=width, hop_length=hop, center=True, pad_mode="constant", dtype=np.float64
    )[0][:count]
    level: NDArray[np.float64] = 10.0 * np.log10(np.pad(rms**2, (0, count - len(rms))) + 1e-10)
    return level
