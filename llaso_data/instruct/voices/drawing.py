"""Which voice speaks a text: an engine by its weight, one of its voices, and a speed, as functions of a key."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import VOICES, EngineKind, VoiceEngine, require_voice
from llaso_data.instruct.voices.cache import Line
from llaso_data.instruct.voices.variation import Variation, draw_line
from llaso_data.io.prng import noise
from llaso_data.languages import language as language_code
from llaso_data.recipe import Voices
from llaso_data.records.digests import digest
from llaso_data.text import base_code

_WEIGHT, _VOICES = "weight", "voices"


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine that a recipe names, and the voices of it that are drawn from.

    Attributes:
        engine: Its name in :data:`~llaso_data.instruct.voices.VOICES`.
        settings: Its own, as JSON with sorted keys.
        weight: Its share of a language that it speaks, beside those of other engines.
        voices: By language.
        version: Of the engine.
        licence: Of the engine and its voices.
        repeats: Whether the engine gives the same samples again.
    """

    engine: str
    settings: str
    weight: float
    voices: Mapping[str, tuple[str, ...]]
    version: str
    licence: str
    repeats: bool


@dataclass(frozen=True, slots=True)
class Draw:
    """An engine's choice, and what it is to speak."""

    choice: Choice
    line: Line

    @property
    def name(self) -> str:
        """The voice, as summaries name it: ``engine/voice``."""
        return voice_name(self.choice.engine, self.line.voice)


def voice_name(engine: str, voice: str) -> str:
    """A voice as summaries and recipes name it: ``engine/voice``."""
    return f"{engine}/{voice}"


def variation_of(settings: Voices) -> Variation:
    """The ranges of a recipe. Raises LLaSOError where one is out of bounds."""
    return Variation(
        speed=settings.speed,
        loudness_dbfs=settings.loudness_dbfs,
        room_share=settings.room_share,
        room_s=settings.room_s,
        noise_share=settings.noise_share,
        noise_snr_db=settings.noise_snr_db,
    )


def check_voices(settings: Voices) -> None:
    """Look at the whole section ``voices`` of a recipe before any work.

    Args:
        settings: The section.

    Raises:
        LLaSOError: Something is wrong or not installed; all faults are said, one a line.
    """
    faults: list[str] = []
    try:
        variation_of(settings)
    except LLaSOError as error:
        faults.append(str(error))
    for name, entry in settings.engines.items():
        faults += _faults(name, entry)
    if not faults and not any(_weight(entry) for entry in settings.engines.values()):
        faults.append("voices.engines: name an engine with a weight above 0, such as `hibari: {}`")
    if faults:
        raise LLaSOError("\n".join(faults))


def choices(settings: Voices, without: Collection[str] = ()) -> tuple[Choice, ...]:
    """The engines of a recipe with what they speak on this machine, in the order of their names.

    Args:
        settings: The section ``voices``, as :func:`check_voices` lets it pass.
        without: Voices that are not drawn, as ``engine/voice``.

    Raises:
        LLaSOError: A setting is wrong, or what an engine needs is not installed, with the line that installs it.
    """
    return tuple(
        _choice(name, entry, frozenset(without))
        for name, entry in sorted(settings.engines.items())
        if _weight(entry, name) > 0
    )


def languages_spoken(settings: Voices, without: Collection[str] = ()) -> frozenset[str]:
    """The languages that the engines of a recipe speak, as BCP 47 names them.

    Args:
        settings: The section ``voices``.
        without: Voices that are not drawn, as ``engine/voice``.

    Raises:
        LLaSOError: As :func:`choices`.
    """
    return frozenset(code for choice in choices(settings, without) for code in choice.voices)


def spoken_language(language: str, known: Sequence[Choice]) -> str | None:
    """The language in which engines speak what is in ``language`` (``en`` for ``en-GB``); None: none speaks it."""
    for code in (language, language_code(language), base_code(language)):
        if code is not None and any(code in choice.voices for choice in known):
            return code
    return None


def draw_voice(text: str, language: str, known: Sequence[Choice], variation: Variation, *key: object) -> Draw:
    """Draw an engine by its weight among those that speak a language, then one of its voices and a speed.

    Args:
        text: What is to be spoken, as :func:`~llaso_data.instruct.voices.speakable.spoken_text` gives it.
        language: One that at least one of them speaks.
        known: Of :func:`choices`.
        variation: The range of speeds.
        key: Names the draw; equal keys give equal draws.
    """
    able = [choice for choice in known if language in choice.voices]
    bounds = list(accumulate(choice.weight for choice in able))
    place = float(noise(int(digest("engine", *key, length=16), 16), 1)[0] >> 11) * 2.0**-53 * bounds[-1]
    chosen = next((choice for choice, bound in zip(able, bounds, strict=True) if place < bound), able[-1])
    return Draw(chosen, draw_line(text, language, chosen.voices[language], variation, *key))


def _faults(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with one engine of a recipe."""
    if (problem := VOICES.problem(name)) is not None:
        yield f"voices.engines: {problem}"
        return
    try:
        _weight(entry, name)
        _choice(name, entry, frozenset())
    except LLaSOError as error:
        yield str(error)


def _weight(entry: Mapping[str, Any], name: str = "") -> float:
    value = entry.get(_WEIGHT, 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise LLaSOError(f"voices.engines.{name}.weight: a number from 0 is expected, not {value!r}")
    return float(value)


def _choice(name: str, entry: Mapping[str, Any], without: Collection[str]) -> Choice:
    kind = VOICES[name]
    stated = {key: value for key, value in entry.items() if key != _WEIGHT}
    own = {key: value for key, value in stated.items() if key != _VOICES or kind.states_voices}
    engine = kind.make(own)
    voices = {
        language: kept
        for language, names in sorted(_voices(name, kind, engine, stated).items())
        if (kept := tuple(one for one in names if voice_name(name, one) not in without))
    }
    settings = json.dumps(own, sort_keys=True, ensure_ascii=False, default=str)
    return Choice(name, settings, _weight(entry, name), voices, engine.version, engine.licence, engine.repeats)


def _voices(name: str, kind: EngineKind, engine: VoiceEngine, stated: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The voices that the recipe names, else those that the engine has and that are drawn from by default."""
    known = engine.voices()
    if kind.states_voices:
        return {language: tuple(names) for language, names in known.items()}
    if _VOICES not in stated:
        drawn = {code: tuple(one for one in names if kind.is_drawn(code, one)) for code, names in known.items()}
        return {code: names for code, names in drawn.items() if names}
    table = stated[_VOICES]
    if not isinstance(table, Mapping) or not table:
        raise LLaSOError(f"voices.engines.{name}.voices: names by language are expected, such as {{en: [heart]}}")
    chosen = {}
    for code, names in table.items():
        if not isinstance(names, list | tuple) or not names:
            raise LLaSOError(f"voices.engines.{name}.voices.{code}: a list of names is expected, not {names!r}")
        for one in names:
            require_voice(known, str(code), str(one), f"voices.engines.{name}.voices: {name}")
        if len(set(names)) < len(names):
            raise LLaSOError(f"voices.engines.{name}.voices.{code}: a voice is named twice; say shares by `weight`")
        chosen[str(code)] = tuple(map(str, names))
    return chosen
