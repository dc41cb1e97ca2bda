"""From Whisper's cross-attention to a states x frames score that a monotone path can follow.

Characters are teacher-forced (Yeh et al., "Whisper Has an Internal Word Aligner", 2025). The attention to a character's
sound is sharpest in the step that takes the character as input, which comes after the one that predicts it, and in
other heads than for a BPE token: the ``alignment_heads`` that checkpoints name are for BPE tokens.
``bench/alignment.py`` prints what either choice is worth.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llaso_data.align import dtw
from llaso_data.align.word_states import WordStates
from llaso_data.whisper.windows import FRAME_SAMPLES

CANDIDATE_HEADS = 32  # heads of largest norm among which `select_heads` chooses

_MIN_SHARE = 1e-4  # added before the logarithm
_TOKENLESS_SHARE = 0.05  # of a frame's attention, for a pause that the text has no token for
_MIN_RANGE_DB, _MAX_RANGE_DB = 10.0, 60.0  # between the loud and the quiet frames of a clip


def input_rows(attention_HTS: NDArray[np.float32], last: bool) -> NDArray[np.float32]:
    """The rows of the steps that take each token as input.

    Args:
        attention_HTS: (heads, tokens and end of text, frames); row ``t`` is of the step that predicts token ``t``.
        last: Whether to add a row for end of text, which is never an input: that of the step that predicts it.

    Returns:
        (heads, tokens, frames), with ``last`` one row more.
    """
    rows_HTS = attention_HTS[:, 1:]
    return np.concatenate([rows_HTS, attention_HTS[:, -1:]], axis=1) if last else rows_HTS


def state_scores(
    attention_HTS: NDArray[np.float32],
    states: WordStates,
    energy_S: NDArray[np.float32],
    weight: float,
    median: int,
) -> NDArray[np.float32]:
    """The score of every state in every frame, which the best path maximises: shape (states, frames).

    It is the logarithm of each frame's distribution over the states, from the mean of the heads, plus an energy term:
    the energy for sounds, its complement for pauses, so that silence falls between words instead of stretching them.

    Args:
        attention_HTS: The chosen heads, (heads, tokens and end of text, frames).
        states: The text's states.
        energy_S: Energy of each frame, 0-1, as :func:`frame_energy` gives it.
        weight: Weight of the energy term.
        median: Frames that a median filter is laid over; 1 for none.
    """
    from scipy.ndimage import median_filter

    # A third of the logarithm lies in 0 to -3, beside an energy of 0 to 1 times its weight.
    score_NS = np.log(_shares(attention_HTS.mean(axis=0), states) + _MIN_SHARE) / 3.0
    if median > 1:
        score_NS = median_filter(score_NS, size=(1, median), mode="nearest")
    sounding_NS = np.where(states.pause_N[:, None], 1.0 - energy_S[None, :], energy_S[None, :])
    total: NDArray[np.float32] = (score_NS + weight * sounding_NS).astype(np.float32)
    return total


def select_heads(
    attention_HTS: NDArray[np.float32], states: WordStates, energy_S: NDArray[np.float32], weight: float, count: int
) -> NDArray[np.float32]:
    """The ``count`` heads that follow the audio best: those with the most attention on their own best path.

    That is measured as the share of each frame's attention that goes to the path's state, times the share of each
    sound's attention that goes to the path's frames. A head that always looks at the same frames has much of the one
    and little of the other.

    Args:
        attention_HTS: (heads, tokens and end of text, frames).
        states: The text's states.
        energy_S: Energy of each frame, 0-1.
        weight: Weight of the energy in the score.
        count: How many heads to choose.

    Returns:
        The chosen heads' rows of ``attention_HTS``, in their order.
    """
    frames = np.arange(attention_HTS.shape[2])
    shares_on_path = []
    for head_TS in attention_HTS:
        path = dtw.best_path(state_scores(head_TS[None], states, energy_S, weight, 1), states.pause_N)
        share_NS = _shares(head_TS, states)
        frame_share = share_NS[np.repeat(np.arange(len(path) - 1), np.diff(path)), frames].mean()
        row_TS = head_TS / np.maximum(head_TS.sum(axis=1, keepdims=True), 1e-9)
        sound_shares = [
            row_TS[states.tokens[n], a:b].sum() / (states.tokens[n].stop - states.tokens[n].start)
            for n, (a, b) in enumerate(pairwise(path))
            if not states.pause_N[n]
        ]
        shares_on_path.append(float(frame_share * np.mean(sound_shares)))
    chosen = np.sort(np.argsort(-np.array(shares_on_path), kind="stable")[:count])
    selected: NDArray[np.float32] = attention_HTS[chosen]
    return selected


def _shares(attention_TS: NDArray[np.float32], states: WordStates) -> NDArray[np.float32]:
    """How each frame's attention is shared among the states: shape (states, frames)."""
    share_TS = attention_TS / np.maximum(attention_TS.sum(axis=0, keepdims=True), 1e-9)
    shares: NDArray[np.float32] = np.stack([share_TS[tokens].sum(axis=0) for tokens in states.tokens])
    shares[[tokens.start == tokens.stop for tokens in states.tokens]] = _TOKENLESS_SHARE
    return shares


def frame_energy(pcm: NDArray[np.int16], frames: int) -> NDArray[np.float32]:
    """Level of each 20 ms frame in dB, scaled from the clip's 5th percentile (0) to its 95th (1): shape (frames,)."""
    level_db = levels_db(pcm, frames, FRAME_SAMPLES, FRAME_SAMPLES)
    low, high = np.percentile(level_db, [5, 95]) if frames else (0.0, 0.0)
    low = min(max(low, high - _MAX_RANGE_DB), high - _MIN_RANGE_DB)
    scaled: NDArray[np.float32] = np.clip((level_db - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return scaled


def levels_db(pcm: NDArray[np.int16], count: int, hop: int, width: int) -> NDArray[np.float64]:
    """RMS level in dB of full scale, not below -100: shape (count,).

    Args:
        pcm: 16-bit samples.
        count: Number of levels.
        hop: Samples from the middle of one to that of the next; the first is at sample 0.
        width: Samples that each level is of.
    """
    samples = np.pad(pcm.astype(np.float64) / 32768.0, width // 2)
    windows = np.lib.stride_tricks.sliding_window_view(samples, width)[::hop]
    rms = np.sqrt(np.square(windows.T).mean(axis=0))[:count]  # bit for bit librosa.feature.rms
    level: NDArray[np.float64] = 10.0 * np.log10(np.pad(rms**2, (0, count - len(rms))) + 1e-10)
    return level
