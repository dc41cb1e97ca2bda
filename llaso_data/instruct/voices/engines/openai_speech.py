"""An address that speaks as OpenAI's ``/v1/audio/speech`` does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import VOICES, EngineKind, Speech, SpeechError, checked, require_voice, voices_setting
from llaso_data.instruct.voices.running import read_wav
from llaso_data.io.openai_client import client_of

KEY_VARIABLE = "LLASO_VOICE_KEY"
_TIMEOUT_S = 120.0
_TRIES = 4
_MAX_BYTES = 64 << 20  # a minute of stereo at 96 kHz in 32 bits is 46 MB


class OpenAISpeech:
    """A server, or a paid service. The same call may give other sound: only the cache makes a rerun equal."""

    repeats = False

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Use the recipe's settings.

        Args:
            settings: ``url``, such as ``http://localhost:8000/v1``. ``model``. ``voices``, names by language.
                ``licence``. The key is no setting: it is read from the variable LLASO_VOICE_KEY where that is set.
        """
        checked(settings, "openai", url=str, model=str, voices=Mapping, licence=str)
        self._url, self._model = str(settings.get("url", "")).rstrip("/"), str(settings.get("model", ""))
        if not self._url.startswith(("http://", "https://")) or not self._model:
            raise LLaSOError("voices.openai: `url` (http:// or https://, mostly ending in /v1) and `model` are needed")
        self._voices = voices_setting(settings, "openai")
        self.version = f"{self._url} {self._model}"
        self.licence = str(settings.get("licence", "not said"))
        key = os.environ.get(KEY_VARIABLE)
        self._client, self._headers = client_of(self._url, key, _TRIES, _TIMEOUT_S, "the voice openai")

    def voices(self) -> Mapping[str, Sequence[str]]:
        """What the recipe says."""
        return self._voices

    def speak(self, text: str, language: str, voice: str, speed: float, seed: int) -> Speech:
        """Ask the server for a WAV file. It is told neither language nor seed: it has no words for them."""
        import openai

        require_voice(self._voices, language, voice, self._url)
        data = bytearray()
        try:
            with self._client.audio.speech.with_streaming_response.create(
                model=self._model,
                voice=voice,
                input=text,
                response_format="wav",
                speed=speed,
                extra_headers=self._headers,
            ) as answer:
                for piece in answer.iter_bytes():
                    data += piece
                    if len(data) > _MAX_BYTES:
                        raise SpeechError("bad_sound", f"{self._url}: more than {_MAX_BYTES >> 20} MiB for one text")
        except openai.OpenAIError as error:
            raise SpeechError("engine_failed", f"{self._url}: {error}") from error
        return read_wav(bytes(data), self._url)


VOICES.register("openai", EngineKind("an address with /v1/audio/speech", "its own", OpenAISpeech, states_voices=True))
