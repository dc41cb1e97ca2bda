"""Files, folders, corpora and shards as what a model is asked, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from llaso_data import audio, formats
from llaso_data.audio import Pcm, limited
from llaso_data.errors import LLaSOError
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.shards import layout
from llaso_data.stream.batch import decoded, samples_of, tried
from llaso_data.stream.fetch import BadSample, Fetcher
from llaso_data.stream.index_columns import IndexColumns
from llaso_data.stream.sample import StreamSample
from llaso_model.chat_format import Message
from llaso_model.conversations import conversation, question_of

_SAMPLES_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """A recording, or a sample of shards.

    Attributes:
        name: The file as the user named it, with the member of an archive; of a sample its shard and key.
        pcm: 16 kHz mono samples of a recording; None: it could not be read, or it is a sample's conversation.
        conversation: The question of a sample, with its audio; None: a recording.
        language: What the corpus says, or the user; None: not known.
        problem: Why it cannot be asked; None: it can.
    """

    name: str
    pcm: Pcm | None = None
    conversation: Sequence[Message] | None = None
    language: str | None = None
    problem: str | None = None


def read(places: Sequence[str], language: str | None, text: str | None) -> Iterator[Asked]:
    """What the user named, in that order, read one by one.

    Args:
        places: Audio files, folders, corpora that ``llaso-data`` reads, or shards: paths or URIs.
        language: Of recordings whose corpus names none.
        text: What is asked about the audio of samples; None: the question that each sample has.

    Raises:
        LLaSOError: At the first of a place that does not exist or holds no audio.
    """
    for place in places:
        if storage.exists(storage.join(place, layout.INDEX)):
            yield from _of_shards(place, text)
        else:
            yield from _of_corpus(place, language)


def _of_corpus(place: str, language: str | None) -> Iterator[Asked]:
    root = storage.absolute(place)
    for row in formats.read(SourceSpec(path=place, language=language)):
        utterance = row.utterance
        uri = utterance.source.uri
        inside = uri.removeprefix(f"{root}/")
        name = audio.name_of(place if uri == root else storage.join(place, inside), utterance.source.member)
        if utterance.failure is not None and utterance.failure.reason != "bad_text":
            yield Asked(name, problem=utterance.failure.detail or utterance.failure.reason)
            continue
        try:
            pcm = limited.decode_source(utterance.source, limited.MAX_DURATION_S)
        except LLaSOError as error:
            yield Asked(name, problem=str(error))
        else:
            yield Asked(name, pcm, language=utterance.language or language)


def _of_shards(place: str, text: str | None) -> Iterator[Asked]:
    columns, fetch = IndexColumns.open(storage.absolute(place)), Fetcher()
    for first in range(0, len(columns), _SAMPLES_AT_ONCE):
        rows = np.arange(first, min(first + _SAMPLES_AT_ONCE, len(columns)))
        for sample in samples_of(columns, rows, fetch):
            name = audio.name_of(storage.join(place, sample.shard.rpartition("/")[2]), sample.key)
            ready = decoded(sample) if isinstance(sample, StreamSample) else sample
            asked = ready if isinstance(ready, BadSample) else tried(ready, lambda one: _question(one, text))
            if isinstance(asked, BadSample):
                yield Asked(name, problem=asked.reason)
            else:
                yield Asked(name, conversation=asked, language=getattr(sample, "language", None))


def _question(sample: StreamSample, text: str | None) -> Sequence[Message]:
    if text is not None:
        parts: list[Message] = [{"type": "audio", "audio": sound} for sound in sample.sounds]
        return [{"role": "user", "content": [{"type": "text", "text": text}, *parts]}]
    messages = conversation(sample.content, dict(zip(sample.audio_parts, sample.sounds, strict=True)))
    exchange = question_of(messages)
    return messages if exchange is None else exchange[0]
