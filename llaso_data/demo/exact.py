"""Word times against exact truth: recordings of single words, joined with known gaps."""

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
NAMES_OF_PROGRAMS = ("dahdi", "mgcp", "unistim")  # prompts that nobody says as they are spelled


@dataclass(frozen=True)
class Truth:
    """An utterance; ``edges`` holds the start and the end of every word of its text."""

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
    """The same of all words, 0 to 0.25 s apart."""
    words = _single_words()
    draw = random.Random(3)
    truths = []
    for number in range(count):
        picked = draw.sample(sorted(words), 6)
        truths.append(join([(word, words[word]) for word in picked], draw, 500 + number, CLOSE_S))
    return truths


def errors_ms(listen: Transcriber, truths: Sequence[Truth]) -> npt.NDArray[np.float64]:
    """How far every start and end of a word is from where it is known to be; the texts are given."""
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
        found = [(word.start_s, word.end_s) for word in heard.words] or missing
        for edges, own in zip(truth.edges, found, strict=True):
            errors += [abs(a - b) * 1000 for a, b in zip(edges, own, strict=True) if a is not None]
    return np.array(errors)


def trimmed(pcm: audio.Pcm) -> audio.Pcm:
    """The recording from where its level first passes 3 % of its loudest 10 ms to where it last does."""
    level = np.array([np.sqrt(np.mean(pcm[i : i + 160].astype(float) ** 2)) for i in range(0, len(pcm) - 160, 80)])
    loud = np.flatnonzero(level > 0.03 * level.max())
    return pcm[loud[0] * 80 : loud[-1] * 80 + 160]


def join(pieces: list[tuple[str, audio.Pcm]], draw: random.Random, seed: int, gap_s: tuple[float, float]) -> Truth:
    """The pieces with gaps of faint noise between, before and after; its level is drawn too (-76 to -58 dB)."""
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
