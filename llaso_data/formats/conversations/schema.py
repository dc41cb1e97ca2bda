"""The JSON Schema of a row of messages and audios; ``shards/messages.schema.json`` is generated from it."""

from __future__ import annotations

from typing import Any

from llaso_data.records import ROLES, SPLITS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NAME: Schema = {"type": ["string", "number", "null"]}
_SECONDS: Schema = {"type": ["number", "null"], "minimum": 0}
_PART: Schema = {
    "oneOf": [
        {"type": "object", "required": ["type", "text"], "properties": {"type": {"const": "text"}, "text": _TEXT}},
        {
            "type": "object",
            "required": ["type"],
            "properties": {"type": {"enum": ["audio", "audio_url", "input_audio"]}},
        },
    ]
}
_MESSAGE: Schema = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"enum": list(ROLES)},
        "content": {"oneOf": [_TEXT, {"type": "array", "minItems": 1, "items": _PART}]},
    },
}
_INFO: Schema = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("text", "language", "speaker", "gender", "age", "accent", "environment"), _NAME),
        **dict.fromkeys(("start", "end", "duration"), _SECONDS),
        "channel": {"type": ["integer", "string", "array", "null"]},
    },
}

MESSAGES: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "One row of messages and audios",
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
        "audios": {"type": "array", "items": {"type": "string", "minLength": 1}},
        "audio_info": {"type": "array", "items": _INFO},
        "task": _TEXT,
        "language": _TEXT,
        "split": {"enum": [*SPLITS, ""]},
    },
}
