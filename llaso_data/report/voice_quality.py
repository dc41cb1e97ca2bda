"""How the voices of an instruction set sound: DNSMOS, and how alike two of them are, of some lines of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, limited
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.estimate.dnsmos import dnsmos
from llaso_data.estimate.voice_encoder import Embedding, speaker_embedding, unit
from llaso_data.instruct.voices.cache import sound_uri
from llaso_data.instruct.voices.drawing import voice_name
from llaso_data.io import sealed, storage
from llaso_data.pipeline import recipe_file
from llaso_data.pipeline.instruct.speech import cache_folder
from llaso_data.pipeline.load_recipe import load

WORK = ".build-instruct"
LINES = 6
"""How many lines of each voice and language are measured: those whose names, which are digests, are the smallest."""
_COLUMNS = ["engine", "voice", "language", "reason", "sound"]
_SHORTEST_S = 1.0

Spoken = tuple[str, str]
"""A voice as ``engine/voice``, and the language that it speaks."""


@dataclass(frozen=True, slots=True)
class VoiceQuality:
    """What was measured.

    Attributes:
        mos: Mean DNSMOS (P.835, overall) by voice and language.
        nearest: By voice, the other voice that is most like it, and their similarity: 0.7 and more is what two clips of
            one person have, 0.65 and less what two people have.
        note: What could not be measured, in a sentence; empty: nothing.
    """

    mos: dict[Spoken, float] = field(default_factory=dict)
    nearest: dict[str, tuple[str, float]] = field(default_factory=dict)
    note: str = ""


def measure(out: str, voices: Collection[str], lines: int = LINES) -> VoiceQuality:
    """Listen to some of what the voices of a set said, as it lies in the cache: dry, before rooms and noise.

    Args:
        out: build-instruct's output.
        voices: Those of the set; an earlier run into the folder may have had others.
        lines: Of each voice and language.
    """
    sounds = {spoken: uris for spoken, uris in _lines(out, lines).items() if spoken[0] in voices}
    if not sounds:
        return VoiceQuality(note="The lines that the voices spoke are not beside the set, so they are not measured.")
    pcms = {spoken: [pcm for pcm in map(_decoded, uris) if pcm is not None] for spoken, uris in sorted(sounds.items())}
    notes: list[str] = []
    try:
        mos = {spoken: score for spoken, clips in pcms.items() if (score := _mos(clips)) is not None}
    except LLaSOError as error:
        mos = {}
        notes.append(f"Quality is not measured: {error}.")
    try:
        alike = nearest(_embeddings(pcms))
    except LLaSOError as error:
        alike = {}
        notes.append(f"Similarity is not measured: {error}.")
    return VoiceQuality(mos, alike, " ".join(notes))


def _mos(clips: Sequence[Pcm]) -> float | None:
    scores = [score.overall for score in map(dnsmos, clips) if score is not None]
    return sum(scores) / len(scores) if scores else None


def _embeddings(pcms: Mapping[Spoken, Sequence[Pcm]]) -> dict[str, list[Embedding]]:
    """By voice, whatever it speaks."""
    found: dict[str, list[Embedding]] = {}
    for (name, _), clips in pcms.items():
        vectors = [vector for vector in map(speaker_embedding, clips) if vector is not None]
        if vectors:
            found.setdefault(name, []).extend(vectors)
    return found


def nearest(embeddings: Mapping[str, Sequence[Embedding]]) -> dict[str, tuple[str, float]]:
    """Of each voice the one most like it, and the cosine of their mean embeddings; of a single voice nothing."""
    names = sorted(embeddings)
    if len(names) < 2:
        return {}
    means = np.stack([unit(np.mean(embeddings[name], axis=0)) for name in names])
    alike = means @ means.T
    np.fill_diagonal(alike, -1)
    return {name: (names[int(row.argmax())], float(row.max())) for name, row in zip(names, alike, strict=True)}


def _lines(out: str, most: int) -> dict[Spoken, list[str]]:
    """Addresses of lines that were kept, by voice and language."""
    import pyarrow.parquet as pq

    root = storage.absolute(out)
    folder = storage.join(root, WORK, "speech")
    found: dict[Spoken, list[str]] = {}
    if not storage.exists(folder):
        return found
    for file in sorted(info["name"] for info in storage.listing(folder)):
        if not file.endswith(".parquet"):
            continue
        with sealed.read_parquet(storage.join(folder, file.rpartition("/")[2])) as opened:
            rows = pq.read_table(opened, columns=_COLUMNS).to_pylist()
        for row in rows:
            if row["reason"] is None and row["sound"]:
                held = found.setdefault((voice_name(row["engine"], row["voice"]), row["language"]), [])
                held.append(row["sound"])
        for held in found.values():
            held.sort()
            del held[most:]
    cache = _cache(root)
    return {voice: [sound_uri(cache, name) for name in names] for voice, names in found.items()}


def _cache(root: str) -> str:
    stored = storage.join(root, recipe_file.NAME)
    work = storage.join(root, WORK)
    if storage.is_file(stored):
        return cache_folder(load(stored), work)
    return storage.join(work, "voices")


def _decoded(uri: str) -> Pcm | None:
    try:
        pcm, _ = limited.decode(uri)
    except AudioError:
        return None
    return pcm if len(pcm) >= _SHORTEST_S * SAMPLE_RATE_HZ else None
