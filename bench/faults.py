"""Audio that is cut inside a word, for ``bench/filters.py`` and ``bench/borders.py``; faults of texts are those of
``llaso_data/filters/planting.py``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm
from llaso_data.filters.planting import seeded
from llaso_data.records import Word


def cut(name: str, pcm: Pcm, words: Sequence[Word], at_end: bool) -> Pcm | None:
    """The audio cut off inside its first or last word, 50 to 90 % of which is lost; None where a word is too short.

    `words` are the aligned ones. At the border itself the speech's energy says where it starts and ends.
    """
    first_s, last_s = speech(pcm)
    if len(words) > 1:
        start_s, end_s = (max(words[-1].start_s, first_s), last_s) if at_end else (first_s, min(words[0].end_s, last_s))
    else:
        start_s, end_s = first_s, last_s
    if end_s - start_s < 0.06:
        return None
    kept_s = seeded("cut", name, at_end).uniform(0.1, 0.5) * (end_s - start_s)
    part = (
        pcm[: round((start_s + kept_s) * SAMPLE_RATE_HZ)] if at_end else pcm[round((end_s - kept_s) * SAMPLE_RATE_HZ) :]
    )
    return part if len(part) >= 0.15 * SAMPLE_RATE_HZ else None


def speech(pcm: Pcm) -> tuple[float, float]:
    """Seconds of the first and of the last 10 ms within 35 dB of the clip's loud ones."""
    frames = pcm[: len(pcm) // 160 * 160].reshape(-1, 160).astype(np.float64) / 32768
    level_db = 20 * np.log10(np.sqrt((frames**2).mean(axis=1)) + 1e-5)
    loud = np.flatnonzero(level_db > np.percentile(level_db, 90) - 35)
    return float(loud[0]) * 0.01, float(loud[-1] + 1) * 0.01
