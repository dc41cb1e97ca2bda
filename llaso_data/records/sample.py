"""A sample: one conversation, for training or evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.records.digests import canonical, digest
from llaso_data.records.utterance import Utterance
from llaso_data.text.surrogates import has_lone_surrogate

ROLES = ("system", "user", "assistant")
ANSWERING = "assistant"
SPLITS = ("train", "validation", "test")

TEXT = "text"
AUDIO = "audio"

_DURATION_DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentPart:
    """A piece of a message: a text, or an audio of the sample. The other of the two fields is None.

    Attributes:
        type: ``text`` or ``audio``.
        text: The text; may be empty.
        audio: Number of the audio in the sample's ``audios``, counted from 0.

    Raises:
        LLaSOError: It is neither a text nor the number of an audio, or the text is no valid Unicode.
    """

    type: str
    text: str | None = None
    audio: int | None = None

    def __post_init__(self) -> None:
        if self.type == TEXT and isinstance(self.text, str) and self.audio is None:
            if has_lone_surrogate(self.text):
                raise LLaSOError(f"a text has half a surrogate pair, which is no character: {self.text!a:.100}")
        elif self.type != AUDIO or type(self.audio) is not int or self.text is not None:
            what = {"type": self.type, "text": self.text, "audio": self.audio}
            raise LLaSOError(f"a part of a message is neither a text nor the number of an audio: {what!r:.200}")

    @classmethod
    def of(cls, content: str | int) -> ContentPart:
        """The part of a text or of the number of an audio."""
        return cls(type=TEXT, text=content) if isinstance(content, str) else cls(type=AUDIO, audio=content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation: its role and its parts, in their order.

    Attributes:
        role: ``system``, ``user`` or ``assistant``.
        content: At least one part. Any role may speak aloud.

    Raises:
        LLaSOError: The role is another, or the content is empty.
    """

    role: str
    content: tuple[ContentPart, ...]

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise LLaSOError(f"a message is by {self.role!r:.100}; roles are {', '.join(ROLES)}")
        if not self.content:
            raise LLaSOError(f"a message by {self.role} has no content: give it a text or an audio, or leave it out")

    @classmethod
    def of(cls, role: str, *content: str | int) -> Message:
        """A message of texts and of numbers of audios: ``Message.of("user", "What is said?", 0)``."""
        return cls(role=role, content=tuple(map(ContentPart.of, content)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a sample comes from and what it was made with. A field is None where it is not known.

    Attributes:
        layout: The format that it was read from, by the name in the table of layouts.
        file: The file, relative to its source's root.
        row: The line or row in the file, counted from 1.
        template: The name of the template that its instruction was drawn from.
        voice: The name of the voice that spoke its instruction or its answer.
        seed: The seed of its random draws.
        kept: Fields of the source that have no place in a sample, by name; values that JSON can hold.

    Raises:
        LLaSOError: A value in ``kept`` cannot be stored as JSON.
    """

    layout: str | None = None
    file: str | None = None
    row: int | None = None
    template: str | None = None
    voice: str | None = None
    seed: int | None = None
    kept: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.kept:
            object.__setattr__(self, "kept", None)
            return
        try:
            json.dumps(self.kept, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise LLaSOError(f"a field of the source cannot be kept as JSON ({error}): {self.kept!a:.200}") from error


NO_PROVENANCE = Provenance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One conversation, with pointers to its audios (see ``docs/records.md``).

    Attributes:
        task: The name of a task in the table of tasks, e.g. ``asr``.
        messages: At least one.
        audios: The audios of the messages, in the order in which the messages name them. An utterance that is used
            twice is listed twice. Each is an observed utterance with words and scores, or a pointer with what a corpus
            states.
        language: BCP 47, None where it is not known.
        split: ``train``, ``validation`` or ``test``, None where none is assigned.
        provenance: None where none of its fields is known.

    Raises:
        LLaSOError: The messages do not name every audio once, in the order of ``audios``; there are no messages, or no
            task; the split is another.
    """

    task: str
    messages: tuple[Message, ...]
    audios: tuple[Utterance, ...] = ()
    language: str | None = None
    split: str | None = None
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        if self.provenance == NO_PROVENANCE:
            object.__setattr__(self, "provenance", None)
        if not isinstance(self.task, str) or not self.task:
            raise LLaSOError("a sample has no task: name one")
        if not self.messages:
            raise LLaSOError(f"a sample of the task {self.task} has no messages")
        if self.split is not None and self.split not in SPLITS:
            raise LLaSOError(f"the split {self.split!r:.100} is none of {', '.join(SPLITS)}")
        self._check_audios()

    def _check_audios(self) -> None:
        expected, count = 0, len(self.audios)
        for number, message in enumerate(self.messages, 1):
            for part in message.content:
                if part.audio is None:
                    continue
                if not 0 <= part.audio < count:
                    known = f"{count} audios, counted from 0" if count else "no audio"
                    raise LLaSOError(f"message {number} names audio {part.audio}; the sample has {known}")
                if part.audio < expected:
                    raise LLaSOError(
                        f"message {number} names audio {part.audio} again; list an utterance in audios as often as it "
                        "is heard"
                    )
                if part.audio > expected:
                    raise LLaSOError(
                        f"message {number} names audio {part.audio} before audio {expected}; list the audios in the "
                        "order in which the messages name them"
                    )
                expected += 1
        if expected < count:
            raise LLaSOError(f"no message names audio {expected} of {count}, counted from 0; name it or leave it out")

    @property
    def id(self) -> str:
        """32 hexadecimal digits: the digest of the audios' ids, the task and the messages.

        It depends neither on how the audio is stored nor on what else is known of the audios.
        """
        return digest(*(utterance.id for utterance in self.audios), self.task, canonical(self.messages))

    @property
    def modality(self) -> str:
        """The types of content in the prompt, e.g. ``text+audio``: see :func:`modality`."""
        return modality((message.role, (part.type for part in message.content)) for message in self.messages)

    @property
    def duration_s(self) -> float:
        """Total seconds of the audios, to 6 decimals; an audio whose duration is not known yet counts as 0."""
        return round(sum(utterance.duration_s or 0.0 for utterance in self.audios), _DURATION_DECIMALS)


def modality(turns: Iterable[tuple[str, Iterable[str]]]) -> str:
    """The types of content in a conversation's prompt, which is everything before the first answer.

    Args:
        turns: (role, types of content) of every message.

    Returns:
        The types joined by ``+``, equal neighbours folded: ``text+audio``, ``audio+text``, ``audio``, ``text``. Empty
        where the conversation begins with an answer.
    """
    types: list[str] = []
    for role, contents in turns:
        if role == ANSWERING:
            break
        for kind in contents:
            if not types or types[-1] != kind:
                types.append(kind)
    return "+".join(types)
