"""A sample's conversation: with its audio inserted, and parted into question and answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.shards.layout import content_parts
from llaso_data.stream.batch import StreamSample
from llaso_model.chat_format import Message

ROLES = ("system", "user", "assistant")


def conversation(content: Mapping[str, Any], sounds: Mapping[str, Any]) -> list[Message]:
    """The messages of a sample's JSON, with audio in place of the names of its parts.

    Args:
        content: The sample's JSON. A message's content is a list of parts, or a text, which is one part.
        sounds: The sample's audio by the names of its parts.

    Raises:
        LLaSOError: A message is of another form or names an audio that is not among ``sounds``, or no message names
            one of these.
    """
    messages = content.get("messages")
    if not isinstance(messages, list) or not messages:
        raise LLaSOError("it has no JSON with messages; docs/train.md says what is read")
    with_sounds = [_with_sounds(message, number, sounds) for number, message in enumerate(messages, 1)]
    unnamed = sorted(set(sounds) - set(audios_of(content)))
    if unnamed:
        raise LLaSOError(f"no message names its audio {unnamed[0]}")
    return with_sounds


def audios_of(content: Mapping[str, Any]) -> list[str]:
    """Names of the audio parts in the messages of a sample's JSON, in their order."""
    return [
        part["audio"]
        for message in content["messages"]
        for part in content_parts(message["content"])
        if part["type"] == "audio"
    ]


def records_of(sample: StreamSample) -> dict[str, Mapping[str, Any]]:
    """The records of a decoded sample's audios (``audios`` in its JSON), by part. A part without a record is left out.

    Raises:
        LLaSOError: ``audios`` are not of the form of shards/SPEC.md.
    """
    audios = sample.content.get("audios") or []
    if not isinstance(audios, list) or not all(isinstance(audio, dict) for audio in audios):
        raise LLaSOError("audios is not a list of objects")
    parts = [audio.get("part") for audio in audios]
    for part in parts:
        if part not in sample.audio_parts or parts.count(part) > 1:
            raise LLaSOError(f"audios describes the part {part!r}, which it does not have, or twice")
    return dict(zip(parts, audios, strict=True))


def question_of(messages: Sequence[Message]) -> tuple[list[Message], str] | None:
    """The messages before the assistant's last turn, and the text of that turn; None where there is no such turn."""
    for number in range(len(messages) - 1, 0, -1):
        if messages[number]["role"] == "assistant":
            return list(messages[:number]), text_of(messages[number])
    return None


def text_of(message: Message) -> str:
    """The text of a message, without its audio."""
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")


def _with_sounds(message: Any, number: int, sounds: Mapping[str, Any]) -> Message:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        role = message.get("role") if isinstance(message, dict) else message
        raise LLaSOError(f"message {number} is by {role!r}; roles are {', '.join(ROLES)}")
    parts = content_parts(message.get("content"))
    if not isinstance(parts, list):
        raise LLaSOError(f"the content of message {number} is neither a text nor a list of parts")
    return {**message, "content": [_with_sound(part, number, sounds) for part in parts]}


def _with_sound(part: Any, number: int, sounds: Mapping[str, Any]) -> Message:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return dict(part)
    if kind != "audio" or not isinstance(part.get("audio"), str):
        raise LLaSOError(f"a part of message {number} is neither a text nor an audio that names a part: {part!r:.100}")
    if part["audio"] not in sounds:
        raise LLaSOError(f"message {number} names the audio {part['audio']!r}, which it does not have")
    return {**part, "audio": sounds[part["audio"]]}
