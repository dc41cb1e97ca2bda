"""An address that speaks as OpenAI's ``/v1/audio/speech`` does."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import VOICES, EngineKind, Speech, SpeechError, checked, require_voice, voices_setting
from llaso_data.instruct.voices.running import read_wav
from llaso_data.io.hub_requests import seconds_asked
from llaso_data.io.openai_client import client_of

KEY_VARIABLE = "LLASO_VOICE_KEY"
_TIMEOUT_S = 120.0  # for one text, all tries together
_WAITS_S = (0.5, 2.0, 8.0)  # before each further try, where the address does not say Retry-After
_FOR_NOW = frozenset({408, 409, 429})  # and 5xx
_TOGETHER = 8
_MAX_BYTES = 64 << 20  # a minute of stereo at 96 kHz in 32 bits is 46 MB


class OpenAISpeech:
    """A server, or a paid service. The same call may give other sound: only the cache makes a rerun equal."""

    repeats = False

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Use the recipe's settings.

        Args:
            settings: ``url``, such as ``http://localhost:8000/v1``. ``model``. ``voices``, names by language.
                ``licence``. ``timeout_s``, the seconds that one text may take. The key is no setting: it is read from
                the variable LLASO_VOICE_KEY where that is set.
        """
        checked(settings, "openai", url=str, model=str, voices=Mapping, licence=str, timeout_s=(int, float))
        self._url, self._model = str(settings.get("url", "")).rstrip("/"), str(settings.get("model", ""))
        if not self._url.startswith(("http://", "https://")) or not self._model:
            raise LLaSOError("voices.openai: `url` (http:// or https://, mostly ending in /v1) and `model` are needed")
        self._voices = voices_setting(settings, "openai")
        self._timeout_s = float(settings.get("timeout_s", _TIMEOUT_S))
        if self._timeout_s <= 0:
            raise LLaSOError(f"voices.openai.timeout_s: seconds above 0 are expected, not {self._timeout_s:g}")
        self.version = f"{self._url} {self._model}"
        self.licence = str(settings.get("licence", "not said"))
        key = os.environ.get(KEY_VARIABLE)
        self._client, self._headers = client_of(self._url, key, 1, self._timeout_s, "the voice openai")

    def voices(self) -> Mapping[str, Sequence[str]]:
        """What the recipe says."""
        return self._voices

    def speak(self, text: str, language: str, voice: str, speed: float, seed: int) -> Speech:
        """Ask the server for a WAV file. It is told neither language nor seed: it has no words for them."""
        require_voice(self._voices, language, voice, self._url)
        asked = {"model": self._model, "voice": voice, "input": text, "response_format": "wav", "speed": speed}
        deadline = time.monotonic() + self._timeout_s
        for usual_wait_s in (*_WAITS_S, None):
            try:
                return read_wav(self._asked(asked, deadline), self._url)
            except _TryFailedError as failed:
                wait_s = usual_wait_s if failed.wait_s is None else failed.wait_s
                if usual_wait_s is None or wait_s is None or time.monotonic() + wait_s >= deadline:
                    raise SpeechError("engine_failed", f"{self._url}: {failed}") from failed.__cause__
                time.sleep(wait_s)
        raise AssertionError("the last try ends it")

    def _asked(self, asked: dict[str, Any], deadline: float) -> bytes:
        """The bytes of one try. Raises SpeechError, or _TryFailedError where another try may do better."""
        import openai

        data = bytearray()
        try:
            with self._client.audio.speech.with_streaming_response.create(
                **asked, extra_headers=self._headers, timeout=max(deadline - time.monotonic(), 0.01)
            ) as answer:
                for piece in answer.iter_bytes():
                    data += piece
                    if len(data) > _MAX_BYTES:
                        raise SpeechError("bad_sound", f"{self._url}: more than {_MAX_BYTES >> 20} MiB for one text")
                    if time.monotonic() > deadline:
                        raise SpeechError("engine_failed", f"{self._url}: not done after {self._timeout_s:g} s")
        except SpeechError:
            raise
        except openai.APIStatusError as error:
            if error.status_code in _FOR_NOW or error.status_code >= 500:
                raise _TryFailedError(str(error), seconds_asked(error.response.headers)) from error
            raise SpeechError("engine_failed", f"{self._url}: {error}") from error
        except Exception as error:  # of the client; in the middle of an answer of its HTTP library, whichever that is
            raise _TryFailedError(f"{type(error).__name__}: {error}") from error
        return bytes(data)


class _TryFailedError(Exception):
    """A try that failed for now; ``wait_s`` is how long the address asks to wait."""

    def __init__(self, said: str, wait_s: float | None = None) -> None:
        super().__init__(said)
        self.wait_s = wait_s


VOICES.register(
    "openai",
    EngineKind("an address with /v1/audio/speech", "its own", OpenAISpeech, states_voices=True, together=_TOGETHER),
)
