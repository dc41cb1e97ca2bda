"""Voices: text to speech by engines that users have. Each kind is a module of ``engines`` that registers itself.

An engine says which voices it has for which language, its version, and its licence. :mod:`.cache` keeps what was
spoken, :mod:`.speakable` refuses what cannot be spoken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from llaso_data.audio import SAMPLE_RATE_HZ, to_float32
from llaso_data.audio.mixing import Pcm, to_int16
from llaso_data.errors import LLaSOError
from llaso_data.languages import language_name
from llaso_data.registry import Registry

ENTRY_POINTS = "llaso.voices"
"""The group of entry points under which other packages name the modules of their engines."""
SPEEDS = (0.8, 1.2)
"""The slowest and the fastest speed that an engine is asked for; 1 is the voice's own."""
MAX_SPEECH_S = 30.0
"""The longest speech that is kept: Whisper's window."""
ENGINE_FAULTS = frozenset({"engine_failed", "bad_sound", "no_sound"})
"""Reasons for which an engine is to blame, and not the text."""
_MIN_SPEECH_S = 0.1


class Speech(NamedTuple):
    """What a voice said.

    Attributes:
        pcm: int16, one channel, shape (samples,).
        rate_hz: Samples a second.
    """

    pcm: Pcm
    rate_hz: int

    @property
    def duration_s(self) -> float:
        """How long it is, in seconds."""
        return len(self.pcm) / self.rate_hz

    def at_16_khz(self) -> Pcm:
        """The samples at the rate of every model here: int16 at 16 kHz, shape (samples,)."""
        if self.rate_hz == SAMPLE_RATE_HZ:
            return self.pcm
        import soxr

        return to_int16(soxr.resample(to_float32(self.pcm), self.rate_hz, SAMPLE_RATE_HZ, quality="HQ"))


class VoiceEngine(Protocol):
    """An engine that is ready to speak.

    Attributes:
        version: Changes whenever the same call may give other sound. It is part of the cache's key.
        licence: Of its program and voices, as SPDX names them, or in words.
        repeats: Whether the same call gives the same samples, on one machine, in every process. Where it does not,
            only the cache makes a rerun equal.
    """

    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def licence(self) -> str: ...  # noqa: D102
    @property
    def repeats(self) -> bool: ...  # noqa: D102

    def voices(self) -> Mapping[str, Sequence[str]]:
        """The voices that can be had now without a download, by language as BCP 47 names it."""

    def speak(self, text: str, language: str, voice: str, speed: float, seed: int) -> Speech:
        """Speak a text.

        Args:
            text: What :func:`~llaso_data.instruct.voices.speakable.spoken_text` gives.
            language: A key of :meth:`voices`.
            voice: One of that language's.
            speed: How many times faster than the voice's own, within :data:`SPEEDS`.
            seed: Decides what an engine draws; one that draws nothing does not use it.

        Raises:
            SpeechError: This text cannot be spoken: the engine failed, or gave no sound.
        """


def _any_voice(language: str, voice: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class EngineKind:
    """A kind of engine in the table.

    Attributes:
        title: What it is, for lists.
        licence: Of the program, for lists.
        make: Makes an engine of the recipe's settings. It raises LLaSOError for a setting that it does not know, and
            where what it needs is not installed, with the line that installs it.
        states_voices: Whether its setting ``voices`` says which voices it has. Of other engines the recipe's
            ``voices`` chooses among those that they have.
        is_drawn: Whether a voice of a language is drawn from where a recipe names none.
        together: Texts that a server gives it at once. Engines that compute here take one.
    """

    title: str
    licence: str
    make: Callable[[Mapping[str, Any]], VoiceEngine]
    states_voices: bool = False
    is_drawn: Callable[[str, str], bool] = _any_voice
    together: int = 1


class SpeechError(LLaSOError):
    """A text that could not be spoken.

    Attributes:
        reason: The stable name that rejections are counted under, such as ``too_long``.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason

    def __reduce__(self) -> tuple[type[SpeechError], tuple[str, str]]:
        return type(self), (self.reason, str(self))  # so that a worker process can send it


VOICES: Registry[EngineKind] = Registry("voice engine", f"{__name__}.engines", ENTRY_POINTS)


def engine(name: str, settings: Mapping[str, Any] | None = None) -> VoiceEngine:
    """The engine of a name in :data:`VOICES`.

    Args:
        name: Such as ``hibari``.
        settings: The recipe's, without the name.

    Raises:
        LLaSOError: There is no such engine, it does not know a setting, or what it needs is not installed.
    """
    return VOICES[name].make(settings or {})


def checked(settings: Mapping[str, Any], engine_name: str, **kinds: type | tuple[type, ...]) -> Mapping[str, Any]:
    """The settings of an engine, once they are known to be among those that it has.

    Args:
        settings: The recipe's.
        engine_name: For messages.
        kinds: The settings that there are, and the types of their values.

    Raises:
        LLaSOError: for a setting that there is not, or a value of another type.
    """
    for name, value in settings.items():
        if name not in kinds:
            known = ", ".join(kinds) or "none"
            raise LLaSOError(f"voices.{engine_name}: there is no setting {name!r}; there are: {known}")
        if not isinstance(value, kinds[name]):
            raise LLaSOError(f"voices.{engine_name}.{name}: {value!r} is not of the kind that is expected")
    return settings


def voices_setting(settings: Mapping[str, Any], engine_name: str) -> dict[str, tuple[str, ...]]:
    """The setting ``voices`` of an engine that cannot be asked: names of voices by language.

    Raises:
        LLaSOError: where it is missing or not such a table.
    """
    table = settings.get("voices")
    if not isinstance(table, Mapping) or not table:
        raise LLaSOError(f"voices.{engine_name}: say its voices by language, such as `voices: {{en: [alice]}}`")
    found: dict[str, tuple[str, ...]] = {}
    for code, names in table.items():
        if not isinstance(names, list | tuple) or not names or not all(isinstance(one, str) and one for one in names):
            raise LLaSOError(f"voices.{engine_name}.voices.{code}: a list of names is expected, not {names!r}")
        found[str(code)] = tuple(names)
    return found


def require_voice(known: Mapping[str, Sequence[str]], language: str, voice: str, engine_name: str) -> None:
    """Raises LLaSOError, with the choices, where an engine has no such voice for the language."""
    if language not in known:
        raise LLaSOError(f"{engine_name} speaks no {language_name(language)}; it speaks {', '.join(sorted(known))}")
    if voice not in known[language]:
        choices = ", ".join(known[language])
        raise LLaSOError(f"{engine_name} has no voice {voice!r} for {language_name(language)}; it has {choices}")


def require_length(spoken: Speech, name: str, text: str) -> None:
    """Raises SpeechError where an engine spoke a text for too long (``too_long``), or gave no sound (``no_sound``)."""
    shown = repr(text if len(text) <= 60 else text[:60] + "…")
    if spoken.duration_s > MAX_SPEECH_S:
        raise SpeechError(
            "too_long", f"{name} speaks {shown} for {spoken.duration_s:.1f} s, more than {MAX_SPEECH_S:g}"
        )
    if spoken.duration_s < _MIN_SPEECH_S or not spoken.pcm.any():
        raise SpeechError("no_sound", f"{name} gives no sound for {shown}")


def speech(samples: npt.NDArray[np.float32], rate_hz: int) -> Speech:
    """Speech of float samples from -1 to 1, shape (samples,)."""
    return Speech(to_int16(samples), rate_hz)
