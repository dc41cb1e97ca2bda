"""The sound of samples: what their audios point to is decoded, encoded, and kept until the shard is written."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Literal, cast

from llaso_data import audio, recipe
from llaso_data.audio import decode_worker
from llaso_data.errors import AudioError
from llaso_data.io import storage
from llaso_data.records import Sample, Utterance
from llaso_data.shards import layout
from llaso_data.shards.layout import EncodedSample

_MEMORY_BYTES = 64 * 1024 * 1024
_LIMITS = recipe.Decode()  # for files that were decoded before: they may have changed since

Place = tuple[str, str | None, float | None, float | None, tuple[int, ...] | None]
"""What is heard, as far as a decoder asks: address, member, start and end (seconds), channels."""


@dataclass(frozen=True, slots=True)
class _Sound:
    """An encoded sound in the spool, and what decoding showed of it."""

    offset: int
    size: int
    duration_s: float
    audio_id: str


class SoundSpool:
    """The samples of one shard and their encoded sounds, until the shard is written.

    Keys are hashes, so a shard sorted by key needs all its sounds before the first is written. They wait in a
    temporary file without a name, which is in memory while it is small: nothing is left of it, whatever happens.

    Args:
        extension: The format of the sounds: ``flac``, ``opus`` or ``wav``.
        shard: The shard's address, for errors.
    """

    def __init__(self, extension: Literal["flac", "opus", "wav"], shard: str) -> None:
        self._extension = extension
        self._shard = shard
        file = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115
        self._file = cast(IO[bytes], file)
        self._samples: list[tuple[str, Sample, tuple[_Sound, ...]]] = []

    def __enter__(self) -> SoundSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a full disk, which has been said
            self._file.close()

    def add(self, samples: Sequence[Sample]) -> list[str]:
        """Take samples with the sounds that their audios point to.

        A file is decoded once, however many of its spans are heard; what several audios point to is encoded once.

        Args:
            samples: In any order. Audios that were observed have the ``audio_id`` that their sound must have.

        Returns:
            What is wrong, for each sample whose sound cannot be had: where, and why. These samples are not taken.

        Raises:
            LLaSOError: There is no room for the sounds.
        """
        sounds = self._encode(utterance for sample in samples for utterance in sample.audios)
        problems: list[str] = []
        for sample in samples:
            pairs = [(utterance, sounds[_place(utterance)]) for utterance in sample.audios]
            problem = next((fault for pair in pairs if (fault := _fault(*pair)) is not None), None)
            if problem is not None:
                problems.append(problem)
                continue
            encoded = tuple(sound for _, sound in pairs if isinstance(sound, _Sound))
            self._samples.append((layout.key_of(sample, self._extension), sample, encoded))
        with self._writing():
            self._file.flush()
        return problems

    def encoded(self) -> Iterator[EncodedSample]:
        """The samples with ascending keys; the sounds of one at a time are read back."""
        for _, sample, sounds in sorted(self._samples, key=lambda entry: entry[0]):
            parts = layout.audio_parts(len(sounds), self._extension)
            audios = tuple(
                dataclasses.replace(utterance, duration_s=sound.duration_s, audio_id=sound.audio_id)
                for utterance, sound in zip(sample.audios, sounds, strict=True)
            )
            data = {part: self._read(sound) for part, sound in zip(parts, sounds, strict=True)}
            yield layout.encode_sample(dataclasses.replace(sample, audios=audios), data)

    def _encode(self, utterances: Iterable[Utterance]) -> dict[Place, _Sound | AudioError]:
        files: dict[tuple[str, str | None], dict[Place, Utterance]] = {}
        for utterance in utterances:
            source = utterance.source
            files.setdefault((source.uri, source.member), {}).setdefault(_place(utterance), utterance)
        sounds: dict[Place, _Sound | AudioError] = {}
        for spans in files.values():
            for place, pcm in zip(spans, _decode(list(spans)), strict=True):
                sounds[place] = pcm if isinstance(pcm, AudioError) else self._store(pcm)
        return sounds

    def _store(self, pcm: audio.Pcm) -> _Sound:
        data = audio.encode(pcm, self._extension)
        with self._writing():
            offset = self._file.seek(0, 2)
            self._file.write(data)
        return _Sound(offset, len(data), len(pcm) / audio.SAMPLE_RATE_HZ, audio.audio_id(pcm))

    def _read(self, sound: _Sound) -> bytes:
        self._file.seek(sound.offset)
        return self._file.read(sound.size)

    def _writing(self) -> AbstractContextManager[None]:
        folder = tempfile.gettempdir()
        return storage.writing(f"{self._shard} (its sounds wait in {folder})", folder)


def shown_place(utterance: Utterance) -> str:
    """Where an utterance's audio lies, for a person."""
    source = utterance.source
    member = "" if source.member is None else f"!{source.member}"
    span = "" if source.start_s is None else f" from {source.start_s:.3f} s"
    return f"{source.uri}{member}{span}"


def _place(utterance: Utterance) -> Place:
    source = utterance.source
    return source.uri, source.member, source.start_s, source.end_s, source.chosen


def _fault(utterance: Utterance, sound: _Sound | AudioError) -> str | None:
    """Why this cannot be the sound of the utterance, or None."""
    if isinstance(sound, AudioError):
        return sound.detail
    if utterance.audio_id not in (None, sound.audio_id):
        return f"{shown_place(utterance)}: the audio is not the one that was observed"
    return None


def _decode(places: Sequence[Place]) -> Sequence[audio.Pcm | AudioError]:
    """The PCM of places in one file, or why each cannot be had."""
    uri, member = places[0][:2]
    try:
        return decode_worker.decode_spans(
            uri,
            member,
            [place[2:] for place in places],
            stall_s=_LIMITS.stall_s,
            memory_mb=_LIMITS.memory_mb,
            as_mixed=True,
        )[0]
    except AudioError as error:
        return [error] * len(places)
