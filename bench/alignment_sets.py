"""What ``bench/alignment.py`` measures against: words labelled by hand, and recordings joined with known gaps."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

from hand_labels import decoded, tiers

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.demo import assets
from llaso_data.demo.exact import GAP_S, REPORTED, Edge, Truth, join, joined_closely, joined_words, trimmed
from llaso_data.text import word_spans

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


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


def joined_prompts(count: int = 30) -> list[Set]:
    """Single words of the English prompts: the half that was fitted on, the reported one, and all of them closer."""
    return [
        ("joined prompts, fitted", joined_words(count, 0)),
        ("joined prompts, reported", joined_words(count, REPORTED)),
        ("joined prompts, gaps 0-0.25 s", joined_closely(count)),
    ]


def joined_digits(folder: Path, count: int = 30) -> Set:
    """Digits of the Free Spoken Digit Dataset (8 kHz, several speakers), an utterance of one speaker each."""
    of: dict[str, list[tuple[str, audio.Pcm]]] = defaultdict(list)
    for path in sorted(folder.rglob("[0-9]_*_[012].wav")):
        digit, speaker, _ = path.stem.split("_")
        of[speaker].append((DIGITS[int(digit)], trimmed(audio.decode(str(path))[0])))
    draw = random.Random(5)
    speakers = [sorted(of)[number % len(of)] for number in range(count)]
    return "joined digits, other speakers", [
        join(draw.sample(of[speaker], draw.randint(3, 7)), draw, 900 + number, GAP_S)
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
            whole = join(pair, draw, 700 + number, GAP_S)
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
