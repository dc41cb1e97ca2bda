"""Word edges in seconds: short pauses are closed, and edges beside other pauses move to where sound begins or ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llaso_data.align.attention import levels_db
from llaso_data.audio import SAMPLE_RATE_HZ

HOP_SAMPLES = 80  # 5 ms between levels
WIDTH_SAMPLES = 160  # 10 ms, what each level is of
MIN_PAUSE_S = 0.1  # a shorter one is more often the closure of a stop consonant
REACH_S = 0.08  # how far an edge moves at most
ABOVE_NOISE_DB = 6.0
BELOW_PEAK_DB = 30.0


def refine_edges(times_W2: NDArray[np.float64], pcm: NDArray[np.int16]) -> NDArray[np.float64]:
    """Move word edges to where the sound begins and ends.

    Words less than 0.1 s apart meet in the middle. Every other edge moves, by at most 80 ms, to where the level crosses
    a threshold: 30 dB below the word's loudest 10 ms, or 6 dB above the clip's noise (5th percentile) if that is more.

    Args:
        times_W2: Start and end of each word in seconds, ascending, (words, 2).
        pcm: The clip's 16 kHz mono samples.

    Returns:
        The same inside the clip, ascending.
    """
    duration_s = len(pcm) / SAMPLE_RATE_HZ
    edges = np.clip(times_W2, 0.0, duration_s)
    joined = edges[1:, 0] - edges[:-1, 1] < MIN_PAUSE_S
    middle = (edges[1:, 0] + edges[:-1, 1]) / 2
    edges[1:, 0] = np.where(joined, middle, edges[1:, 0])
    edges[:-1, 1] = np.where(joined, middle, edges[:-1, 1])
    hop_s = HOP_SAMPLES / SAMPLE_RATE_HZ
    level_db = levels_db(pcm, len(pcm) // HOP_SAMPLES + 1, HOP_SAMPLES, WIDTH_SAMPLES)
    noise_db = float(np.percentile(level_db, 5))
    for word in range(len(edges)):
        start, end = edges[word]
        a, b = int(start / hop_s), int(end / hop_s) + 1
        loud = level_db > max(noise_db + ABOVE_NOISE_DB, level_db[a:b].max(initial=-100.0) - BELOW_PEAK_DB)
        if word == 0 or not joined[word - 1]:
            before = edges[word - 1, 1] if word else 0.0
            edges[word, 0] = _onset(loud, max(before, start - REACH_S), min(end, start + REACH_S), hop_s, start)
        if word == len(edges) - 1 or not joined[word]:
            after = edges[word + 1, 0] if word + 1 < len(edges) else duration_s
            low, high = max(edges[word, 0], end - REACH_S), min(after, end + REACH_S)
            # The end of a sound is its onset in reversed time.
            edges[word, 1] = -_onset(loud[::-1], -high, -low, hop_s, -end, origin=-(len(loud) - 1) * hop_s)
    return edges


def _onset(
    loud: NDArray[np.bool_], low: float, high: float, hop_s: float, default: float, origin: float = 0.0
) -> float:
    """The first time from ``low`` to ``high`` at which ``loud`` becomes true; ``default`` where it never does."""
    first, last = max(0, int((low - origin) / hop_s)), int((high - origin) / hop_s)
    rising = np.flatnonzero(~loud[first:last] & loud[first + 1 : last + 1])
    return origin + (first + int(rising[0]) + 1) * hop_s if len(rising) else default
