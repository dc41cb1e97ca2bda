"""Word times where the truth is known exactly: recordings of single words, joined with known gaps."""

from __future__ import annotations

import gzip
import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llaso_data import audio
from llaso_data.asr.transcribe import Transcriber
from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.demo import assets
from llaso_data.records import GIVEN, Source, Utterance

Edge = float | None  # seconds; None where nobody knows
GAP_S = (0.2, 0.8)
CLOSE_S = (0.0, 0.25)
REPORTED = 1
"""The half of the words on which nothing was fitted."""
NAMES_OF_PROGRAMS = ("dahdi", "mgcp", "unistim")  # prompts that are not spoken as they are spelled


@dataclass(frozen=True)
class Truth:
    """An utterance whose word times are known.

    Attributes:
        text: its words.
        language: its code.
        pcm: int16 at 16 kHz, shape (samples,).
        edges: start and end of every word, in seconds.
    """

    text: str
    language: str
    pcm: audio.Pcm
    edges: tuple[tuple[Edge, Edge], ...]


def joined_words(count: int, half: int = REPORTED) -> list[Truth]:
    """Utterances of 3 to 7 English prompts of one word each, of one half of the words, 0.2 to 0.8 s apart."""
    words = _single_words()
    chosen = sorted(word for word in words if int(hashlib.sha256(word.encode()).hexdigest(), 16) % 2 == half)
    draw = random.Random(7 + half)
    truths = []
    for number in range(count):
        picked = draw.sample(chosen, draw.randint(3, 7))
        truths.append(join([(word, words[word]) for word in picked], draw, 100 * half + number, GAP_S))
    return truths


def joined_closely(count: int) -> list[Truth]:
    """Utterances of 6 prompts each, of all words, 0 to 0.25 s apart."""
    words = _single_words()
    draw = random.Random(3)
    truths = []
    for number in range(count):
        picked = draw.sample(sorted(words), 6)
        truths.append(join([(word, words[word]) for word in picked], draw, 500 + number, CLOSE_S))
    return truths


def errors_ms(listen: Transcriber, truths: Sequence[Truth]) -> npt.NDArray[np.float64]:
    """Measure word times against the truth; the texts are given to the transcriber.

    Returns:
        The absolute error of every start and end that is known, in milliseconds, float64 of shape (edges,).
    """
    utterances = [
        Utterance(
            id=f"joined-{number}",
            recording=f"joined-{number}",
            source=Source(corpus="joined", uri=f"joined-{number}"),
            language=truth.language,
            language_origin=GIVEN,
            text=truth.text,
            text_origin=GIVEN,
        )
        for number, truth in enumerate(truths)
    ]
    errors = []
    for truth, heard in zip(truths, listen(utterances, [truth.pcm for truth in truths]), strict=True):
        # A text without times is wrong by the whole utterance.
        missing = [(0.0, 0.0)] * len(truth.edges)
        times = [(word.start_s, word.end_s) for word in heard.words] or missing
        for edges, word_times in zip(truth.edges, times, strict=True):
            errors += [abs(a - b) * 1000 for a, b in zip(edges, word_times, strict=True) if a is not None]
    return np.array(errors)


def trimmed(pcm: audio.Pcm) -> audio.Pcm:
    """Cut off the silence around a recording: what is below 3 % of the level of its loudest 10 ms."""
    level = np.array([np.sqrt(np.mean(pcm[i : i + 160].astype(float) ** 2)) for i in range(0, len(pcm) - 160, 80)])
    loud = np.flatnonzero(level > 0.03 * level.max())
    return pcm[loud[0] * 80 : loud[-1] * 80 + 160]


def join(pieces: list[tuple[str, audio.Pcm]], draw: random.Random, seed: int, gap_s: tuple[float, float]) -> Truth:
    """Join recordings of words, with gaps between them, in faint noise.

    Args:
        pieces: each word with its recording.
        draw: gives the lengths of the gaps.
        seed: of the noise, whose level is from -76 to -58 dB.
        gap_s: the shortest and the longest gap.
    """
    parts = [np.zeros(draw.randint(800, 6400), np.int16)]
    at, edges = len(parts[0]), []
    for _, pcm in pieces:
        edges.append((at / SAMPLE_RATE_HZ, (at + len(pcm)) / SAMPLE_RATE_HZ))
        gap = np.zeros(draw.randint(round(gap_s[0] * SAMPLE_RATE_HZ), round(gap_s[1] * SAMPLE_RATE_HZ)), np.int16)
        parts += [pcm, gap]
        at += len(pcm) + len(gap)
    random_numbers = np.random.default_rng(seed)
    level = np.exp(random_numbers.uniform(np.log(5), np.log(40)))
    noise = np.convolve(random_numbers.normal(0, 1, at + 64), [0.25, 0.5, 0.25], "same")[:at]
    mixed = np.concatenate(parts) + noise * (level / noise.std())
    text = " ".join(text for text, _ in pieces)
    if len(pieces) > 2:
        text = text.capitalize() + "."
    return Truth(text, "en", np.clip(mixed, -32768, 32767).astype(np.int16), tuple(edges))


def _single_words() -> dict[str, audio.Pcm]:
    root = assets.prompts()
    with gzip.open(
        root / "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz", "rt", encoding="utf-8"
    ) as file:
        texts = assets.transcripts(file.read())
    sounds = root / "usr/share/asterisk/sounds" / assets.VOICES["en"].folder
    words: dict[str, audio.Pcm] = {}
    for name, text in sorted(texts.items()):
        word = text.strip().strip(".").lower()
        spelled = name.startswith(("digits/", "phonetic/")) and re.fullmatch("[a-z]{2,}", word)
        prompt = "/" not in name and re.fullmatch("[a-z]{4,}", word)
        path = sounds / f"{name}.g722"
        if (spelled or prompt) and word not in (*words, *NAMES_OF_PROGRAMS) and path.exists():
            words[word] = trimmed(audio.decode(str(path))[0])
    return words
