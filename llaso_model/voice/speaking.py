"""Which voice speaks: names of voices, the language of a text, and the speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llaso_data.audio.mixing import Pcm
from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import SPEEDS, VOICES, Speech, SpeechError, VoiceEngine, engine, require_length
from llaso_data.instruct.voices.speakable import spoken_text
from llaso_data.text import scripts_match

RATE_HZ = 24_000
"""Of all speech that comes out: the rate of OpenAI's pcm."""
DEFAULT = "hibari"
SLOWEST, FASTEST = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sentence, and how it sounds.

    Attributes:
        text: The sentence as it was written.
        pcm: int16 samples (T,) at :data:`RATE_HZ`; empty where it cannot be spoken.
        problem: Why it cannot be spoken; None: it is.
        reason: The stable name of the problem.
    """

    text: str
    pcm: Pcm
    problem: str | None = None
    reason: str | None = None


class Speaker:
    """Speaks with the voices of one or more engines.

    A voice is named ``ENGINE/VOICE``, ``ENGINE`` (its first voice), or by an alias.

    Args:
        engines: Settings of engines of ``VOICES`` by their names; None: hibari.
        default: The voice where none is named; None: the first engine's first.
        aliases: Further names of voices.

    Raises:
        LLaSOError: There is no such engine or voice, or what an engine needs is not installed.
    """

    def __init__(
        self,
        engines: Mapping[str, Mapping[str, Any]] | None = None,
        default: str | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        named = engines or {(default or DEFAULT).partition("/")[0]: {}}
        self._engines: dict[str, VoiceEngine] = {name: engine(name, settings) for name, settings in named.items()}
        self._aliases = dict(aliases or {})
        self.default = default or next(iter(self._engines))
        for name in (self.default, *self._aliases.values()):
            self.check(name)

    @property
    def names(self) -> list[str]:
        """All names of voices, aliases first."""
        own = [
            f"{name}/{voice}"
            for name, one in self._engines.items()
            for voice in dict.fromkeys(voice for voices in one.voices().values() for voice in voices)
        ]
        return [*self._aliases, *own]

    def check(self, voice: str | None) -> None:
        """Raises LLaSOError, with the choices, where there is no voice of a name."""
        self._found(voice)

    @property
    def together(self) -> dict[str, int]:
        """How many sentences each engine is given at once, by its name."""
        return {name: VOICES[name].together for name in self._engines}

    def engine_of(self, voice: str | None) -> str:
        """The name of the engine that has a voice. Raises LLaSOError where there is none of that name."""
        return self._found(voice)[0]

    def speak(self, sentence: str, voice: str | None = None, speed: float = 1.0) -> Spoken:
        """Speaks a sentence. One that cannot be spoken, such as a line of code, has its problem and no sound.

        Args:
            sentence: Of at most about 20 s.
            voice: A name; None: the default one.
            speed: How many times faster than the voice's own, :data:`SLOWEST` to :data:`FASTEST`.

        Raises:
            LLaSOError: There is no such voice, or the speed is out of range.
        """
        if not SLOWEST <= speed <= FASTEST:
            raise LLaSOError(f"a speed of {SLOWEST} to {FASTEST}, not {speed:g}")
        asked = min(max(speed, SPEEDS[0]), SPEEDS[1])
        try:
            text, name, language, own = self.prepared(sentence, voice)
            speech = self._engines[name].speak(text, language, own, asked, 0)
            require_length(speech, name, text)
        except SpeechError as error:
            return Spoken(sentence, np.zeros(0, np.int16), str(error), error.reason)
        return Spoken(sentence, _resampled(_stretched(speech, speed / asked)))

    def prepared(self, sentence: str, voice: str | None = None) -> tuple[str, str, str, str]:
        """A sentence as it is spoken, and who speaks it: (text, engine, language, voice).

        Raises:
            SpeechError: It cannot be spoken.
            LLaSOError: There is no such voice.
        """
        name, choices = self._found(voice)
        language = next((code for code, _ in choices if scripts_match(sentence, code)), choices[0][0])
        own = next(voice for code, voice in choices if code == language)
        return spoken_text(sentence, language), name, language, own

    def _found(self, voice: str | None) -> tuple[str, list[tuple[str, str]]]:
        """The engine's name, and (language, voice) of a name's voice."""
        full = self.default if voice in (None, "default") else self._aliases.get(str(voice), str(voice))
        name, _, own = full.partition("/")
        if name not in self._engines:
            if name in VOICES and voice == self.default:
                raise LLaSOError(f"the voice {full!r} is of an engine that is not loaded; there are {self._choices()}")
            raise LLaSOError(f"there is no voice {str(voice)[:60]!r}; there are default, {self._choices()}")
        found = [
            (language, one)
            for language, voices in self._engines[name].voices().items()
            for one in (voices if own else voices[:1])
            if not own or one == own
        ]
        if not found:
            raise LLaSOError(f"there is no voice {str(voice)[:60]!r}; there are default, {self._choices()}")
        return name, found

    def _choices(self, most: int = 12) -> str:
        names: Sequence[str] = self.names
        return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def speaker_of(voice: str | None, path: str | None) -> Speaker:
    """A speaker by what a user names.

    Args:
        voice: ``ENGINE`` or ``ENGINE/VOICE``; None: the file's ``default``, else hibari.
        path: A YAML file with ``engines`` (settings by name, as in a recipe), ``aliases`` and ``default``; None: none.

    Raises:
        LLaSOError: The file cannot be read or has something else, or there is no such voice.
    """
    if path is None:
        return Speaker(default=voice)
    from llaso_data.io import storage, yaml_text

    try:
        text = storage.read_bytes(path).decode()
    except (OSError, ValueError) as error:
        raise LLaSOError(f"{path}: cannot be read: {error}") from error
    said = yaml_text.plain(yaml_text.parse(path, text, "file of voices"))
    if not isinstance(said, dict):
        raise LLaSOError(f"{path}: a table with engines, aliases and default is expected")
    for name, value in said.items():
        if name not in ("engines", "aliases", "default"):
            raise LLaSOError(f"{path}: {name} is not known; there are engines, aliases and default")
        if name != "default" and not isinstance(value, Mapping):
            raise LLaSOError(f"{path}: {name} is a table of names, not {value!r}")
    default, aliases, engines = said.get("default"), said.get("aliases", {}), said.get("engines", {})
    if default is not None and not isinstance(default, str):
        raise LLaSOError(f"{path}: default is the name of a voice, not {default!r}")
    for name, settings in engines.items():
        if settings is not None and not isinstance(settings, Mapping):
            raise LLaSOError(f"{path}: engines.{name} is a table of its settings, not {settings!r}")
    for name, meant in aliases.items():
        if not isinstance(name, str) or not isinstance(meant, str) or name == "default" or meant in aliases:
            raise LLaSOError(
                f"{path}: aliases.{name} is ENGINE or ENGINE/VOICE, not {meant!r}; `default` has its own line"
            )
    return Speaker(
        {name: dict(settings or {}) for name, settings in engines.items()} or None, voice or default, aliases
    )


def _stretched(speech: Speech, factor: float) -> Speech:
    """Speech that is so many times faster, at the same pitch (FFmpeg's WSOLA)."""
    if abs(factor - 1) < 0.005:
        return speech
    import av
    from av.filter import Graph

    graph = Graph()
    source = graph.add_abuffer(sample_rate=speech.rate_hz, format="s16", layout="mono")
    last = source
    for step in _steps(factor):
        tempo = graph.add("atempo", f"{step:.4f}")
        last.link_to(tempo)
        last = tempo
    sink = graph.add("abuffersink")
    last.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(speech.pcm)[None, :], format="s16", layout="mono")
    frame.sample_rate = speech.rate_hz
    source.push(frame)
    source.push(None)
    parts: list[Pcm] = []
    while True:
        try:
            pulled: Any = sink.pull()
            parts.append(pulled.to_ndarray().reshape(-1))
        except (av.error.BlockingIOError, av.error.EOFError):
            break
    return Speech(np.concatenate(parts).astype(np.int16) if parts else speech.pcm[:0], speech.rate_hz)


def _steps(factor: float) -> list[float]:
    """Factors of 0.5 to 2, whose product is the factor: within these the sound is good."""
    steps = []
    while factor > 2:
        steps.append(2.0)
        factor /= 2
    while factor < 0.5:
        steps.append(0.5)
        factor *= 2
    return [*steps, factor]


def _resampled(speech: Speech) -> Pcm:
    if speech.rate_hz == RATE_HZ:
        return speech.pcm
    import soxr

    resampled: Pcm = soxr.resample(speech.pcm, speech.rate_hz, RATE_HZ, quality="HQ")
    return resampled
