"""Conversations as a language model's chat template writes them, and the tokens of these texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llaso_model.configuration import IGNORED
from llaso_model.sounds import InputError

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n' }}{% endfor %}"
)
"""The chat template for language models without one of their own: the texts of the messages, one after the other."""
_FIRST_PRIVATE = 0xF0000
_PRIVATE = re.compile("[\U000f0000-\U000ffffd]")
_PRIVATE_KEPT = re.compile(f"({_PRIVATE.pattern})")

Message = dict[str, Any]
"""A message of a conversation: ``role``, and ``content``, which is a text or a list of parts."""


class ChatText(str):
    """A text that the chat template wrote. It is not put into the template again.

    Attributes:
        escaped: The same text, with private characters in place of special tokens that people wrote. So their words
            stay words.
    """

    escaped: str

    @classmethod
    def of(cls, text: str, escaped: str) -> ChatText:
        """The text with its escaped form."""
        chat_text = cls(text)
        chat_text.escaped = escaped
        return chat_text


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """A tokenizer with a chat template.

    Special tokens that a person wrote in a message are words. They are escaped: each stands as one private character
    until the text is tokenized.

    Attributes:
        tokenizer: The language model's.
        template: Jinja; None: the tokenizer's own.
        audio_token: Stands for one audio in a text.
        special_tokens: All tokens that are not words, the audio token among them, in a fixed order.
    """

    tokenizer: Any
    template: str | None
    audio_token: str
    special_tokens: Sequence[str]

    def text(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """The conversation as the template writes it, escaped, with one audio token for each audio."""
        plain = [{**message, "content": self._content(message["content"])} for message in messages]
        text: str = self.tokenizer.apply_chat_template(
            plain, tokenize=False, add_generation_prompt=add_generation_prompt, chat_template=self.template
        )
        return text

    def leading_token(self) -> str | None:
        """The special token that the template begins with; None where it begins with none."""
        text = self.text([{"role": "user", "content": "a"}], False)
        return next((one for one in self.special_tokens if one != self.audio_token and text.startswith(one)), None)

    def unescaped(self, text: str) -> str:
        """The text with special tokens in place of private characters."""
        return _PRIVATE.sub(lambda match: self.special_tokens[ord(match[0]) - _FIRST_PRIVATE], text)

    def ids(self, text: str) -> list[int]:
        """Token ids of an escaped text."""
        ids: list[int] = []
        for piece in _PRIVATE_KEPT.split(text):
            is_escaped = len(piece) == 1 and _PRIVATE.fullmatch(piece)
            words = self.special_tokens[ord(piece) - _FIRST_PRIVATE] if is_escaped else piece
            if words:
                encoding = self.tokenizer(words, add_special_tokens=False, split_special_tokens=bool(is_escaped))
                ids += encoding["input_ids"]
        return ids

    def ids_with_audio(self, text: str, audio_token_counts: Iterator[int]) -> list[int]:
        """Token ids of an escaped text in which each audio token is repeated as often as the next count says."""
        audio_token_id = self.tokenizer.convert_tokens_to_ids(self.audio_token)
        ids: list[int] = []
        for number, piece in enumerate(text.split(self.audio_token)):
            ids += [audio_token_id] * next(audio_token_counts) if number else []
            ids += self.ids(piece)
        return ids

    def ids_and_labels(
        self,
        messages: Sequence[Message],
        audio_token_counts: Iterator[int],
        by_turns: bool,
        add_generation_prompt: bool,
    ) -> tuple[list[int], list[int]]:
        """Token ids of a conversation, and its labels.

        Args:
            messages: The conversation.
            audio_token_counts: How many audio tokens stand for each of its audios.
            by_turns: Whether labels are what the assistant says; else all are :data:`IGNORED`.
            add_generation_prompt: Whether the text ends with the beginning of an answer.
        """
        ids: list[int] = []
        labels: list[int] = []
        if by_turns:
            segments = self.segments(messages, add_generation_prompt)
        else:
            segments = [(self.text(messages, add_generation_prompt), False)]
        for text, is_answer in segments:
            own = self.ids_with_audio(text, audio_token_counts)
            ids += own
            labels += own if is_answer else [IGNORED] * len(own)
        return ids, labels

    def segments(self, messages: Sequence[Message], add_generation_prompt: bool) -> list[tuple[str, bool]]:
        """The conversation's text in segments, and whether the assistant says each.

        Raises:
            InputError: The template changes earlier turns when one is added.
        """
        segments: list[tuple[str, bool]] = []
        done = ""
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, after = self.text(messages[:number], True), self.text(messages[: number + 1], False)
            if not (before.startswith(done) and after.startswith(before)):
                raise InputError("the chat template changes earlier turns when one is added; labels cannot be made")
            segments += [(before[len(done) :], False), (after[len(before) :], True)]
            done = after
        whole = self.text(messages, add_generation_prompt)
        return [*segments, (whole[len(done) :], False)] if whole.startswith(done) else segments

    def _content(self, content: Any) -> str:
        if isinstance(content, str):
            return self._escaped(content)
        return "\n".join(self.audio_token if is_audio(part) else self._escaped(part["text"]) for part in content)

    def _escaped(self, text: str) -> str:
        """The text with one private character in place of each special token that somebody wrote."""
        text = _PRIVATE.sub("\ufffd", text)
        for number, token in enumerate(self.special_tokens):
            text = text.replace(token, chr(_FIRST_PRIVATE + number))
        return text


def has_answer(messages: Sequence[Message]) -> bool:
    """Whether the assistant says something in a conversation."""
    return any(message["role"] == "assistant" for message in messages)


def audio_parts(messages: Sequence[Message]) -> list[Message]:
    """The parts of a conversation that are audio, in their order. Raises InputError as :func:`is_audio`."""
    return [
        part
        for message in messages
        if not isinstance(message["content"], str)
        for part in message["content"]
        if is_audio(part)
    ]


def is_audio(part: Message) -> bool:
    """Whether a part of a message is audio. Raises InputError where it is neither text nor audio."""
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return False
    if kind != "audio":
        raise InputError(f"a part of a message is text or audio, not {kind!r} with {', '.join(map(str, part))}")
    return True


def audio_of(part: Message) -> Any:
    """The audio of a message's part, under any of the names that chat messages have for it."""
    if part.get("audio") is not None:
        return part["audio"]
    return {name: value for name, value in part.items() if name != "type"}
