"""JSON Schemas of a sample, the manifest and the certificate; ``shards/*.schema.json`` are generated from them.

Unknown fields are allowed everywhere, so that a new field does not raise the format version.
"""

from __future__ import annotations

from typing import Any

from llaso_data.filters.acceptance import ANSWERS
from llaso_data.records import ROLES, SPLITS
from llaso_data.shards.layout import CERTIFICATE_FORMAT, CERTIFICATE_VERSIONS, FORMAT, FORMAT_VERSION

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_NUMBER: Schema = {"type": "number"}
_MAYBE_NUMBER: Schema = {"type": ["number", "null"]}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_MAYBE_SECONDS: Schema = {"type": ["number", "null"], "minimum": 0}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_HEX_32: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_HEX_64: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_CHECKSUM: Schema = {"type": "string", "pattern": "^crc32:[0-9a-f]{8}$"}
_PART: Schema = {"type": "string", "pattern": r"^((0|[1-9][0-9]*)\.)?[a-z0-9]+$"}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    properties = {**required, **(optional or {})}
    return {"type": "object", "required": sorted(required), "properties": properties}


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, **({"minItems": least} if least else {})}


_ATTRIBUTE = _object({"value": _TEXT, "origin": _TEXT})

_CONTENT: Schema = {
    "oneOf": [
        {**_object({"type": {"const": "text"}, "text": _TEXT}), "additionalProperties": False},
        {**_object({"type": {"const": "audio"}, "audio": _PART}), "additionalProperties": False},
    ]
}

_MESSAGE = _object({"role": {"enum": list(ROLES)}, "content": _list(_CONTENT, 1)})

_AUDIO = _object(
    {
        "part": _PART,
        "id": _HEX_32,
        "duration_s": _SECONDS,
        "words": _list(
            _object({"text": _TEXT, "start_s": _SECONDS, "end_s": _SECONDS}, {"logprob": _MAYBE_NUMBER}),
        ),
        "speaker": _object(dict.fromkeys(("id", "gender", "age_range", "accent"), _ATTRIBUTE)),
        "environment": _ATTRIBUTE,
        "scores": {
            "type": "object",
            "properties": {"extra": {"type": "object", "additionalProperties": _NUMBER}},
            "additionalProperties": _NUMBER,
        },
        "source": _object(
            {"corpus": _TEXT, "uri": _TEXT},
            {
                "member": _MAYBE_TEXT,
                "start_s": _MAYBE_SECONDS,
                "end_s": _MAYBE_SECONDS,
                "sampling_rate_hz": {"type": ["integer", "null"]},
                "channels": {"type": ["integer", "null"]},
                "license": _TEXT,
                "consent": _TEXT,
            },
        ),
    },
    {
        "recording": _HEX_32,
        "audio_id": {"type": ["string", "null"], "pattern": "^[0-9a-f]{32}$"},
        "language": _MAYBE_TEXT,
        "language_origin": _TEXT,
        "text": _MAYBE_TEXT,
        "text_given": _MAYBE_TEXT,
        "text_origin": {"enum": ["given", "asr", "unknown"]},
        "hypothesis": _MAYBE_TEXT,
    },
)

_PROVENANCE = _object(
    {},
    {
        "layout": _TEXT,
        "file": _TEXT,
        "row": _COUNT,
        "template": _TEXT,
        "voice": _TEXT,
        "seed": {"type": "integer"},
        "kept": {"type": "object"},
    },
)

SAMPLE: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "One sample of a LLaSO shard",
    **_object(
        {
            "format_version": {"const": FORMAT_VERSION},
            "key": _HEX_32,
            "task": _TEXT,
            "language": _MAYBE_TEXT,
            "duration_s": _SECONDS,
            "messages": _list(_MESSAGE, 1),
            "audios": _list(_AUDIO),
        },
        {"split": {"enum": list(SPLITS)}, "provenance": _PROVENANCE},
    ),
}

_COUNTS: Schema = {"type": "object", "additionalProperties": _object({"samples": _COUNT, "hours": _SECONDS})}

MANIFEST: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "manifest.json of a set of LLaSO shards",
    **_object(
        {
            "format": {"const": FORMAT},
            "format_version": {"const": FORMAT_VERSION},
            "profile": {"enum": ["llaso", "webdataset", "in_place"]},
            "digest": _HEX_32,
            "plan": _HEX_32,
            "options": {"type": ["object", "null"]},
            "source": {"type": ["object", "null"]},
            "samples": _COUNT,
            "hours": _SECONDS,
            "bytes": _COUNT,
            "languages": _COUNTS,
            "tasks": _COUNTS,
            "modalities": _COUNTS,
            "index": _TEXT,
            "shards": _list(
                _object({"path": _TEXT, "sha256": _HEX_64, "bytes": _COUNT, "samples": _COUNT, "hours": _SECONDS})
            ),
        },
        {
            "checksum": _CHECKSUM,
            "splits": _COUNTS,
            "licenses": _COUNTS,
            "consents": _COUNTS,
            "generation": {"type": "integer", "minimum": 1},
            "generations": _list(
                _object(
                    {
                        "generation": {"type": "integer", "minimum": 1},
                        "digest": _HEX_32,
                        "plan": _HEX_32,
                        "samples": _COUNT,
                        "hours": _SECONDS,
                        "index": _TEXT,
                    }
                )
            ),
        },
    ),
}

_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_ANSWER: Schema = {"enum": list(ANSWERS)}
_FINDING = {
    "population": _COUNT,
    "items": _COUNT,
    "defects": _COUNT,
    "rate": _SHARE,
    "upper": _SHARE,
    "passed": {"type": "boolean"},
}

_RATE = {
    "rejected": _COUNT,
    "pairs": _COUNT,
    "share": _SHARE,
    "interval": {**_list(_SHARE, 2), "maxItems": 2},
}
_FALSE_ALARMS = _object(
    {
        "allowed": _SHARE,
        "fitted": {"type": "boolean"},
        **_RATE,
        "groups": _list(
            _object(
                {
                    "corpus": _TEXT,
                    "language": _TEXT,
                    "texts": {"enum": ["given", "asr"]},
                    **_RATE,
                    "mean_recall": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
                }
            )
        ),
        "recall": {"type": "object", "additionalProperties": _object(_RATE)},
    }
)

CERTIFICATE: Schema = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "certificate.json: what people heard of a dataset",
    **_object(
        {
            "format": {"const": CERTIFICATE_FORMAT},
            "format_version": {"enum": list(CERTIFICATE_VERSIONS)},
            "dataset": _object(
                {"verdicts": _HEX_32, "shards": {"type": ["string", "null"], "pattern": "^[0-9a-f]{32}$"}}
            ),
            "plan": _object(
                {
                    "items": _COUNT,
                    "allowed": {"type": ["integer", "null"], "minimum": 0},
                    "confidence": _SHARE,
                    "limit": _SHARE,
                    "seed": {"type": "integer"},
                }
            ),
            "rule": _TEXT,
            **_FINDING,
            "answers": {"type": "object", "properties": dict.fromkeys(ANSWERS, _COUNT), "required": sorted(ANSWERS)},
            "strata": _list(_object({"language": _TEXT, "corpus": _TEXT, **_FINDING})),
            "auditors": _list(
                _object({"name": _TEXT, "items": _COUNT, "defects": _COUNT, "first": _TEXT, "last": _TEXT}), 1
            ),
            "agreement": _list(
                _object(
                    {
                        "auditors": {**_list(_TEXT, 2), "maxItems": 2},
                        "items": _COUNT,
                        "agreed": _COUNT,
                        "kappa": {"type": ["number", "null"], "minimum": -1, "maximum": 1},
                    }
                )
            ),
            "sample": _list(_object({"id": _HEX_32, "heard": _HEX_32, "answer": _ANSWER}), 1),
        },
        {
            "checksum": _CHECKSUM,
            "false_alarms": {"oneOf": [_FALSE_ALARMS, {"type": "null"}]},
            "uncalibrated": _MAYBE_TEXT,
        },
    ),
    "if": {"properties": {"format_version": {"const": 1}}},
    "else": {"required": ["false_alarms", "uncalibrated"]},
}
