"""espeak-ng: a command with 100 languages. It is under GPL-3 and not part of LLaSO; it is run where it is installed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import VOICES, EngineKind, Speech, checked, require_voice
from llaso_data.instruct.voices.running import read_wav, run
from llaso_data.languages import language as language_code

_PROGRAM = "espeak-ng"
_LICENCE = "GPL-3.0-or-later"
_WORDS_PER_MINUTE = 175  # its own speed
_VARIANTS = ("m1", "m2", "m3", "m7", "f1", "f2", "f3", "f4")
"""Of each accent: four men and four women. Others whisper, croak, or are robots."""
_INSTALL = "apt install espeak-ng (Debian, Ubuntu), or brew install espeak-ng"


class Espeak:
    """The command espeak-ng. A voice is an accent and a variant: ``en-gb+f2``."""

    licence = _LICENCE
    repeats = True

    def __init__(self) -> None:
        path = shutil.which(_PROGRAM)
        if path is None:
            raise LLaSOError(f"the voice espeak-ng needs the command {_PROGRAM}: {_INSTALL}")
        self._path = path
        self.version = run([path, "--version"], "").decode(errors="replace").partition("Data at")[0].strip()

    def voices(self) -> Mapping[str, Sequence[str]]:
        """Every accent in eight variants, by language."""
        return _voices(self._path)

    def speak(self, text: str, language: str, voice: str, speed: float, seed: int) -> Speech:
        """Speak a text at 22.05 kHz. Nothing is drawn."""
        require_voice(self.voices(), language, voice, _PROGRAM)
        rate = str(round(_WORDS_PER_MINUTE * speed))
        # `[[…]]` would be read as phonemes; what brackets hold is refused before it comes here.
        return read_wav(run([self._path, "-v", voice, "-s", rate, "-b", "1", "--stdin", "--stdout"], text), _PROGRAM)


@cache
def _voices(path: str) -> dict[str, tuple[str, ...]]:
    accents: dict[str, set[str]] = {}
    for line in run([path, "--voices"], "").decode().splitlines()[1:]:
        columns = line.split()
        if len(columns) < 5 or columns[4].startswith(("mb/", "!v/")):  # another program's voices; variants
            continue
        if "latn" in columns[1] and columns[1].startswith("cmn"):
            continue  # Mandarin that is written in Latin letters
        code = language_code(columns[1].partition("-x-")[0])
        if code is not None:
            accents.setdefault(code, set()).add(columns[1])
    return {
        code: tuple(f"{accent}+{variant}" for accent in sorted(names) for variant in _VARIANTS)
        for code, names in sorted(accents.items())
    }


def _make(settings: Mapping[str, Any]) -> Espeak:
    checked(settings, "espeak-ng")
    return Espeak()


def _is_drawn(language: str, voice: str) -> bool:
    """Not Mandarin, of which Whisper understands nothing, and no accents that are private inventions (``-x-``)."""
    return language != "zh" and "-x-" not in voice


VOICES.register(
    "espeak-ng",
    EngineKind("100 languages, 22.05 kHz, sounds like a machine; a command", _LICENCE, _make, is_drawn=_is_drawn),
)
