"""The stage ``observe.quality``: how good a recording is, and where it seems to have been made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from llaso_data.audio import Pcm
from llaso_data.estimate.bandwidth import bandwidth_hz
from llaso_data.estimate.dnsmos import dnsmos
from llaso_data.estimate.environment import environment
from llaso_data.estimate.noise import snr_db
from llaso_data.recipe import Quality
from llaso_data.records import ESTIMATED, UNKNOWN, Attribute, Utterance

MEASURES = ("dnsmos", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808", "snr_db", "bandwidth_hz")
"""What is measured, by its name in ``scores.extra``."""
ENVIRONMENT_CONFIDENCE = "environment_confidence"
"""``scores.extra``: how sure an estimated environment is, 0.5 to 1."""


class QualityStage:
    """The stage that measures every utterance, and says the environment of those that nobody said it of."""

    def __init__(self, settings: Quality) -> None:
        self._settings = settings

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[Pcm | None]) -> list[Utterance]:
        """The utterances with the measures in ``scores.extra``."""
        return [
            utterance if samples is None else self._measured(utterance, samples)
            for utterance, samples in zip(utterances, pcm, strict=True)
        ]

    def _measured(self, utterance: Utterance, samples: Pcm) -> Utterance:
        mos = dnsmos(samples) if self._settings.dnsmos else None
        snr, highest = snr_db(samples), bandwidth_hz(samples)
        scores = (None,) * 4 if mos is None else (mos.overall, mos.signal, mos.background, mos.p808)
        extra = dict(utterance.scores.extra)
        extra.update({k: v for k, v in zip(MEASURES, (*scores, snr, highest), strict=True) if v is not None})
        place = utterance.environment
        if place.origin == UNKNOWN and self._settings.environment and (found := environment(snr, highest, mos)):
            place = Attribute(found[0], ESTIMATED)
            extra[ENVIRONMENT_CONFIDENCE] = found[1]
        return dataclasses.replace(
            utterance, environment=place, scores=dataclasses.replace(utterance.scores, extra=extra)
        )
