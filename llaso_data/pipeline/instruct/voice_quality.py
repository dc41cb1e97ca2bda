"""How good voices are, for the card: what Whisper mishears, DNSMOS, and how far they differ from each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from llaso_data.audio import Pcm
from llaso_data.errors import LLaSOError
from llaso_data.extras import require
from llaso_data.instruct.voices.cache import kept
from llaso_data.pipeline.instruct.spoken import SpokenLine

LINES = 20
"""Of each voice, at most so many lines are measured."""

_DECIMALS = 3
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class VoiceQuality:
    """One voice, by some of the lines that were kept.

    Attributes:
        lines: That were measured.
        cer: The mean character error rate of what Whisper heard.
        dnsmos: The mean overall score of DNSMOS (P.835), 1 to 5; None where it was not measured.
        own_cosine: The mean cosine between the speaker embeddings of two of its lines; None alike.
        other_cosine: The mean cosine between its lines and those of the other voices; None without others.
    """

    lines: int
    cer: float
    dnsmos: float | None = None
    own_cosine: float | None = None
    other_cosine: float | None = None


@dataclass(frozen=True, slots=True)
class VoiceReport:
    """All voices by their names, and what was not measured: by name, with the line that installs what it needs."""

    voices: Mapping[str, VoiceQuality]
    skipped: Mapping[str, str] = field(default_factory=dict)


def voice_quality(lines: Iterable[SpokenLine]) -> VoiceReport:
    """Measure voices, dry, as they lie in the cache.

    Args:
        lines: What was kept, such as ``Spoken.examples``; of each voice the first :data:`LINES` by their keys count.

    Raises:
        LLaSOError: A file of the cache is damaged.
        FileNotFoundError: It is gone.
    """
    chosen = _chosen(lines)
    sounds = {name: [kept(line.uri).at_16_khz() for line in of_one] for name, of_one in chosen.items()}
    skipped: dict[str, str] = {}
    scores = _unless_missing("dnsmos", "speechmos", skipped, lambda: _dnsmos(sounds))
    vectors = _unless_missing("speaker_embeddings", "resemblyzer", skipped, lambda: _embeddings(sounds))
    voices = {
        name: VoiceQuality(
            lines=len(of_one),
            cer=round(float(np.mean([line.cer for line in of_one])), _DECIMALS),
            dnsmos=None if scores is None else scores[name],
            own_cosine=None if vectors is None else _own_cosine(vectors[name]),
            other_cosine=None if vectors is None else _other_cosine(name, vectors),
        )
        for name, of_one in chosen.items()
    }
    return VoiceReport(voices, skipped)


def _chosen(lines: Iterable[SpokenLine]) -> dict[str, list[SpokenLine]]:
    by_voice: dict[str, list[SpokenLine]] = {}
    for line in lines:
        by_voice.setdefault(line.name, []).append(line)
    return {
        name: sorted(of_one, key=lambda line: line.request.key)[:LINES] for name, of_one in sorted(by_voice.items())
    }


def _unless_missing(name: str, module: str, skipped: dict[str, str], measure: Callable[[], R]) -> R | None:
    try:
        require(name, module)
    except LLaSOError as error:
        skipped[name] = str(error)
        return None
    return measure()


def _dnsmos(sounds: Mapping[str, Sequence[Pcm]]) -> dict[str, float | None]:
    from llaso_data.estimate.dnsmos import dnsmos

    found: dict[str, float | None] = {}
    for name, of_one in sounds.items():
        scores = [score.overall for pcm in of_one if (score := dnsmos(pcm)) is not None]
        found[name] = round(float(np.mean(scores)), _DECIMALS) if scores else None
    return found


def _embeddings(sounds: Mapping[str, Sequence[Pcm]]) -> dict[str, npt.NDArray[np.float32]]:
    """Vectors of length 1 by voice, shape (lines, 256); lines of silence have none."""
    from llaso_data.estimate.voice_encoder import SIZE, speaker_embedding

    found = {}
    for name, of_one in sounds.items():
        vectors = [vector for pcm in of_one if (vector := speaker_embedding(pcm)) is not None]
        found[name] = np.stack(vectors) if vectors else np.zeros((0, SIZE), np.float32)
    return found


def _own_cosine(vectors: npt.NDArray[np.float32]) -> float | None:
    if len(vectors) < 2:
        return None
    cosines = vectors @ vectors.T
    return round(float(cosines[np.triu_indices(len(vectors), 1)].mean()), _DECIMALS)


def _other_cosine(name: str, vectors: Mapping[str, npt.NDArray[np.float32]]) -> float | None:
    others = [of_one for other, of_one in vectors.items() if other != name and len(of_one)]
    if not others or not len(vectors[name]):
        return None
    return round(float((vectors[name] @ np.concatenate(others).T).mean()), _DECIMALS)
