"""A sample's conversation: with its sound in place, as a question, and as the model answers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_model.processing import LLaSOProcessor, Message


def conversation(content: Mapping[str, Any], sounds: Mapping[str, Any], key: str) -> list[Message]:
    """The messages of a sample's JSON with the sound in place of its part's name. Raises LLaSOError."""
    messages = content.get("messages")
    if not messages:
        raise LLaSOError(f"sample {key} has no messages; convert the shards, as docs/shards.md says")
    try:
        return [
            {
                **message,
                "content": [
                    {**part, "audio": sounds[part["audio"]]} if part["type"] == "audio" else part
                    for part in message["content"]
                ],
            }
            for message in messages
        ]
    except KeyError as error:
        raise LLaSOError(f"sample {key}: a message names the audio {error}, which it does not have") from error


def question_of(messages: Sequence[Message]) -> tuple[list[Message], str] | None:
    """What stands before the assistant's last turn, and what is said in that turn; None where there is none."""
    for number in range(len(messages) - 1, 0, -1):
        if messages[number]["role"] == "assistant":
            return list(messages[:number]), text_of(messages[number])
    return None


def text_of(message: Message) -> str:
    """The text of a message, without its audio."""
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")


def answers(
    model: Any, processor: LLaSOProcessor, questions: Sequence[Sequence[Message]], device: Any, **settings: Any
) -> list[str]:
    """What the model says to each question, without sampling; ``settings`` are those of ``generate``."""
    inputs = processor.batch(questions).to(device)
    out = model.generate(**inputs, do_sample=False, **settings)
    found: list[str] = processor.batch_decode(out, skip_special_tokens=True)
    return found
