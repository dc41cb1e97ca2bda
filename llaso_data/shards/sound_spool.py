"""The sound of samples: what their audios point to is decoded, encoded, and kept until the shard is written."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from operator import attrgetter
from types import TracebackType
from typing import IO, Literal, NamedTuple

from llaso_data import audio, recipe
from llaso_data.audio import decode_worker
from llaso_data.errors import AudioError
from llaso_data.io import storage
from llaso_data.records import Failure, Sample, Utterance
from llaso_data.shards import layout
from llaso_data.shards.layout import EncodedSample
from llaso_data.uris import extension

_MEMORY_BYTES = 64 * 1024 * 1024
_PLAIN = frozenset(("flac", "wav"))
_LIMITS = recipe.Decode()  # for files that were decoded before: they may have changed since

Place = tuple[str, str | None, float | None, float | None, tuple[int, ...] | None]
"""What is heard, as far as a decoder asks: address, member, start and end (seconds), channels."""


@dataclass(frozen=True, slots=True)
class _Sound:
    """An encoded sound in the spool, and what decoding showed of it. One that was not decoded has no ``audio_id``."""

    extension: str
    offset: int
    size: int
    duration_s: float
    audio_id: str | None
    probe: audio.Probe | None = None
    taken: int | None = None


class _Taken(NamedTuple):
    """A sample that the spool has taken."""

    key: str
    sample: Sample
    sounds: tuple[_Sound, ...]
    number: int


@dataclass(frozen=True, slots=True)
class SpooledSample:
    """A sample of the spool with its sounds.

    Attributes:
        key: Its key in a shard.
        sample: Every audio has its ``duration_s``, and its ``audio_id`` where it was decoded.
        sounds: The encoded sound of each audio by the name of its part: ``flac``, or ``0.flac``, ``1.flac``, …
    """

    key: str
    sample: Sample
    sounds: dict[str, bytes]


class SoundSpool:
    """The samples of one shard and their encoded sounds, until the shard is written.

    Keys are hashes, so a shard sorted by key needs all its sounds before the first is written. They wait in memory
    while they are small, else in a temporary file without a name: nothing is left of it, whatever happens.

    Args:
        form: The format of the sounds: ``flac``, ``opus`` or ``wav``.
        shard: The shard's address, for errors.
        pass_through: Take whole files that are 16 kHz mono 16-bit FLAC or WAV as they are, without decoding them.
    """

    def __init__(self, form: Literal["flac", "opus", "wav"], shard: str, pass_through: bool = False) -> None:
        self._form = form
        self._shard = shard
        self._pass_through = pass_through
        self._held = _HeldBytes()
        self._samples: list[_Taken] = []
        self._offered = 0

    def __enter__(self) -> SoundSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a full disk, which has been said
            self._held.close()

    def add(
        self,
        samples: Sequence[Sample],
        places: Sequence[Sequence[Place]] | None = None,
        wheres: Sequence[str] | None = None,
    ) -> list[Failure]:
        """Take samples with the sounds that their audios point to.

        A file is decoded once, however many of its spans are heard; what several audios point to is encoded once.

        Args:
            samples: In any order. Audios that were observed have the ``audio_id`` that their sound must have.
            places: Where the sounds of each sample are, where that is not what its audios say.
            wheres: What says each sample, ``data.csv:12``, for what is wrong with it; empty: its audio does.

        Returns:
            What is wrong, for each sample whose sound cannot be had. These samples are not taken.

        Raises:
            LLaSOError: There is no room for the sounds.
        """
        moved = places is not None
        places = places or [[place_of(utterance) for utterance in sample.audios] for sample in samples]
        unprobed = {
            place
            for sample, of_sample in zip(samples, places, strict=True)
            for utterance, place in zip(sample.audios, of_sample, strict=True)
            if not (moved or utterance.source.is_probed)
        }
        sounds = self._encode((place for of_sample in places for place in of_sample), unprobed)
        failures: list[Failure] = []
        first, self._offered = self._offered, self._offered + len(samples)
        described = zip(samples, places, wheres or [""] * len(samples), strict=True)
        for number, (sample, of_sample, where) in enumerate(described, first):
            pairs = [(utterance, sounds[place]) for utterance, place in zip(sample.audios, of_sample, strict=True)]
            failure = next((fault for pair in pairs if (fault := _fault(*pair)) is not None), None)
            if failure is not None:
                failures.append(said_by(where, failure))
                continue
            encoded = tuple(sound for _, sound in pairs if isinstance(sound, _Sound))
            audios = tuple(map(_heard, sample.audios, encoded))
            key = layout.key_of(sample, _part_names(encoded))
            self._samples.append(_Taken(key, dataclasses.replace(sample, audios=audios), encoded, number))
        with self._writing():
            self._held.flush()
        return failures

    def select(self, holds: Callable[[Sequence[Sample]], Sequence[bool]]) -> int:
        """Keep only the samples for which a condition holds. Returns how many were let go."""
        kept = holds(self.samples())
        before = len(self._samples)
        self._samples = [one for one, keeps in zip(self._samples, kept, strict=True) if keeps]
        return before - len(self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    def samples(self) -> list[Sample]:
        """The samples that were taken, in the order in which they came."""
        return [one.sample for one in self._samples]

    def numbers(self) -> list[int]:
        """Of the samples that were taken, by their order: all that :meth:`add` was given are counted, from 0."""
        return [one.number for one in self._samples]

    def spooled(self, sort: bool = True) -> Iterator[SpooledSample]:
        """The samples with ascending keys, or in the order in which they came; one at a time is read back."""
        for one in sorted(self._samples, key=attrgetter("key")) if sort else self._samples:
            data = {part: self._read(sound) for part, sound in zip(_part_names(one.sounds), one.sounds, strict=True)}
            yield SpooledSample(one.key, one.sample, data)

    def encoded(self) -> Iterator[EncodedSample]:
        """The samples with ascending keys as a shard stores them."""
        for one in self.spooled():
            yield layout.encode_sample(one.sample, one.sounds, one.key)

    def _encode(self, places: Iterable[Place], unprobed: Set[Place]) -> dict[Place, _Sound | AudioError]:
        files: dict[tuple[str, str | None, bool], dict[Place, None]] = {}
        for place in places:
            files.setdefault((*place[:2], place in unprobed), {})[place] = None
        sounds: dict[Place, _Sound | AudioError] = {}
        for (_, _, is_new), spans in files.items():
            if len(spans) == 1 and (ready := self._ready(next(iter(spans)), is_new)) is not None:
                sounds[next(iter(spans))] = ready
                continue
            decoded, probe = _decode(list(spans), as_mixed=not is_new)
            taken = probe.taken if is_new and probe and probe.taken else [None] * len(spans)
            for place, pcm, channel in zip(spans, decoded, taken, strict=True):
                sounds[place] = pcm if isinstance(pcm, AudioError) else self._store(pcm, probe, channel)
        return sounds

    def _ready(self, place: Place, is_new: bool) -> _Sound | None:
        """The sound of a whole file that no decoder is needed for; None where one is.

        Such a file is taken as it is, or is plain PCM, which is what a decoder would give.
        """
        uri, member, *selection = place
        if member is not None or any(value is not None for value in selection) or extension(uri) not in _PLAIN:
            return None
        try:
            with audio.open_audio(uri, None) as file:
                ready = audio.as_stored(file)
        except AudioError:
            return None  # decoding says what is wrong
        if ready is None:
            return None
        probe = audio.Probe(ready.duration_s, audio.SAMPLE_RATE_HZ, 1, ready.extension) if is_new else None
        if self._pass_through:
            return self._keep(ready.data, ready.extension, ready.duration_s, None, probe)
        pcm = ready.pcm()
        return None if pcm is None else self._store(pcm, probe, None)

    def _store(self, pcm: audio.Pcm, probe: audio.Probe | None, taken: int | None) -> _Sound:
        data = audio.encode(pcm, self._form)
        duration_s = len(pcm) / audio.SAMPLE_RATE_HZ
        return self._keep(data, self._form, duration_s, audio.audio_id(pcm), probe, taken)

    def _keep(
        self,
        data: bytes,
        extension: str,
        duration_s: float,
        audio_id: str | None,
        probe: audio.Probe | None,
        taken: int | None = None,
    ) -> _Sound:
        with self._writing():
            offset = self._held.put(data)
        return _Sound(extension, offset, len(data), duration_s, audio_id, probe, taken)

    def _read(self, sound: _Sound) -> bytes:
        return self._held.take(sound.offset, sound.size)

    def _writing(self) -> AbstractContextManager[None]:
        folder = tempfile.gettempdir()
        return storage.writing(f"{self._shard} (its sounds wait in {folder})", folder)


class _HeldBytes:
    """Pieces of bytes, each at its offset: in memory as they are, above :data:`_MEMORY_BYTES` in a temporary file."""

    def __init__(self) -> None:
        self._size = 0
        self._pieces: dict[int, bytes] = {}
        self._file: IO[bytes] | None = None

    def put(self, data: bytes) -> int:
        """Keep a piece behind those before it. Returns its offset."""
        offset = self._size
        self._size += len(data)
        if self._file is None and self._size > _MEMORY_BYTES:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115
            self._file.writelines(self._pieces.values())
            self._pieces = {}
        if self._file is None:
            self._pieces[offset] = data
        else:
            self._file.seek(0, 2)
            self._file.write(data)
        return offset

    def take(self, offset: int, size: int) -> bytes:
        """The piece of this size at an offset."""
        if self._file is None:
            return self._pieces[offset] if size else b""
        self._file.seek(offset)
        return self._file.read(size)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        self._pieces = {}
        if self._file is not None:
            self._file.close()


def said_by(where: str, failure: Failure) -> Failure:
    """The failure of a sample with the place that says the sample, unless it names that already."""
    return failure if where in failure.detail else Failure(failure.reason, f"{where}: {failure.detail}")


def shown_place(utterance: Utterance) -> str:
    """Where an utterance's audio lies, for a person."""
    source = utterance.source
    member = "" if source.member is None else f"!{source.member}"
    span = "" if source.start_s is None else f" from {source.start_s:.3f} s"
    return f"{source.uri}{member}{span}"


def _part_names(sounds: Sequence[_Sound]) -> list[str]:
    if len(sounds) == 1:
        return layout.audio_parts(1, sounds[0].extension)
    return [layout.audio_parts(len(sounds), sound.extension)[number] for number, sound in enumerate(sounds)]


def place_of(utterance: Utterance) -> Place:
    """Where the sound of an utterance is, by what its source says."""
    source = utterance.source
    return source.uri, source.member, source.start_s, source.end_s, source.chosen


def _fault(utterance: Utterance, sound: _Sound | AudioError) -> Failure | None:
    """Why this cannot be the sound of the utterance, or None."""
    if isinstance(sound, AudioError):
        return Failure(sound.reason, sound.detail)
    if sound.audio_id is not None and utterance.audio_id not in (None, sound.audio_id):
        return Failure("changed", f"{shown_place(utterance)}: the audio is not the one that was observed")
    return None


def _heard(utterance: Utterance, sound: _Sound) -> Utterance:
    """The utterance with what decoding showed of it; of its source, where nobody has decoded that before."""
    source, probe = utterance.source, sound.probe
    if probe is not None and not source.is_probed:
        source = dataclasses.replace(
            source, sampling_rate_hz=probe.sampling_rate_hz, channels=probe.channels, taken=sound.taken
        )
    audio_id = utterance.audio_id if sound.audio_id is None else sound.audio_id
    return dataclasses.replace(utterance, source=source, duration_s=sound.duration_s, audio_id=audio_id)


def _decode(places: Sequence[Place], as_mixed: bool) -> tuple[Sequence[audio.Pcm | AudioError], audio.Probe | None]:
    """The PCM of places in one file, or why each cannot be had; and what the file states of itself."""
    uri, member = places[0][:2]
    try:
        return decode_worker.decode_spans(
            uri,
            member,
            [place[2:] for place in places],
            stall_s=_LIMITS.stall_s,
            memory_mb=_LIMITS.memory_mb,
            as_mixed=as_mixed,
        )
    except AudioError as error:
        return [error] * len(places), None
