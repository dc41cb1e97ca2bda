"""A model's answer, spoken sentence by sentence while it is generated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from llaso_model.chat_format import Message
from llaso_model.engine.requests import Request, Sampling
from llaso_model.generation import LoadedModel
from llaso_model.voice.sentences import Sentences
from llaso_model.voice.speaking import Speaker, Spoken


def generate_speech(
    loaded: LoadedModel,
    conversation: Sequence[Message],
    voice: str | None = None,
    speaker: Speaker | None = None,
    speed: float = 1.0,
    **settings: Any,
) -> Iterator[Spoken]:
    """A model's answer aloud.

    Sentences come while the rest is generated. A sentence that no voice can speak, such as a line of code, comes with
    its problem and without sound. Leaving the iterator early ends the answer.

    Args:
        loaded: The model.
        conversation: Messages, as :meth:`LoadedModel.answer` takes them.
        voice: A name that the speaker knows; None: its default.
        speaker: What speaks; None: hibari, in English.
        speed: How many times faster than the voice's own, 0.25 to 4.
        settings: Those of :class:`Sampling`.

    Yields:
        Sentences with their sound, int16 at 24 kHz.

    Raises:
        InputError: The conversation, its audio or a setting cannot be used.
        LLaSOError: There is no such voice, or what it needs is not installed.
    """
    speaker = speaker or Speaker(default=voice)
    speaker.check(voice)
    engine = loaded.engine()
    engine.start()
    handle = engine.submit(Request(conversation, Sampling(**settings)))
    cut = Sentences()
    try:
        for piece in handle:
            for sentence in cut.read(piece):
                yield speaker.speak(sentence, voice, speed)
        for sentence in cut.finish():
            yield speaker.speak(sentence, voice, speed)
    finally:
        handle.cancel()
        with suppress(Exception):
            engine.close()
