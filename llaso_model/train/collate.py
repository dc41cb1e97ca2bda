"""Collates micro-batches of the stream to what the model and the losses take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import numpy as np
import torch

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.errors import LLaSOError
from llaso_data.stream.batch import Batch, Replaced, Samples, StreamSample
from llaso_data.text import normalize
from llaso_model.chat_format import Message
from llaso_model.configuration import IGNORED, MEL_FRAMES_PER_S, MEL_HOP, LLaSOConfig, audio_tokens, states_of
from llaso_model.conversations import audios_of, conversation, records_of, text_of
from llaso_model.modeling.speech_decoder import PAUSE, slots_of
from llaso_model.processing import LLaSOProcessor


@dataclass(frozen=True, slots=True)
class SpanTargets:
    """S spans of speech with their texts, over the speech embeddings of a micro-batch.

    The i-th entry says that embedding ``embedding_index[i]`` belongs to span ``span_index[i]`` with ``weight[i]``. The
    weights of a span add up to 1. ``texts`` (S,) are normalised.
    """

    texts: tuple[str, ...] = ()
    span_index: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    embedding_index: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    weight: torch.Tensor = field(default_factory=lambda: torch.zeros(0))

    @classmethod
    def of(cls, rows: list[tuple[str, int, np.ndarray[Any, Any]]]) -> SpanTargets:
        """From (text, index of the first embedding, weight of each embedding from there on)."""
        if not rows:
            return cls()
        return cls(
            tuple(text for text, _, _ in rows),
            torch.tensor(np.repeat(np.arange(len(rows)), [len(weights) for _, _, weights in rows])),
            torch.tensor(np.concatenate([first + np.arange(len(weights)) for _, first, weights in rows])),
            torch.tensor(np.concatenate([weights / weights.sum() for _, _, weights in rows]), dtype=torch.float32),
        )


@dataclass(frozen=True, slots=True)
class ReconstructionTargets:
    """R clips with word times, of one window each, whose log-mel frames are reconstructed from their texts.

    Attributes:
        ids: Tokens of the texts (R, T), padded on the right.
        slots: Slots as :class:`SpeechDecoder` takes them (R, S).
        frames: Their durations, which cover all frames of the clip (R, S).
        windows: The window of the micro-batch that each clip is (R,).
    """

    ids: torch.Tensor
    slots: torch.Tensor
    frames: torch.Tensor
    windows: torch.Tensor

    @classmethod
    def of(cls, rows: list[tuple[int, list[list[int]], list[int]]]) -> ReconstructionTargets:
        """From (window, tokens of each word, frames of each slot), at least one."""
        return cls(
            ids=_padded([[token for word in words for token in word] for _, words, _ in rows], 0),
            slots=_padded([slots_of([len(word) for word in words]) for _, words, _ in rows], PAUSE - 1),
            frames=_padded([frames for _, _, frames in rows], 0),
            windows=torch.tensor([window for window, _, _ in rows]),
        )

    def to(self, device: torch.device) -> ReconstructionTargets:
        """The same on a device."""
        return ReconstructionTargets(*(getattr(self, name).to(device) for name in self.__slots__))


def _padded(rows: list[list[int]], value: int) -> torch.Tensor:
    padded = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.int64)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = torch.tensor(values)
    return padded


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """A collated micro-batch of B samples.

    Attributes:
        step: The global step, from 0.
        micro_batch: Its number in the step.
        keys: Of the samples (B,).
        tasks: Of the samples (B,).
        inputs: What the model takes, with ``labels``.
        rows: The sample that each position of the text belongs to (B, T), or packed (1, T).
        words: Words with times.
        utterances: Whole clips.
        reconstruction: Targets of the reconstruction loss; None: none.
        audio_s: Seconds of audio.
        replaced: Samples of the micro-batch that could not be used.
        extra: Tensors of :meth:`Loss.collate`, as LOSS.NAME.
    """

    step: int
    micro_batch: int
    keys: tuple[str, ...]
    tasks: tuple[str, ...]
    inputs: Mapping[str, torch.Tensor]
    rows: torch.Tensor
    words: SpanTargets
    utterances: SpanTargets
    reconstruction: ReconstructionTargets | None
    audio_s: float
    replaced: tuple[Replaced, ...] = ()
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def to(self, device: torch.device) -> TrainBatch:
        """The same with the tensors of the forward on a device."""
        moved = {name: value.to(device, non_blocking=True) for name, value in self.inputs.items()}
        reconstruction = None if self.reconstruction is None else self.reconstruction.to(device)
        extra = {name: value.to(device, non_blocking=True) for name, value in self.extra.items()}
        return replace(self, inputs=moved, rows=self.rows.to(device), reconstruction=reconstruction, extra=extra)

    @property
    def targets(self) -> int:
        """How many tokens have a label."""
        return int((self.inputs["labels"] != IGNORED).sum())


Collate = Callable[[Batch, LLaSOProcessor, LLaSOConfig], Mapping[str, torch.Tensor]]
"""A loss's part of a micro-batch: tensors by name."""


@dataclass(frozen=True, slots=True)
class Collator:
    """Collates decoded micro-batches, in the stream's workers: features, tokens, labels and spans.

    Attributes:
        processor: The model's.
        config: The model's.
        pack: Whether the texts of a micro-batch are packed into one row.
        reconstruct: Whether the reconstruction loss has targets.
        contrast: Whether the contrastive losses have spans.
        answers: Whether each sample needs an answer, for the completion loss.
        collates: :meth:`Loss.collate` of losses by name.
    """

    processor: LLaSOProcessor
    config: LLaSOConfig
    pack: bool = False
    reconstruct: bool = False
    contrast: bool = True
    answers: bool = True
    collates: tuple[tuple[str, Collate], ...] = ()

    def __call__(self, batch: Batch) -> TrainBatch:
        """Collates a micro-batch. Raises LLaSOError where training cannot use a sample; the loader finds out which."""
        words: list[tuple[str, int, np.ndarray[Any, Any]]] = []
        utterances: list[tuple[str, int, np.ndarray[Any, Any]]] = []
        reconstruction: list[tuple[int, list[list[int]], list[int]]] = []
        at, samples, window = 0, 0, 0
        conversations = conversations_of(batch)
        for record, sound in _audios_with_records(batch):
            samples += len(sound)
            windows = self.processor.windows(sound)
            if (
                self.reconstruct
                and len(windows) == 1
                and (target := _reconstruction_target(record, len(windows[0]), self.processor))
            ):
                reconstruction.append((window, *target))
            window += len(windows)
            if not self.contrast:
                continue
            counts = [audio_tokens(len(window), self.config) for window in windows]
            starts = np.concatenate([_starts_s(count, order, self.config) for order, count in enumerate(counts)])
            words += [
                (text, at + first, weights)
                for text, first, weights in _word_spans(record, starts, self.config, len(sound) / SAMPLE_RATE_HZ)
            ]
            if text := normalize(record.get("text") or "", record.get("language")):
                utterances.append((text, at, np.ones(sum(counts))))
            at += sum(counts)
        inputs = dict(self.processor.batch(conversations, output_labels=True))
        self._check(conversations, inputs)
        rows = torch.arange(len(batch))[:, None].expand_as(inputs["input_ids"])
        if self.pack:
            inputs, rows = packed(inputs, rows)
        return TrainBatch(
            step=batch.step,
            micro_batch=batch.micro_batch,
            keys=tuple(batch.ids),
            tasks=tuple(sample.task or "none" for sample in batch.samples),
            inputs=inputs,
            rows=rows,
            words=SpanTargets.of(words),
            utterances=SpanTargets.of(utterances),
            reconstruction=ReconstructionTargets.of(reconstruction) if reconstruction else None,
            audio_s=samples / SAMPLE_RATE_HZ,
            extra={
                f"{loss}.{name}": value
                for loss, collate in self.collates
                for name, value in collate(batch, self.processor, self.config).items()
            },
        )

    def _check(self, conversations: Sequence[Sequence[Message]], inputs: Mapping[str, torch.Tensor]) -> None:
        """Raises LLaSOError where a sample is too long for the language model, or has no answer to learn."""
        max_tokens = getattr(self.config.text_config, "max_position_embeddings", None)
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        targets = (inputs["labels"][:, 1:] != IGNORED).sum(dim=1).tolist()
        for messages, length, label_count in zip(conversations, lengths, targets, strict=True):
            if max_tokens is not None and length > max_tokens:
                raise LLaSOError(f"it has {length} tokens, more than the {max_tokens} that the language model takes")
            has_text = any(text_of(one).strip() for one in messages if one["role"] == "assistant")
            if self.answers and not (label_count and has_text):
                raise LLaSOError("the assistant says nothing, and completion is an objective")


def packed(inputs: dict[str, torch.Tensor], rows: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Packs all rows into one without padding. ``position_ids`` restart at each."""
    is_token = inputs["attention_mask"].bool()
    positions = torch.arange(is_token.shape[1])[None].expand_as(is_token)
    flat = {name: inputs[name][is_token][None] for name in ("input_ids", "labels")}
    rest = {name: value for name, value in inputs.items() if name not in (*flat, "attention_mask")}
    return {**rest, **flat, "position_ids": positions[is_token][None]}, rows[is_token][None]


def conversations_of(batch: Batch) -> list[list[Message]]:
    """Each sample's messages with audio in place of the names of its parts. Raises LLaSOError where it has none."""
    return [conversation(sample.content, sounds) for sample, sounds in _samples_with_sounds(batch)]


def _audios_with_records(batch: Batch) -> Iterator[tuple[Mapping[str, Any], Samples]]:
    """Record and sound of each audio in the samples' conversations, in the model's order.

    The record of an audio that a sample's JSON does not describe is empty.
    """
    for sample, sounds in _samples_with_sounds(batch):
        records = records_of(sample)
        yield from ((records.get(part, {}), sounds[part]) for part in audios_of(sample.content))


def _samples_with_sounds(batch: Batch) -> Iterator[tuple[StreamSample, dict[str, Samples]]]:
    """Each sample with its sounds by the names of their parts."""
    sounds_of_samples: list[list[Samples]] = [[] for _ in batch.samples]
    owners = [] if batch.audio_of is None else batch.audio_of.tolist()
    for number, sound in zip(owners, _sounds(batch), strict=True):
        sounds_of_samples[number].append(sound)
    for sample, sounds in zip(batch.samples, sounds_of_samples, strict=True):
        yield sample, dict(zip(sample.audio_parts, sounds, strict=True))


def _sounds(batch: Batch) -> Iterator[Samples]:
    """Each audio of a batch without its padding."""
    if batch.audio is None or batch.lengths is None:
        raise LLaSOError("training needs decoded samples")
    audio, lengths = batch.audio.numpy(), batch.lengths.tolist()
    if audio.ndim == 2:
        yield from (row[:length] for row, length in zip(audio, lengths, strict=True))
    else:
        yield from np.split(audio, np.cumsum(lengths)[:-1]) if lengths else ()


def _reconstruction_target(
    record: Mapping[str, Any], samples: int, processor: LLaSOProcessor
) -> tuple[list[list[int]], list[int]] | None:
    """Tokens of each word, and frames of each slot: a pause, then the word's tokens, which share its time evenly."""
    length = samples // MEL_HOP
    words: list[list[int]] = []
    frames: list[int] = []
    at = 0
    for text, first_s, last_s in _words(record):
        ids = processor.tokenizer(" " + text.strip(), add_special_tokens=False)["input_ids"]
        first = min(max(at, round(first_s * MEL_FRAMES_PER_S)), length)
        last = min(max(first, round(last_s * MEL_FRAMES_PER_S)), length)
        if not ids:
            continue
        edges = np.linspace(first, last, len(ids) + 1).round().astype(int)
        frames += [first - at, *np.diff(edges).tolist()]
        words.append(ids)
        at = last
    return (words, [*frames, length - at]) if words else None


def state_s(config: LLaSOConfig) -> float:
    """Seconds between two speech embeddings."""
    minute = 60 * MEL_FRAMES_PER_S
    return config.stack * 60 / float(states_of(minute, config.audio_config))


def _starts_s(count: int, window: int, config: LLaSOConfig) -> np.ndarray[Any, Any]:
    return window * config.max_audio_length + np.arange(count) * state_s(config)


def _word_spans(
    record: Mapping[str, Any], starts: np.ndarray[Any, Any], config: LLaSOConfig, length_s: float
) -> Iterator[tuple[str, int, np.ndarray[Any, Any]]]:
    """(normalised word, index of its first embedding, seconds of each that it covers) for every word with times."""
    step = state_s(config)
    for word, first_s, end_s in _words(record):
        text, last_s = normalize(word, record.get("language")), min(end_s, length_s)
        if not text or last_s <= first_s:
            continue
        covered = np.minimum(starts + step, last_s) - np.maximum(starts, first_s)
        indices = np.flatnonzero(covered > 0)
        if len(indices):
            yield text, int(indices[0]), covered[indices[0] : indices[-1] + 1].clip(min=0)


def _words(record: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """(text, start, end) of every word with times; raises LLaSOError where these are not text and numbers."""
    for word in record.get("words") or ():
        fields = word if isinstance(word, dict) else {}
        text, first_s, last_s = fields.get("text"), fields.get("start_s"), fields.get("end_s")
        if not isinstance(text, str) or not _is_number(first_s) or not _is_number(last_s):
            raise LLaSOError(f"a word is not a text with times in seconds: {word!r:.100}")
        yield text, first_s, last_s


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
