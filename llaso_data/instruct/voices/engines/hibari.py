"""hibari: a small, fast English voice whose weights are in its package. The default for English."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from llaso_data.extras import require
from llaso_data.instruct.voices import VOICES, EngineKind, Speech, checked, require_voice, speech

_LICENCE = "Apache-2.0"


class Hibari:
    """The voices of the package hibari-tts that are on this machine: one in the package, others once downloaded."""

    licence = _LICENCE
    repeats = True

    def __init__(self) -> None:
        require("the voice hibari", "hibari")
        from importlib.metadata import version

        self.version = version("hibari-tts")

    def voices(self) -> Mapping[str, Sequence[str]]:
        """The voice ``heart``, and those that ``hibari --voice NAME`` has downloaded."""
        return {"en": _voices()}

    def speak(self, text: str, language: str, voice: str, speed: float, seed: int) -> Speech:
        """Speak a text at 24 kHz. The seed decides the breath noise."""
        require_voice(self.voices(), language, voice, "hibari")
        model = _model(voice)
        return speech(model(text, speed=speed, seed=seed), model.sample_rate)


@cache
def _voices() -> tuple[str, ...]:
    """Looked up once, so that a voice that comes meanwhile changes no run."""
    from hibari.voices import VOICES as known
    from hibari.voices import voice_path

    found = []
    for name in known:
        try:
            voice_path(name, download_missing=False)
        except FileNotFoundError:
            continue
        found.append(name)
    return tuple(found)


@cache
def _model(voice: str) -> Any:
    from hibari import Hibari as Model

    return Model(voice=voice, threads=1)  # more threads would change the order of sums, and with it the bytes


def _make(settings: Mapping[str, Any]) -> Hibari:
    checked(settings, "hibari")
    return Hibari()


VOICES.register("hibari", EngineKind("English, 24 kHz, about 40 times real time on one core", _LICENCE, _make))
