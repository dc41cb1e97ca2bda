"""``/v1/audio/transcriptions`` and ``/v1/audio/translations``."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from llaso_data.languages import language_name
from llaso_data.text import compression_ratio
from llaso_model.answer.subtitles import written
from llaso_model.engine.requests import Sampling
from llaso_model.serve.bodies import Form, form_of
from llaso_model.serve.errors import ApiError, invalid, unsupported
from llaso_model.serve.events import EventStream
from llaso_model.serve.service import Service, checked_language, words_of_json
from llaso_model.serve.transcribing import AnsweredPiece, Recording

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
_FIELDS = ("model", "language", "prompt", "response_format", "temperature")
_LISTS = ("timestamp_granularities",)
_REFUSED = {
    "include": "log probabilities are not given",
    "keywords": "this model takes none; put them into `prompt`",
    "languages": "name one `language`, or none",
    "known_speaker_names": "speakers are not told apart",
    "known_speaker_references": "speakers are not told apart",
    "hotwords": "this model takes none; put them into `prompt`",
}
_HOTTEST = 2.0
_GRANULARITIES = ("word", "segment")


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options of a request."""

    form: str
    language: str | None
    prompt: str | None
    temperature: float
    granularities: frozenset[str]
    streams: bool


async def transcriptions(request: Request) -> Response:
    """What is said in a recording."""
    async with form_of(request, (*_FIELDS, *_LISTS, "stream", "chunking_strategy"), _LISTS, _REFUSED) as form:
        return await _answered(request.app.state.service, form, to_english=False)


async def translations(request: Request) -> Response:
    """What is said in a recording, in English."""
    refused = {**_REFUSED, "stream": "translations are not streamed", "language": "the model hears which it is"}
    async with form_of(request, [one for one in _FIELDS if one != "language"], (), refused) as form:
        return await _answered(request.app.state.service, form, to_english=True)


async def _answered(service: Service, form: Form, to_english: bool) -> Response:
    started = time.monotonic()
    asked = _options(service, form)
    pcm = await service.sounds.decoded(form.file.file, form.file.filename)
    is_verbose = asked.form == "verbose_json"
    spoken = asked.language
    if is_verbose and spoken is None:
        spoken = await service.language_of(pcm)
    times_words = not to_english and ("word" in asked.granularities or asked.form in ("srt", "vtt"))
    recording = service.transcribing.recording(
        pcm,
        service.transcribing_of(asked.prompt, asked.language, to_english),
        Sampling(max_new_tokens=service.served.max_new_tokens, temperature=asked.temperature, details=is_verbose),
        spoken,
        times_words,
        measures_speech=is_verbose,
        streams=asked.streams,
    )
    if asked.streams:
        return EventStream(_events(service, recording, started))
    await recording.transcribe()
    _note(service, recording, started)
    if asked.form == "text":
        return PlainTextResponse(recording.text + "\n")
    if asked.form in ("srt", "vtt"):
        return PlainTextResponse(_subtitles(recording, asked.form), media_type=_SUBTITLES[asked.form])
    if asked.form == "json":
        return JSONResponse({"text": recording.text, "usage": tokens_used(recording)})
    return JSONResponse(_verbose(recording, asked, spoken, "translate" if to_english else "transcribe"))


_SUBTITLES = {"srt": "application/x-subrip; charset=utf-8", "vtt": "text/vtt"}


async def _events(service: Service, recording: Recording, started: float) -> AsyncIterator[dict[str, Any]]:
    is_first = True
    async for delta in recording.deltas():
        if is_first:
            service.metrics.observe("llaso_first_text_seconds", time.monotonic() - started)
            is_first = False
        yield {"type": "transcript.text.delta", "delta": delta}
    _note(service, recording, started)
    yield {"type": "transcript.text.done", "text": recording.text, "usage": tokens_used(recording)}


def _options(service: Service, form: Form) -> _Asked:
    """The options of a form. Raises ApiError for what cannot be honoured."""
    if (model := form.one("model")) is None:
        raise ApiError(400, "model: the name of the model is missing", "model", "missing_required_parameter")
    service.check_model(model)
    answer_form = form.one("response_format") or "json"
    if answer_form == "diarized_json":
        raise unsupported("response_format", "speakers are not told apart, so there is no diarized_json")
    if answer_form not in FORMATS:
        raise invalid("response_format", f"one of {', '.join(FORMATS)}, not {answer_form[:40]!r}")
    granularities = frozenset(form.values.get("timestamp_granularities", ()))
    if unknown := sorted(granularities - set(_GRANULARITIES)):
        raise invalid("timestamp_granularities", f"word or segment, not {unknown[0][:40]!r}")
    if granularities and answer_form != "verbose_json":
        raise invalid("timestamp_granularities", "only with `response_format` verbose_json")
    if "word" in granularities and service.transcribing.words is None:
        raise unsupported("timestamp_granularities", "this server knows no Whisper to time words (--whisper)")
    if (form.one("chunking_strategy") or "auto") != "auto":
        raise unsupported("chunking_strategy", "`auto` only: long audio is cut at pauses")
    streams = form.flag("stream")
    if streams and answer_form not in ("json", "text"):
        raise unsupported("stream", f"with `response_format` json, not {answer_form}")
    return _Asked(
        answer_form,
        checked_language(form.one("language")),
        form.one("prompt"),
        form.number("temperature", 0, _HOTTEST, 0.0),
        granularities or frozenset({"segment"}),
        streams,
    )


def tokens_used(recording: Recording) -> dict[str, Any]:
    """The tokens of all prompts and answers of a recording, as OpenAI's usage."""
    read = sum(one.answer.prompt_tokens for one in recording.pieces)
    wrote = sum(len(one.answer.tokens) for one in recording.pieces)
    return {"type": "tokens", "input_tokens": read, "output_tokens": wrote, "total_tokens": read + wrote}


def _verbose(recording: Recording, asked: _Asked, language: str | None, task: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "task": task,
        "language": "unknown" if language is None else language_name(language).lower(),
        "duration": round(recording.duration_s, 3),
        "text": recording.text,
        "usage": {"type": "duration", "seconds": round(recording.duration_s, 3)},
    }
    if "word" in asked.granularities:
        answer["words"] = words_of_json([word for one in recording.pieces for word in one.piece.words])
    if "segment" in asked.granularities:
        answer["segments"] = _segments(recording.pieces, asked.temperature)
    return answer


def _segments(pieces: Sequence[AnsweredPiece], temperature: float) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "seek": round(100 * one.piece.start_s),
            "start": round(one.piece.start_s, 3),
            "end": round(one.piece.end_s, 3),
            "text": one.piece.text,
            "tokens": list(one.answer.tokens),
            "temperature": temperature,
            "avg_logprob": None if one.answer.details is None else one.answer.details.mean_logprob,
            "compression_ratio": round(compression_ratio(one.piece.text), 3),
            "no_speech_prob": None if one.speech_ratio is None else round(1 - one.speech_ratio, 3),
        }
        for number, one in enumerate(pieces)
    ]


def _subtitles(recording: Recording, kind: str) -> str:
    cues = [cue for one in recording.pieces for cue in one.piece.cues()]
    return written(cues, "srt" if kind == "srt" else "vtt")


def _note(service: Service, recording: Recording, started: float) -> None:
    if recording.duration_s:
        service.metrics.observe("llaso_real_time_factor", (time.monotonic() - started) / recording.duration_s)


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["file", "model"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "model": {"type": "string"},
        "language": {"type": "string"},
        "prompt": {"type": "string"},
        "response_format": {"enum": list(FORMATS)},
        "temperature": {"type": "number"},
        "timestamp_granularities[]": {"type": "array", "items": {"enum": list(_GRANULARITIES)}},
        "stream": {"type": "boolean"},
        "chunking_strategy": {"enum": ["auto"]},
    },
}
"""The form, for ``/openapi.json``."""
