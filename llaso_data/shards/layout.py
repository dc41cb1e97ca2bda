"""What a shard is made of: the names of files and parts, and the JSON of one sample.

``shards/SPEC.md`` is the contract for other programs; this module is its Python form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llaso_data import records
from llaso_data.errors import LLaSOError
from llaso_data.records import ContentPart, Provenance, Sample, Utterance
from llaso_data.shards.tar import MAX_NAME_BYTES
from llaso_data.uris import shown

FORMAT = "llaso-shards"
FORMAT_VERSION = 1
"""Raised when an existing field changes its meaning; readers refuse what is higher than they know."""

MANIFEST = "manifest.json"
INDEX = "index.arrow"
CERTIFICATE = "certificate.json"
CERTIFICATE_FORMAT = "llaso-certificate"
CERTIFICATE_VERSION = 2
"""What is written; :data:`CERTIFICATE_VERSIONS` are read."""
CERTIFICATE_VERSIONS = (1, CERTIFICATE_VERSION)
JSON_PART = "json"

_SHARD = re.compile(r"shard-(\d{6,})\.(tar|arrow)")
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PART = re.compile(r"(0|[1-9][0-9]*)\.[a-z0-9]+|[a-z0-9]+")
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
_NOT_STORED = ("failure", "decoding")  # of an utterance, in a sample

Message = dict[str, Any]
"""A message as the JSON of a sample has it: an audio is named by its part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSample:
    """One sample ready to be written: its parts' bytes by name, and its row of the index.

    ``split``, ``license`` and ``consent`` are None where nothing is said; several licences are joined by ``; ``.
    """

    key: str
    parts: Mapping[str, bytes]
    duration_s: float
    text_bytes: int
    task: str | None
    language: str | None
    modality: str
    split: str | None = None
    license: str | None = None
    consent: str | None = None


def shard_name(number: int) -> str:
    """The name of a tar, counted from 0: ``shard-000012.tar``."""
    return f"shard-{number:06d}.tar"


def sidecar_name(tar_name: str) -> str:
    """The name of a tar's index: ``x.tar`` → ``x.arrow``."""
    return tar_name.removesuffix(".tar") + ".arrow"


def shard_number(name: str) -> int | None:
    """The number in ``shard-000012.tar`` or ``shard-000012.arrow``; None for any other name."""
    match = _SHARD.fullmatch(name)
    return int(match[1]) if match else None


def audio_parts(count: int, extension: str) -> list[str]:
    """The part names of a sample's audios: ``flac`` where there is one, else ``0.flac``, ``1.flac``, …"""
    return [extension] if count == 1 else [f"{number}.{extension}" for number in range(count)]


def name_of_parts(audios: int) -> str:
    """What samples with so many audios are called where kinds of samples lie apart: ``text``, ``1-audio``, …"""
    return f"{audios}-audio" + ("s" if audios > 1 else "") if audios else "text"


def member_name(key: str, part: str) -> str:
    """The name of a member of a tar: ``<key>.<part>``.

    Raises:
        ValueError: Either could be read back differently.
    """
    name = f"{key}.{part}"
    if not _KEY.fullmatch(key) or not _PART.fullmatch(part) or len(name) > MAX_NAME_BYTES:
        raise ValueError(f"not a key and a part of a shard: {name!r}")
    return name


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, without spaces, UTF-8: the same value gives the same bytes.

    Raises:
        ValueError: A number is NaN or infinite, or a text is no valid Unicode.
    """
    return _ENCODER.encode(value).encode()


def text_part(text: str) -> dict[str, str]:
    """A text of a message."""
    return {"type": "text", "text": text}


def audio_part(part: str) -> dict[str, str]:
    """An audio of a message; ``audio`` names the part of the same sample that holds it."""
    return {"type": "audio", "audio": part}


def content_parts(content: Any) -> Any:
    """The parts of a message's content; where other programs wrote a text for it, that is the one part."""
    return [text_part(content)] if isinstance(content, str) else content


def messages_json(messages: Sequence[records.Message], parts: Sequence[str]) -> list[Message]:
    """Messages as the JSON of a sample has them.

    Args:
        messages: Their audios are numbers.
        parts: The name of the part that holds each audio.

    Returns:
        The chat-template form of Hugging Face; each audio names its part.
    """
    return [
        {
            "role": message.role,
            "content": [
                text_part(part.text or "") if part.audio is None else audio_part(parts[part.audio])
                for part in message.content
            ],
        }
        for message in messages
    ]


def sample_key(utterance_ids: Sequence[str], task: str, messages: Sequence[Message]) -> str:
    """The 32-digit key: digest of the audios' utterance ids, the task and the messages' canonical JSON."""
    return records.digest(*utterance_ids, task, canonical(list(messages)))


def modality(messages: Sequence[Message]) -> str:
    """What asks in the messages of a JSON, e.g. ``text+audio``: see :func:`llaso_data.records.modality`."""
    return records.modality(
        (message["role"], (part["type"] for part in content_parts(message["content"]))) for message in messages
    )


def text_bytes(messages: Sequence[Message]) -> int:
    """UTF-8 bytes of all text in the messages of a JSON, the answers included."""
    parts = (part for message in messages for part in content_parts(message["content"]))
    return sum(len(part["text"].encode()) for part in parts if part["type"] == "text")


def audio_entry(part: str, utterance: Utterance) -> dict[str, Any]:
    """What a sample's JSON says of one audio: the record, and which part holds its sound."""
    record = records.to_dict(utterance)
    record["source"]["uri"] = shown(record["source"]["uri"])  # shards are given away
    for name in _NOT_STORED:
        del record[name]
    record["scores"] = {name: value for name, value in record["scores"].items() if value is not None}
    record["part"] = part
    return record


def key_of(sample: Sample, parts: Sequence[str]) -> str:
    """The key that a sample has in a shard.

    Args:
        sample: Its sound need not be known.
        parts: The name of the part that holds each of its audios.
    """
    return sample_key(records.ids(sample.audios), sample.task, messages_json(sample.messages, parts))


def encode_sample(sample: Sample, sounds: Mapping[str, bytes], key: str | None = None) -> EncodedSample:
    """A sample as a shard stores it.

    Args:
        sample: Every audio has its ``duration_s``.
        sounds: The encoded audios in the order of ``sample.audios``, by part name: ``flac`` where there is one,
            ``0.flac``, ``1.flac``, … where there are several.
        key: That of :func:`key_of`, where it is known.

    Returns:
        Its parts and its row of the index. ``split`` and ``provenance`` stand in the JSON only where they say
        something. Passwords and signatures in addresses are masked.

    Raises:
        ValueError: ``sounds`` has other parts than these.
    """
    names, count = list(sounds), len(sample.audios)
    if len(names) != count or any(not _names_audio(name, number, count) for number, name in enumerate(names)):
        raise ValueError(f"a sample with {count} audios cannot have the audio parts {names}")
    content = content_of(sample, names, key)
    return EncodedSample(
        key=content["key"],
        parts={**sounds, JSON_PART: canonical(content)},
        duration_s=sample.duration_s,
        text_bytes=text_bytes(content["messages"]),
        task=sample.task,
        language=sample.language,
        modality=sample.modality,
        split=sample.split,
        license=joined(audio.source.license for audio in sample.audios),
        consent=joined(audio.source.consent for audio in sample.audios),
    )


def content_of(sample: Sample, parts: Sequence[str], key: str | None = None) -> dict[str, Any]:
    """The JSON of a sample.

    Args:
        sample: Every audio has its ``duration_s``.
        parts: The name of the part that holds each of its audios.
        key: That of :func:`key_of`, where it is known.
    """
    messages = messages_json(sample.messages, parts)
    content = {
        "format_version": FORMAT_VERSION,
        "key": key or sample_key(records.ids(sample.audios), sample.task, messages),
        "task": sample.task,
        "language": sample.language,
        "duration_s": sample.duration_s,
        "messages": messages,
        "audios": [audio_entry(part, utterance) for part, utterance in zip(parts, sample.audios, strict=True)],
    }
    if sample.split is not None:
        content["split"] = sample.split
    if sample.provenance is not None:
        content["provenance"] = _provenance_json(sample.provenance)
    return content


def joined(values: Iterable[str | None]) -> str | None:
    """Different values in one text, sorted; None where there is none."""
    return "; ".join(sorted({value for value in values if value})) or None


def decode_sample(content: Any) -> Sample:
    """The sample that the JSON of a shard's sample describes: the inverse of :func:`encode_sample`.

    Args:
        content: The parsed JSON. Fields that this version does not know are passed over, those that may be absent
            have their defaults.

    Returns:
        The sample; what a shard does not store of an utterance (``failure``, ``decoding``) is None.

    Raises:
        LLaSOError: It is not of the form of ``shards/SPEC.md``, section 2.
    """
    try:
        named = {entry["part"]: number for number, entry in enumerate(content["audios"])}
        provenance = content.get("provenance")
        return Sample(
            task=content["task"],
            messages=tuple(_message(message, named) for message in content["messages"]),
            audios=tuple(_utterance(entry) for entry in content["audios"]),
            language=content.get("language"),
            split=content.get("split"),
            provenance=None if provenance is None else records.from_dict(provenance, Provenance),
        )
    except KeyError as error:
        raise LLaSOError(f"its JSON has no {error}; shards/SPEC.md says what it must have") from error
    except (AttributeError, TypeError) as error:
        raise LLaSOError(f"its JSON is not of the form of shards/SPEC.md ({error})") from error


def _names_audio(name: str, number: int, count: int) -> bool:
    """Whether a part may be called so that holds audio ``number`` of ``count``."""
    return name == audio_parts(count, name.rpartition(".")[2])[number]


def _provenance_json(provenance: Provenance) -> dict[str, Any]:
    fields = records.to_dict(provenance)
    return fields if provenance.file is None else {**fields, "file": shown(provenance.file)}


def _message(message: Mapping[str, Any], named: Mapping[str, int]) -> records.Message:
    parts = content_parts(message["content"])
    return records.Message(role=message["role"], content=tuple(_part(part, named) for part in parts))


def _part(part: Mapping[str, Any], named: Mapping[str, int]) -> ContentPart:
    if part["type"] != "audio":
        return ContentPart(type=part["type"], text=part.get("text"))
    if part["audio"] not in named:
        raise LLaSOError(f"a message names the audio {part['audio']!r:.100}, which `audios` does not describe")
    return ContentPart.of(named[part["audio"]])


def _utterance(entry: Mapping[str, Any]) -> Utterance:
    record = {"recording": entry["id"], **entry}
    return records.from_dict(record, Utterance)
