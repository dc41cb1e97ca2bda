"""What a shard is made of: the names of files and parts, and the JSON of one sample.

``shards/SPEC.md`` is the contract for other programs; this module is its Python form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llaso_data import records
from llaso_data.records import Utterance
from llaso_data.shards.tar import MAX_NAME_BYTES
from llaso_data.uris import shown

FORMAT = "llaso-shards"
FORMAT_VERSION = 1
"""Raised when an existing field changes its meaning; readers refuse what is higher than they know."""

MANIFEST = "manifest.json"
INDEX = "index.arrow"
CERTIFICATE = "certificate.json"
CERTIFICATE_FORMAT = "llaso-certificate"
CERTIFICATE_VERSION = 1
JSON_PART = "json"

_SHARD = re.compile(r"shard-(\d{6,})\.(tar|arrow)")
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PART = re.compile(r"(0|[1-9][0-9]*)\.[a-z0-9]+|[a-z0-9]+")

Message = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSample:
    """One sample ready to be written: its parts' bytes by name, and its row of the index."""

    key: str
    parts: Mapping[str, bytes]
    duration_s: float
    text_bytes: int
    task: str | None
    language: str | None
    modality: str


def shard_name(number: int) -> str:
    return f"shard-{number:06d}.tar"


def sidecar_name(tar_name: str) -> str:
    """The name of a tar's index: ``x.tar`` → ``x.arrow``."""
    return tar_name.removesuffix(".tar") + ".arrow"


def shard_number(name: str) -> int | None:
    """The number in ``shard-000012.tar`` or ``shard-000012.arrow``; None for any other name."""
    found = _SHARD.fullmatch(name)
    return int(found[1]) if found else None


def audio_parts(count: int, extension: str) -> list[str]:
    """The part names of a sample's audios: ``flac`` where there is one, else ``0.flac``, ``1.flac``, …"""
    return [extension] if count == 1 else [f"{number}.{extension}" for number in range(count)]


def member_name(key: str, part: str) -> str:
    """``<key>.<part>``; raises ValueError where either could be read back differently."""
    name = f"{key}.{part}"
    if not _KEY.fullmatch(key) or not _PART.fullmatch(part) or len(name) > MAX_NAME_BYTES:
        raise ValueError(f"not a key and a part of a shard: {name!r}")
    return name


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, without spaces, UTF-8: the same value gives the same bytes."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def text_part(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def audio_part(part: str) -> dict[str, str]:
    """An audio of a message; ``audio`` names the part of the same sample that holds it."""
    return {"type": "audio", "audio": part}


def content_parts(content: Any) -> Any:
    """The parts of a message's content; where other programs wrote a text for it, that is the one part."""
    return [text_part(content)] if isinstance(content, str) else content


def sample_key(utterance_ids: Sequence[str], task: str, messages: Sequence[Message]) -> str:
    """The 32-digit key: digest of the audios' utterance ids, the task and the messages' canonical JSON."""
    return records.digest(*utterance_ids, task, canonical(list(messages)))


def modality(messages: Sequence[Message]) -> str:
    """What asks: the content types before the first answer, repeats folded, e.g. ``text+audio`` or ``audio``."""
    kinds: list[str] = []
    for message in messages:
        if message["role"] == "assistant":
            break
        for part in content_parts(message["content"]):
            if not kinds or kinds[-1] != part["type"]:
                kinds.append(part["type"])
    return "+".join(kinds)


def text_bytes(messages: Sequence[Message]) -> int:
    """UTF-8 bytes of all text in the messages, the answers included."""
    parts = (part for message in messages for part in content_parts(message["content"]))
    return sum(len(part["text"].encode()) for part in parts if part["type"] == "text")


def audio_entry(part: str, utterance: Utterance) -> dict[str, Any]:
    """What a sample's JSON says of one audio: the record, and which part holds its sound."""
    record = records.to_dict(utterance)
    record["source"]["uri"] = shown(record["source"]["uri"])  # shards are given away
    for name in ("failure", "decoding"):
        del record[name]
    scores = {name: value for name, value in record["scores"].items() if value is not None}
    return {**record, "scores": scores, "part": part}


def build(
    task: str,
    language: str | None,
    messages: Sequence[Message],
    utterances: Sequence[Utterance],
    sounds: Mapping[str, bytes],
) -> EncodedSample:
    """A sample of `task`: conversation, records of its audios and their encoded bytes by part name.

    ``utterances`` stand in the order of ``sounds``. Raises ValueError where the messages and the sounds disagree.
    """
    named = [p["audio"] for m in messages for p in m["content"] if p["type"] == "audio"]
    if named != list(sounds) or len(sounds) != len(utterances):
        raise ValueError(f"the messages name the audios {named}, the sample has {list(sounds)}")
    key = sample_key([utterance.id for utterance in utterances], task, messages)
    duration_s = round(sum(utterance.duration_s or 0.0 for utterance in utterances), 6)
    conversation = {
        "format_version": FORMAT_VERSION,
        "key": key,
        "task": task,
        "language": language,
        "duration_s": duration_s,
        "messages": list(messages),
        "audios": [audio_entry(part, utterance) for part, utterance in zip(sounds, utterances, strict=True)],
    }
    return EncodedSample(
        key=key,
        parts={**sounds, JSON_PART: canonical(conversation)},
        duration_s=duration_s,
        text_bytes=text_bytes(messages),
        task=task,
        language=language,
        modality=modality(messages),
    )


def asr_messages(instruction: str, part: str, text: str) -> list[Message]:
    """A transcription: the user's instruction and audio, the text as the answer."""
    return [
        {"role": "user", "content": [text_part(instruction), audio_part(part)]},
        {"role": "assistant", "content": [text_part(text)]},
    ]
