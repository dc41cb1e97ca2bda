"""Faults to inject into pairs of audio and text: what corpora get wrong, one at a time (``bench/filters.py``)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm
from llaso_data.records import Word
from llaso_data.text import HALLUCINATIONS, normalize

TEXT_FAULTS = (
    "text of another clip",
    "word substituted",
    "word deleted",
    "word inserted",
    "two words swapped",
    "text cut at the start",
    "text cut at the end",
    "text of another language",
    "sentence repeated",
    "closing phrase",
)
AUDIO_FAULTS = ("audio cut at the start", "audio cut at the end", "audio of another language")


def seeded(*parts: object) -> random.Random:
    """The same random numbers for the same names, whatever was drawn before."""
    return random.Random(hashlib.sha256("/".join(map(str, parts)).encode()).digest())


def text_faults(
    name: str, text: str, others: Sequence[str], vocabulary: Sequence[str], foreign: Sequence[str]
) -> Mapping[str, str]:
    """One text for each of TEXT_FAULTS that can be made of this one; a single word can be neither cut nor swapped.

    `others`: texts of the corpus; `vocabulary`: its words as they are spoken; `foreign`: texts of other languages.
    """
    rng = seeded("text", name)
    words = text.split()
    said = [normalize(word, "en") for word in words]
    found = {
        "text of another clip": _unlike(rng, others, {normalize(text, "en")}),
        "text of another language": rng.choice(foreign),
        "sentence repeated": f"{text} {text}",
        "closing phrase": f"{text} {rng.choice(HALLUCINATIONS['en'])}.",
    }
    place = rng.choice([i for i, form in enumerate(said) if form] or [0])
    other = _unlike(rng, vocabulary, {said[place]})
    found["word substituted"] = " ".join([*words[:place], _like(words[place], other), *words[place + 1 :]])
    place = rng.randrange(len(words) + 1)
    found["word inserted"] = " ".join([*words[:place], _unlike(rng, vocabulary, set(said)), *words[place:]])
    spoken = [i for i, form in enumerate(said) if form]
    if len(spoken) < 2:
        return found
    place = rng.choice(spoken)
    found["word deleted"] = " ".join([*words[:place], *words[place + 1 :]])
    count = min(rng.randint(1, 3), len(spoken) - 1)
    found["text cut at the start"] = " ".join(words[spoken[count - 1] + 1 :])
    found["text cut at the end"] = " ".join(words[: spoken[-count]])
    pairs = [(a, b) for a, b in pairwise(spoken) if said[a] != said[b]]
    if pairs:
        a, b = rng.choice(pairs)
        swapped = list(words)
        swapped[a], swapped[b] = _like(words[a], words[b]), _like(words[b], words[a])
        found["two words swapped"] = " ".join(swapped)
    return found


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


def _unlike(rng: random.Random, choices: Sequence[str], said: set[str]) -> str:
    """One of the choices that says none of these."""
    while True:
        one = rng.choice(choices)
        if normalize(one, "en") not in said:
            return one


def _like(place: str, word: str) -> str:
    """The word as it would be written where another stood: its capital and the punctuation after it."""
    bare = word.strip(".,!?;:")
    tail = place[len(place.rstrip(".,!?;:")) :]
    return (bare[:1].upper() + bare[1:] if place[:1].isupper() else bare[:1].lower() + bare[1:]) + tail
