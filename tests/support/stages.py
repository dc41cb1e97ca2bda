"""Stages as a user would write them, for the tests of stages, engines and kills."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from llaso_data.pipeline.observe import Pcm
from llaso_data.records import Attribute, Utterance, failed


class Peak:
    """Stores the peak as a score, and calls what is loud a studio."""

    version = "1"

    def __init__(self, studio_from: float = 0.5) -> None:
        self.studio_from = studio_from

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[Pcm | None]) -> list[Utterance]:
        return [u if samples is None else self._one(u, samples) for u, samples in zip(utterances, pcm, strict=True)]

    def _one(self, utterance: Utterance, samples: Pcm) -> Utterance:
        peak = float(np.abs(samples.astype(np.int32)).max()) / 32768
        return dataclasses.replace(
            utterance,
            scores=dataclasses.replace(utterance.scores, extra={**utterance.scores.extra, "peak": peak}),
            environment=Attribute("studio" if peak >= self.studio_from else "quiet", "tests.support.stages:Peak"),
        )


class Deaf:
    """Whoever runs it is told to stop, and it swallows the interrupt, as destructors and some libraries do."""

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[Pcm | None]) -> Sequence[Utterance]:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        return utterances


class Refuse:
    """Marks what it cannot observe."""

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[Pcm | None]) -> list[Utterance]:
        return [failed(utterances[0], "refused", "not this one"), *utterances[1:]]


class Drop:
    """Breaks the promise: a record gets lost."""

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[Pcm | None]) -> list[Utterance]:
        return list(utterances[1:])


class Raise:
    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[Pcm | None]) -> list[Utterance]:
        raise KeyError("peak")


class Unmade:
    def __init__(self) -> None:
        raise RuntimeError("its weights are not there")


class Text:
    """Stores what is no number."""

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[Pcm | None]) -> list[Utterance]:
        extra = {"note": "loud"}
        return [
            dataclasses.replace(u, scores=dataclasses.replace(u.scores, extra=extra))  # type: ignore[arg-type]
            for u in utterances
        ]


def nothing() -> None:
    """Makes no stage."""


class Die:
    """Ends its own process where a recording's name holds ``name``, the first ``times`` times, as a crash would.

    Every death leaves a file in ``graves``.
    """

    def __init__(self, name: str, graves: str, times: int = 1000, how: str = "SIGSEGV") -> None:
        self.name, self.graves, self.times, self.how = name, Path(graves), times, how

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[Pcm | None]) -> Sequence[Utterance]:
        deaths = len(list(self.graves.iterdir()))
        if deaths < self.times and any(self.name in u.source.uri for u in utterances):
            (self.graves / str(os.getpid())).touch()
            if self.how == "exit":
                os._exit(1)
            os.kill(os.getpid(), signal.Signals[self.how])
        return utterances
