"""A micro-batch as the trainer gets it: decoded, padded, and each sample's provenance beside it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_data.io.storage import StoreError
from llaso_data.shards.in_place import spans as spans_of
from llaso_data.shards.layout import JSON_PART
from llaso_data.stream import in_place
from llaso_data.stream.fetch import BadSample, Fetcher, Parts
from llaso_data.stream.index_columns import IndexColumns, Rows
from llaso_data.stream.planner import StreamPosition
from llaso_data.stream.sample import Samples as Samples
from llaso_data.stream.sample import StreamSample as StreamSample

NO_SAMPLES_FAULT = (ImportError, StoreError)
"""Errors that say nothing of the sample that was read when they came."""

_MOST_FRAMES = 1 << 31  # of 37 hours; a FLAC that states no length is said to have more
_SMALL = ("lengths", "audio_of")  # fields of a batch


def with_parts(sample: StreamSample, parts: Parts) -> StreamSample:
    """The undecoded sample with these parts in place of its own."""
    return StreamSample(sample.key, sample.shard, sample.source, sample.task, sample.language, parts)


@dataclass(frozen=True, slots=True)
class Replaced:
    """A sample that could not be used, and which one stands in its place."""

    bad: BadSample
    by: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch of a global step: B samples with A audios of up to T samples at 16 kHz.

    Without decoding ``audio``, ``lengths`` and ``audio_of`` are None, and ``samples`` hold bytes.

    Attributes:
        step: Number of the global step.
        micro_batch: Number of the micro-batch within it.
        samples: The B samples.
        audio: (A, T) float32, zero beyond ``lengths``; packed, the audios end to end, (sum of lengths,).
        lengths: (A,) int64, samples of each audio.
        audio_of: (A,) int64, which of the B samples each audio belongs to.
        replaced: Bad samples, and what stands in their places.
        after: Where the stream stands after the step, if this was the step's last micro-batch for its rank.
        made: What the loader's ``transform`` made of the batch, which then has no samples and no audio any more.
    """

    step: int
    micro_batch: int
    samples: tuple[StreamSample, ...]
    audio: torch.Tensor | None = None
    lengths: torch.Tensor | None = None
    audio_of: torch.Tensor | None = None
    replaced: tuple[Replaced, ...] = ()
    after: StreamPosition | None = None  # where the stream stands when this was the step's last for its rank
    made: Any = None

    def __len__(self) -> int:
        return len(self.samples)

    def transformed(self, transform: Callable[[Batch], Any]) -> Batch:
        """The same place in the stream, with what ``transform`` makes of the batch."""
        return Batch(self.step, self.micro_batch, (), replaced=self.replaced, after=self.after, made=transform(self))

    @property
    def mask(self) -> torch.Tensor | None:
        """(A, T) bool, true within ``lengths``, on their device; None where nothing is padded."""
        if self.audio is None or self.lengths is None or self.audio.dim() == 1:
            return None
        return torch.arange(self.audio.shape[1], device=self.lengths.device)[None, :] < self.lengths[:, None]

    @property
    def ids(self) -> list[str]:
        """The samples' keys."""
        return [sample.key for sample in self.samples]

    @property
    def provenance(self) -> list[tuple[str, str, str | None]]:
        """(shard, key, task) of every sample."""
        return [(sample.shard, sample.key, sample.task) for sample in self.samples]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch with its tensors on a device."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch with its tensors in pinned memory; torch's DataLoader calls it."""
        return self._mapped(lambda tensor: tensor.pin_memory())

    def __reduce__(self) -> tuple[Any, ...]:
        """Small tensors go to another process as arrays: each tensor would be a file descriptor to hand over."""
        values = {attribute.name: getattr(self, attribute.name) for attribute in fields(self)}
        for name in _SMALL:
            if values[name] is not None and values[name].device.type == "cpu":
                values[name] = values[name].numpy()
        return _received, (values,)

    def _mapped(self, change: Any) -> Batch:
        moved = {
            attribute.name: change(value)
            for attribute in fields(self)
            if isinstance(value := getattr(self, attribute.name), torch.Tensor)
        }
        return replace(self, **moved)


def _received(values: dict[str, Any]) -> Batch:
    for name in _SMALL:
        if isinstance(values[name], np.ndarray):
            values[name] = torch.from_numpy(values[name])
    return Batch(**values)


def samples_of(columns: IndexColumns, rows: Rows, fetch: Fetcher, source: str = "") -> list[StreamSample | BadSample]:
    """Reads the samples of some rows of an index.

    Args:
        columns: The columns of the index.
        rows: (N,) numbers of rows.
        fetch: Reads the bytes.
        source: Name of the mixture's source, which the samples then carry.

    Returns:
        Undecoded samples, or what is wrong with them, in the order of the rows.

    Raises:
        LLaSOError: As :meth:`Fetcher.read` raises.
    """
    locations = columns.places(rows)
    shards = [columns.index.shards[location.shard] for location in locations]
    parts_list = fetch.read(list(zip(shards, locations, strict=True)), columns.index.digest)
    tasks, languages = columns.texts("task", rows), columns.texts("language", rows)
    samples = [
        parts if isinstance(parts, BadSample) else StreamSample(location.key, shard, source, task, language, parts)
        for location, shard, parts, task, language in zip(locations, shards, parts_list, tasks, languages, strict=True)
    ]
    if not columns.has("content"):
        return samples
    contents = columns.texts("content", rows)
    return [
        sample if content is None or isinstance(sample, BadSample) else in_place.completed(sample, content)
        for sample, content in zip(samples, contents, strict=True)
    ]


T = TypeVar("T")


def tried(sample: StreamSample, use: Callable[[StreamSample], T]) -> T | BadSample:
    """What ``use`` makes of the sample, or why it could not. What is no sample's fault is raised."""
    try:
        return use(sample)
    except NO_SAMPLES_FAULT:
        raise
    except Exception as error:  # a sample may hold anything, and what is made of it is the user's own function
        reason = str(error) if isinstance(error, LLaSOError) else f"{type(error).__name__}: {error}"
        return BadSample(sample.key, sample.shard, reason)


def decoded(sample: StreamSample) -> StreamSample | BadSample:
    """The sample with its JSON parsed and its audios decoded, or why it cannot be.

    The audios are in the order in which the JSON describes them, then in that in which its messages name them; others
    come by their names, ``10.flac`` before ``2``.
    """
    result = tried(sample, _decoded)
    return replace(result, reason=f"cannot be decoded ({result.reason})") if isinstance(result, BadSample) else result


def _decoded(sample: StreamSample) -> StreamSample:
    content = content_of(sample)
    names = audio_names(sample, content)
    spans = spans_of(content)
    sounds = tuple(sound(sample.parts[name], f"{sample.key}.{name}", spans.get(name)) for name in names)
    return replace(sample, parts={}, content=content, sounds=sounds, audio_parts=tuple(names))


def content_of(sample: StreamSample) -> dict[str, Any]:
    """The JSON of an undecoded sample; empty where it has none.

    Raises LLaSOError where it is no object, ValueError where it is no JSON.
    """
    content = json.loads(sample.parts[JSON_PART]) if JSON_PART in sample.parts else {}
    if not isinstance(content, dict):
        raise LLaSOError(f"its JSON is of type {type(content).__name__}, not an object")
    return content


def audio_names(sample: StreamSample, content: dict[str, Any]) -> list[str]:
    """The parts of an undecoded sample that are audio, in the order in which its JSON has them; see :func:`decoded`."""
    names = [name for name in sample.parts if name.rpartition(".")[2] in audio.AUDIO_EXTENSIONS]
    named = _named(content)
    return sorted(names, key=lambda name: (named.index(name) if name in named else len(named), name))


def _named(content: dict[str, Any]) -> list[Any]:
    """The parts that a sample's JSON names: as it describes them, then as its messages have them."""
    described_parts = [entry.get("part") for entry in objects(content.get("audios"))]
    message_parts = [entry for message in objects(content.get("messages")) for entry in objects(message.get("content"))]
    return described_parts + [entry.get("audio") for entry in message_parts]


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a list of a JSON; none where it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def sound(data: bytes, name: str, span: audio.Span | None = None) -> Samples:
    """Decodes an audio file in memory.

    Args:
        data: The bytes of the file.
        name: How an error calls it.
        span: The part of it that is the audio: start and end in seconds, channels; None: all of it.

    Returns:
        (T,) float32, 16 kHz mono in -1 to 1.

    Raises:
        AudioError: The bytes are no audio that can be decoded.
    """
    if span is not None:
        return audio.to_float32(audio.decode_bytes(data, name, span))
    if (file := _plain(data)) is not None:  # what shards usually hold takes the short way
        import soundfile

        with file, suppress(soundfile.SoundFileError):  # the long way says what is wrong
            pcm: Samples = file.read(dtype="float32")
            if len(pcm) == file.frames:
                return pcm
    return audio.to_float32(audio.decode_bytes(data, name))


def plain_frames(data: bytes) -> int | None:
    """How many samples an audio file in memory states, where it is FLAC or WAV of 16 kHz, mono and 16 bits."""
    file = _plain(data)
    if file is None:
        return None
    with file:
        return int(file.frames) if 0 < file.frames < _MOST_FRAMES else None


def _plain(data: bytes) -> Any:
    """Such a file, open; None where it is none."""
    if data[:4] not in (b"fLaC", b"RIFF"):
        return None
    import soundfile

    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except soundfile.SoundFileError:
        return None
    if (file.samplerate, file.channels, file.subtype) == (audio.SAMPLE_RATE_HZ, 1, "PCM_16"):
        return file
    file.close()
    return None


def joined(sounds: Sequence[Samples], packed: bool, new: Callable[[int], Samples]) -> torch.Tensor:
    """Puts sounds into one tensor.

    Args:
        sounds: A sounds, each (T_a,) float32.
        packed: Lays them end to end instead of below each other.
        new: Gives the memory for so many samples.

    Returns:
        (A, T) float32, zero beyond each sound's end; packed, (sum of T_a,).
    """
    longest = max(map(len, sounds), default=0)
    rows = new(sum(map(len, sounds)) if packed else len(sounds) * longest)
    position = 0
    for sound in sounds:
        end = position + len(sound)
        rows[position:end] = sound
        position = end if packed else position + longest
        rows[end:position] = 0.0
    return torch.from_numpy(rows if packed else rows.reshape(len(sounds), longest))


def new_samples(count: int) -> Samples:
    """Memory for so many samples, with anything in it."""
    return np.empty(count, np.float32)


def collate(
    samples: Sequence[StreamSample], packed: bool, new: Callable[[int], Samples] = new_samples
) -> dict[str, Any]:
    """The fields of a batch of decoded samples: their audios lie in one tensor and no longer in the samples.

    Args:
        samples: B decoded samples.
        packed: Lays the audios end to end instead of padding them.
        new: Gives the memory for so many samples.

    Returns:
        ``samples``, ``audio``, ``lengths`` and ``audio_of`` of a :class:`Batch`.
    """
    sounds = [sound for sample in samples for sound in sample.sounds]
    return {
        "samples": tuple(replace(sample, sounds=()) for sample in samples),
        "audio": joined(sounds, packed, new),
        "lengths": torch.tensor([len(sound) for sound in sounds], dtype=torch.int64),
        "audio_of": torch.tensor([i for i, sample in enumerate(samples) for _ in sample.sounds], dtype=torch.int64),
    }
