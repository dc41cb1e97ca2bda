"""What ``bench/alignment.py`` measures against: words labelled by hand, and recordings joined with known gaps."""

from __future__ import annotations

import gzip
import hashlib
import random
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hand_labels import decoded, tiers

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.demo import assets
from llaso_data.text import word_spans

Edge = float | None  # seconds; None where nobody knows
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GAP_S = (0.2, 0.8)
NAMES_OF_PROGRAMS = ("dahdi", "mgcp", "unistim")  # prompts that nobody says as they are spelled


@dataclass(frozen=True)
class Truth:
    """An utterance; ``edges`` holds the start and the end of every word of its text."""

    text: str
    language: str
    pcm: audio.Pcm
    edges: tuple[tuple[Edge, Edge], ...]


Set = tuple[str, list[Truth]]


def labelled(folder: Path) -> list[Set]:
    """The sets that ``bench/hand_labels.py`` wrote: ``<set>/<language>/<name>.wav`` with ``<name>.TextGrid``."""
    sets = []
    for place in sorted({path.parent for path in folder.rglob("*.TextGrid")}):
        truths = []
        for path in sorted(place.glob("*.TextGrid")):
            pcm, _ = audio.decode(str(path.with_suffix(".wav")))
            words = [word for word in tiers(decoded(path.read_bytes()))["words"] if word[2]]
            edges = tuple((start, end) for start, end, _ in words)
            truths.append(Truth(" ".join(label for _, _, label in words), place.name, pcm, edges))
        sets.append((f"by hand, {place.parent.name} ({place.name})", truths))
    return sets


def joined_words(count: int = 30) -> list[Set]:
    """Single words of the English prompts; one half of the words was fitted on, the other is reported on."""
    words = _single_words()
    sets = []
    for half, name in enumerate(("fitted", "reported")):
        chosen = sorted(word for word in words if _half(word) == half)
        draw = random.Random(7 + half)
        truths = []
        for number in range(count):
            picked = draw.sample(chosen, draw.randint(3, 7))
            truths.append(_join([(word, words[word]) for word in picked], draw, 100 * half + number, GAP_S))
        sets.append((f"joined prompts, {name}", truths))
    draw = random.Random(3)
    close = []
    for number in range(count):
        picked = draw.sample(sorted(words), 6)
        close.append(_join([(word, words[word]) for word in picked], draw, 500 + number, (0.0, 0.25)))
    return [*sets, ("joined prompts, gaps 0-0.25 s", close)]


def joined_digits(folder: Path, count: int = 30) -> Set:
    """Digits of the Free Spoken Digit Dataset (8 kHz, several speakers), an utterance of one speaker each."""
    of: dict[str, list[tuple[str, audio.Pcm]]] = defaultdict(list)
    for path in sorted(folder.rglob("[0-9]_*_[012].wav")):
        digit, speaker, _ = path.stem.split("_")
        of[speaker].append((DIGITS[int(digit)], trimmed(audio.decode(str(path))[0])))
    draw = random.Random(5)
    speakers = [sorted(of)[number % len(of)] for number in range(count)]
    return "joined digits, other speakers", [
        _join(draw.sample(of[speaker], draw.randint(3, 7)), draw, 900 + number, GAP_S)
        for number, speaker in enumerate(speakers)
    ]


def joined_clips() -> list[Set]:
    """Clips of one language joined in pairs: known are the first and the last edge of what each clip says."""
    root = assets.clips()
    sets = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        language = folder.name
        clips = [(path.with_suffix(".txt").read_text("utf-8").strip(), path) for path in sorted(folder.glob("*.wav"))]
        sounds = [(text, trimmed(audio.decode(str(path))[0])) for text, path in clips]
        draw = random.Random(11)
        truths = []
        for number in range(len(sounds)):
            pair = [sounds[number], sounds[(number + 1) % len(sounds)]]
            if sum(len(pcm) for _, pcm in pair) > 27 * SAMPLE_RATE_HZ:
                continue
            whole = _join(pair, draw, 700 + number, GAP_S)
            edges: list[tuple[Edge, Edge]] = []
            for (each, _), (start, end) in zip(pair, whole.edges, strict=True):
                inner = len(word_spans(each, language))
                own: list[tuple[Edge, Edge]] = [(None, None)] * inner
                own[0] = (start, own[0][1])
                own[-1] = (own[-1][0], end)
                edges += own
            text = " ".join(each for each, _ in pair)
            truths.append(Truth(text, language, whole.pcm, tuple(edges)))
        if truths:
            sets.append((f"joined clips ({language})", truths))
    return sets


def trimmed(pcm: audio.Pcm) -> audio.Pcm:
    """The recording from where its level first passes 3 % of its loudest 10 ms to where it last does."""
    level = np.array([np.sqrt(np.mean(pcm[i : i + 160].astype(float) ** 2)) for i in range(0, len(pcm) - 160, 80)])
    loud = np.flatnonzero(level > 0.03 * level.max())
    return pcm[loud[0] * 80 : loud[-1] * 80 + 160]


def _join(pieces: list[tuple[str, audio.Pcm]], draw: random.Random, seed: int, gap_s: tuple[float, float]) -> Truth:
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


def _half(word: str) -> int:
    return int(hashlib.sha256(word.encode()).hexdigest(), 16) % 2
