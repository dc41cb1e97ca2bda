"""A user's own command: text by stdin, a sound file by stdout. Its arguments come from the recipe, never from data."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import VOICES, EngineKind, Speech, checked, require_voice, voices_setting
from llaso_data.instruct.voices.running import read_wav, run
from llaso_data.records.digests import digest

_PLACEHOLDERS = ("{voice}", "{language}", "{speed}", "{seed}")


class Command:
    """A program that reads a text and writes a WAV or FLAC file."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Use the recipe's settings.

        Args:
            settings: ``arguments``, a list: the program and its arguments, in which ``{voice}``, ``{language}``,
                ``{speed}`` and ``{seed}`` are replaced. ``voices``, names by language. ``version``, text that the
                user changes when the program speaks differently. ``licence``. ``repeats``, whether the same call
                gives the same sound; else it is taken to give another.
        """
        checked(settings, "command", arguments=list, voices=Mapping, version=str, licence=str, repeats=bool)
        arguments = settings.get("arguments")
        if not arguments or not all(isinstance(one, str) for one in arguments):
            raise LLaSOError("voices.command.arguments: a list of texts is expected, the program first")
        if shutil.which(arguments[0]) is None:
            raise LLaSOError(f"voices.command.arguments: there is no command {arguments[0]}")
        self._arguments = tuple(arguments)
        self._voices = voices_setting(settings, "command")
        self.version = f"{settings.get('version', '')} {digest(*arguments)}"
        self.licence = str(settings.get("licence", "not said"))
        self.repeats = bool(settings.get("repeats", False))

    def voices(self) -> Mapping[str, Sequence[str]]:
        """What the recipe says."""
        return self._voices

    def speak(self, text: str, language: str, voice: str, speed: float, seed: int) -> Speech:
        """Run the command with the text."""
        require_voice(self._voices, language, voice, "the command")
        values = dict(zip(_PLACEHOLDERS, (voice, language, f"{speed:g}", str(seed)), strict=True))
        arguments = [self._arguments[0], *(_filled(one, values) for one in self._arguments[1:])]
        return read_wav(run(arguments, text), self._arguments[0])


def _filled(argument: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        argument = argument.replace(placeholder, value)
    return argument


VOICES.register("command", EngineKind("a command of yours", "its own", Command, states_voices=True))
