"""Whether a clip starts or ends inside a word: what sounds at its borders, its first and last 20 ms.

A small network weighs the measurements of :mod:`llaso_data.filters.border_evidence`. In loud music or among other
voices a whole clip looks more like a cut one than in a quiet room. So a second network says, of clips that sound like
this one between their borders, which level few whole ones exceed, and the level counts from there: one limit then
rejects about as many whole clips in every room. Radar calls that a constant false alarm rate. The numbers of both, in
``border_level.json``, were fitted by ``bench/borders.py --fit``. Words, where they are known, say more: at a border
that cuts one lies one.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from llaso_data.audio import SILENCE_DBFS, Pcm
from llaso_data.filters.border_evidence import LEAST, MEASURED, SURROUNDINGS, Floats, evidence
from llaso_data.records import Utterance

LIMIT_DB = -35.0
"""The default limit; it stays where it is when the networks are fitted anew."""

NO_WORD_DB = 20.0
"""What a border's odds lose where no word is near it: what sounds there is no speech, or none that the text has."""

NEAR_S, FAR_S = (0.05, 0.08), (0.15, 0.25)
"""Up to where the first word's start, and the last word's end, count as near their border, and from where they are far;
the loss grows evenly between. Recordings pause longer after the last word than before the first
(``bench/border_words.py``)."""

LEAST_DB = 11.0
"""The odds that count as usual of whole clips at least: recordings of other makes than those of the fit have louder
borders than the second network says of quiet ones, and what is cut there has far higher odds."""

_OF_CLIP = [MEASURED.index(name) for name in SURROUNDINGS]


BorderLevels = tuple[float, float]
"""Of the start and of the end, dB."""


def border_levels(pcm: Pcm) -> BorderLevels | None:
    """How much a clip sounds as if it started or ended inside a word, each of the two.

    Ten times the decimal logarithm of the odds that the first network gives, less what the second one says that few
    whole clips exceed, shifted so that -35 is the limit of the default recipe.

    Args:
        pcm: (T,) int16 at 16 kHz.

    Returns:
        dB, not below -120; None for less than 0.1 s.
    """
    if len(pcm) < LEAST:
        return None
    found = evidence(pcm)
    if not found[:, MEASURED.index("span")].any():  # no part is louder than another: nobody speaks
        return SILENCE_DBFS, SILENCE_DBFS
    start_db, end_db = np.maximum(_weighing().sides(found[None])[0], SILENCE_DBFS)
    return float(start_db), float(end_db)


def border_level(levels: BorderLevels, gaps_s: tuple[float, float] | None = None) -> float:
    """The higher of both borders' levels, with what the words say.

    Args:
        levels: Of the start and the end, dB.
        gaps_s: From the start of the clip to its first word, and from its last word to its end; None: not known.

    Returns:
        dB, not below -120.
    """
    if gaps_s is None:
        return max(levels)
    sides = zip(levels, gaps_s, NEAR_S, FAR_S, strict=True)
    lost = (level - NO_WORD_DB * min(max((gap - near) / (far - near), 0.0), 1.0) for level, gap, near, far in sides)
    return max(*lost, SILENCE_DBFS)


def word_gaps_s(utterance: Utterance) -> tuple[float, float] | None:
    """From the start of an utterance to its first word, and from its last word to its end, s; None: it has no words."""
    if not utterance.words or utterance.duration_s is None:
        return None
    return utterance.words[0].start_s, utterance.duration_s - utterance.words[-1].end_s


@dataclass(frozen=True)
class Network:
    """One hidden layer over standardised measurements."""

    mean: Floats  # (measurements,)
    scale: Floats  # (measurements,)
    limit: float  # measurements count up to so many standard deviations from their mean
    hidden: Floats  # (measurements, units)
    hidden_bias: Floats  # (units,)
    output: Floats  # (units,)
    output_bias: float

    def __call__(self, found: Floats) -> Floats:
        """One number each, (...), of measurements (..., measurements)."""
        inputs = np.clip((found - self.mean) / self.scale, -self.limit, self.limit)
        levels: Floats = np.maximum(inputs @ self.hidden + self.hidden_bias, 0) @ self.output + self.output_bias
        return levels


@dataclass(frozen=True)
class Weighing:
    """How the measurements of a clip make its level.

    Attributes:
        odds_db: Of a border being cut, from its measurements.
        whole_db: The odds that few whole clips exceed, from what surrounds their speech.
    """

    odds_db: Network
    whole_db: Network

    def sides(self, found: Floats) -> Floats:
        """Levels (clips, 2), dB, of measurements (clips, 2, measurements)."""
        whole_db = np.maximum(self.whole_db(found[:, 0, _OF_CLIP]), LEAST_DB)
        levels: Floats = self.odds_db(found) - whole_db[:, None] + LIMIT_DB
        return levels

    def __call__(self, found: Floats) -> Floats:
        """Levels (clips,), dB: the higher of both sides."""
        levels: Floats = self.sides(found).max(axis=1)
        return levels


@functools.cache
def _weighing() -> Weighing:
    stated = json.loads(resources.files(__package__).joinpath("border_level.json").read_text(encoding="utf-8"))
    assert tuple(stated["measured"]) == MEASURED, "border_level.json was fitted to other measurements"
    return Weighing(_network(stated["odds_db"]), _network(stated["whole_db"]))


def _network(stated: Mapping[str, Any]) -> Network:
    numbers: dict[str, Any] = {name: np.array(one) if isinstance(one, list) else one for name, one in stated.items()}
    return Network(hidden=numbers.pop("hidden_thousandths") / 1000, **numbers)
