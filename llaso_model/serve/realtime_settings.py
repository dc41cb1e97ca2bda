"""What a realtime session is told, and the audio that it is sent."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm
from llaso_model.serve.errors import ApiError, invalid, unsupported
from llaso_model.serve.service import Service, checked_language

PCM_HZ, TELEPHONE_HZ = 24_000, 8_000
_APPEND_BYTES = 15 << 20


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """Server VAD.

    Attributes:
        threshold: The probability of speech from which audio is speech.
        padding_s: Audio that is kept before speech.
        silence_s: Silence after which speech has stopped.
    """

    threshold: float = 0.5
    padding_s: float = 0.3
    silence_s: float = 0.5


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """A session's.

    Attributes:
        format: ``audio/pcm`` (24 kHz, 16 bits, one channel), ``audio/pcmu`` or ``audio/pcma`` (8 kHz).
        model: As the client calls it; None: it has not said.
        language: Told to the model.
        prompt: Told to the model.
        turns: None: the client commits.
        policy: Name in ``POLICIES``; None: the server's.
    """

    format: str = "audio/pcm"
    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    turns: TurnSettings | None = TurnSettings()
    policy: str | None = None

    def described(self) -> dict[str, Any]:
        """The session as events have it."""
        rate = {"rate": PCM_HZ} if self.format == "audio/pcm" else {}
        turns = None
        if self.turns is not None:
            turns = {
                "type": "server_vad",
                "threshold": self.turns.threshold,
                "prefix_padding_ms": round(1000 * self.turns.padding_s),
                "silence_duration_ms": round(1000 * self.turns.silence_s),
            }
        known = {"model": self.model, "language": self.language, "prompt": self.prompt}
        transcription = {name: value for name, value in known.items() if value is not None}
        audio = {"format": {"type": self.format, **rate}, "noise_reduction": None, "transcription": transcription}
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "audio": {"input": {**audio, "turn_detection": turns}},
            "include": [],
        }


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Format(_Told):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: Literal[24000] = 24000


class _Transcription(_Told):
    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class _Turns(_Told):
    type: Literal["server_vad"]
    threshold: float = Field(0.5, gt=0, lt=1)
    prefix_padding_ms: int = Field(300, ge=0, le=2000)
    silence_duration_ms: int = Field(500, ge=100, le=10_000)


class _Input(_Told):
    format: _Format | None = None
    noise_reduction: None = None
    transcription: _Transcription | None = None
    turn_detection: _Turns | None = None


class _Audio(_Told):
    input: _Input | None = None


class _Session(_Told):
    type: Literal["transcription"]
    audio: _Audio | None = None
    include: list[str] = Field(default_factory=list)


_POLICY_OF_DELAY = {
    "minimal": "attention",
    "low": "attention",
    "medium": None,
    "high": "agreement",
    "xhigh": "agreement",
}


def updated(settings: SessionSettings, told: Any, service: Service) -> SessionSettings:
    """The settings after a ``session.update``. What it does not name stays.

    Raises:
        ApiError: It names what there is not.
    """
    if isinstance(told, dict) and told.get("type") == "realtime":
        raise unsupported("session.type", "`transcription` only: the model does not answer in a session")
    try:
        session = _Session.model_validate(told)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(["session", *map(str, first["loc"])])
        raise ApiError(400, f"{where}: {first['msg']}", where, "invalid_value") from error
    if session.include:
        raise unsupported("session.include", "log probabilities are not given")
    given = session.audio.input if session.audio is not None else None
    if given is None:
        return settings
    values = {name: getattr(settings, name) for name in ("format", "model", "language", "prompt", "turns", "policy")}
    if given.format is not None:
        values["format"] = given.format.type
    if given.transcription is not None:
        if given.transcription.model is not None:
            service.check_model(given.transcription.model)
        values["model"] = given.transcription.model
        values["language"] = checked_language(given.transcription.language)
        values["prompt"] = given.transcription.prompt
        values["policy"] = _POLICY_OF_DELAY.get(given.transcription.delay or "medium")
    if "turn_detection" in given.model_fields_set:
        turns = given.turn_detection
        values["turns"] = None
        if turns is not None:
            values["turns"] = TurnSettings(
                turns.threshold, turns.prefix_padding_ms / 1000, turns.silence_duration_ms / 1000
            )
    return SessionSettings(**values)


class AudioReader:
    """Reads the audio of events, and resamples it to 16 kHz as it comes.

    Args:
        form: See :class:`SessionSettings`.
    """

    def __init__(self, form: str) -> None:
        self._form = form
        self._begin()

    def _begin(self) -> None:
        import soxr

        rate_hz = PCM_HZ if self._form == "audio/pcm" else TELEPHONE_HZ
        self._odd = b""
        self._resample = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="int16", quality="HQ")

    def finish(self) -> Pcm:
        """The last samples, which the resampler holds until it knows that none follow. Others may begin after them."""
        rest: Pcm = self._resample.resample_chunk(np.zeros(0, np.int16), last=True)
        self._begin()
        return rest

    def read(self, audio: Any) -> Pcm:
        """The next samples. Raises ApiError where it is no base64, or too much."""
        if not isinstance(audio, str):
            raise invalid("audio", "base64 is expected")
        if len(audio) > _APPEND_BYTES * 4 // 3 + 4:
            raise ApiError(413, f"more than {_APPEND_BYTES >> 20} MiB in one event", "audio", "too_large")
        try:
            data = self._odd + base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError) as error:
            raise invalid("audio", f"this is no base64 ({error})") from error
        if self._form == "audio/pcm":
            whole = len(data) // 2 * 2
            data, self._odd = data[:whole], data[whole:]
            samples = np.frombuffer(data, "<i2")
        else:
            table = _MU_LAW if self._form == "audio/pcmu" else _A_LAW
            samples = table[np.frombuffer(data, np.uint8)]
        resampled: Pcm = self._resample.resample_chunk(samples)
        return resampled


def _mu_law() -> Pcm:
    """The sample of each byte (ITU-T G.711)."""
    code = ~np.arange(256, dtype=np.uint8)
    size = (((code & 0x0F).astype(np.int32) << 3) + 0x84 << ((code >> 4) & 7).astype(np.int32)) - 0x84
    return np.where(code & 0x80, -size, size).astype(np.int16)


def _a_law() -> Pcm:
    """The sample of each byte (ITU-T G.711)."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent = ((code >> 4) & 7).astype(np.int32)
    size = ((code & 0x0F).astype(np.int32) << 4) + 8
    size = np.where(exponent > 0, (size + 0x100) << np.maximum(exponent - 1, 0), size)
    return np.where(code & 0x80, size, -size).astype(np.int16)


_MU_LAW, _A_LAW = _mu_law(), _a_law()
