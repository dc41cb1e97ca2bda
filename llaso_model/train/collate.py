"""A micro-batch of the stream as the model and its objectives take it."""

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
    """Stretches of speech and what is said in them: S spans over the speech embeddings of a micro-batch.

    Embedding ``place[i]`` counts with ``share[i]`` for span ``span[i]``; a span's shares add up to 1. ``texts`` (S,).
    """

    texts: tuple[str, ...] = ()
    span_index: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    embedding_index: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    weight: torch.Tensor = field(default_factory=lambda: torch.zeros(0))

    @classmethod
    def of(cls, rows: list[tuple[str, int, np.ndarray[Any, Any]]]) -> SpanTargets:
        """From (text, first place, weight of each place from there on)."""
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
    """Texts whose sound is to be rebuilt: R clips of one window each that have word times.

    ``ids`` (R, T), padded on the right; ``slots`` and ``frames`` (R, S) as the speech decoder takes them, covering all
    frames of the clip; ``windows`` (R,) says which of the micro-batch's windows each one is.
    """

    ids: torch.Tensor
    slots: torch.Tensor
    frames: torch.Tensor
    windows: torch.Tensor

    @classmethod
    def of(cls, rows: list[tuple[int, list[list[int]], list[int]]]) -> ReconstructionTargets:
        """From (window, tokens of each word, frames of each slot), at least one."""
        return cls(
            ids=_padded([[one for word in words for one in word] for _, words, _ in rows], 0),
            slots=_padded([slots_of([len(word) for word in words]) for _, words, _ in rows], PAUSE - 1),
            frames=_padded([frames for _, _, frames in rows], 0),
            windows=torch.tensor([window for window, _, _ in rows]),
        )

    def to(self, device: torch.device) -> ReconstructionTargets:
        return ReconstructionTargets(*(getattr(self, name).to(device) for name in self.__slots__))


def _padded(rows: list[list[int]], value: int) -> torch.Tensor:
    found = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.int64)
    for row, own in zip(found, rows, strict=True):
        row[: len(own)] = torch.tensor(own)
    return found


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """What one micro-batch's forward needs. ``inputs`` are the model's; ``tasks`` and ``keys`` are of its B samples.

    ``rows`` (B, T) or (1, T) says which sample a position belongs to. ``words`` and ``utterances`` lie over the
    embeddings of all its speech, one after the other.
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
    replaced: tuple[Replaced, ...] = ()  # samples of the micro-batch that could not be used
    extra: Mapping[str, torch.Tensor] = field(default_factory=dict)  # what losses collate, as LOSS.NAME

    def to(self, device: torch.device) -> TrainBatch:
        moved = {name: value.to(device, non_blocking=True) for name, value in self.inputs.items()}
        reconstruction = None if self.reconstruction is None else self.reconstruction.to(device)
        extra = {name: value.to(device, non_blocking=True) for name, value in self.extra.items()}
        return replace(self, inputs=moved, rows=self.rows.to(device), reconstruction=reconstruction, extra=extra)

    @property
    def targets(self) -> int:
        """How many tokens are to be said."""
        return int((self.inputs["labels"] != IGNORED).sum())


Collate = Callable[[Batch, LLaSOProcessor, LLaSOConfig], Mapping[str, torch.Tensor]]
"""What a loss makes of a micro-batch: tensors by name."""


@dataclass(frozen=True, slots=True)
class Collator:
    """Makes examples of decoded micro-batches, in the stream's workers: features, tokens, labels and spans.

    ``pack`` lays a micro-batch's texts end to end; with ``read`` it has what the reconstruction objective needs, with
    ``contrast`` what the contrastive ones need. With ``answers``, for completion, each sample has an answer.
    ``collates`` are the :meth:`Loss.collate` of losses by name. Raises LLaSOError, or what else befits, where a sample
    is not what training takes; the loader finds out which.
    """

    processor: LLaSOProcessor
    config: LLaSOConfig
    pack: bool = False
    reconstruct: bool = False
    contrast: bool = True
    answers: bool = True
    collates: tuple[tuple[str, Collate], ...] = ()

    def __call__(self, batch: Batch) -> TrainBatch:
        words: list[tuple[str, int, np.ndarray[Any, Any]]] = []
        utterances: list[tuple[str, int, np.ndarray[Any, Any]]] = []
        reconstruction: list[tuple[int, list[list[int]], list[int]]] = []
        at, samples, window = 0, 0, 0
        conversations = conversations_of(batch)
        for described, sound in _described(batch):
            samples += len(sound)
            windows = self.processor.windows(sound)
            if (
                self.reconstruct
                and len(windows) == 1
                and (reading := _reading(described, len(windows[0]), self.processor))
            ):
                reconstruction.append((window, *reading))
            window += len(windows)
            if not self.contrast:
                continue
            counts = [audio_tokens(len(window), self.config) for window in windows]
            starts = np.concatenate([_starts_s(count, order, self.config) for order, count in enumerate(counts)])
            words += [
                (text, at + first, weights)
                for text, first, weights in _word_spans(described, starts, self.config, len(sound) / SAMPLE_RATE_HZ)
            ]
            if text := normalize(described.get("text") or "", described.get("language")):
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
        """Raises LLaSOError where a sample is too long for the language model, or has nothing to learn to say."""
        most = getattr(self.config.text_config, "max_position_embeddings", None)
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        targets = (inputs["labels"][:, 1:] != IGNORED).sum(dim=1).tolist()
        for messages, length, wanted in zip(conversations, lengths, targets, strict=True):
            if most is not None and length > most:
                raise LLaSOError(f"it has {length} tokens, more than the {most} that the language model takes")
            said = any(text_of(one).strip() for one in messages if one["role"] == "assistant")
            if self.answers and not (wanted and said):
                raise LLaSOError("the assistant says nothing, and completion is an objective")


def packed(inputs: dict[str, torch.Tensor], rows: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The rows end to end in one, without padding; ``position_ids`` that begin again part them."""
    inside = inputs["attention_mask"].bool()
    positions = torch.arange(inside.shape[1])[None].expand_as(inside)
    laid = {name: inputs[name][inside][None] for name in ("input_ids", "labels")}
    rest = {name: value for name, value in inputs.items() if name not in (*laid, "attention_mask")}
    return {**rest, **laid, "position_ids": positions[inside][None]}, rows[inside][None]


def conversations_of(batch: Batch) -> list[list[Message]]:
    """Each sample's messages with the sound in place of its part's name. Raises LLaSOError where it has none."""
    return [conversation(sample.content, sounds) for sample, sounds in _parted(batch)]


def _described(batch: Batch) -> Iterator[tuple[Mapping[str, Any], Samples]]:
    """Record and sound of each audio that the samples' conversations name, in the order in which the model has them.

    Where a sample's JSON says nothing of an audio, the record is empty.
    """
    for sample, sounds in _parted(batch):
        records = records_of(sample)
        yield from ((records.get(part, {}), sounds[part]) for part in audios_of(sample.content))


def _parted(batch: Batch) -> Iterator[tuple[StreamSample, dict[str, Samples]]]:
    """Each sample with its sounds by the names of their parts."""
    found: list[list[Samples]] = [[] for _ in batch.samples]
    of = [] if batch.audio_of is None else batch.audio_of.tolist()
    for number, sound in zip(of, _sounds(batch), strict=True):
        found[number].append(sound)
    for sample, own in zip(batch.samples, found, strict=True):
        yield sample, dict(zip(sample.audio_parts, own, strict=True))


def _sounds(batch: Batch) -> Iterator[Samples]:
    """Each audio of a batch, padded or packed, without what was added."""
    if batch.audio is None or batch.lengths is None:
        raise LLaSOError("training needs decoded samples")
    audio, lengths = batch.audio.numpy(), batch.lengths.tolist()
    if audio.ndim == 2:
        yield from (row[:length] for row, length in zip(audio, lengths, strict=True))
    else:
        yield from np.split(audio, np.cumsum(lengths)[:-1]) if lengths else ()


def _reading(
    described: Mapping[str, Any], samples: int, processor: LLaSOProcessor
) -> tuple[list[list[int]], list[int]] | None:
    """Tokens of each word, and frames of each slot: a pause, then a word's tokens, which share its time evenly."""
    length = samples // MEL_HOP
    words: list[list[int]] = []
    frames: list[int] = []
    at = 0
    for text, first_s, last_s in _words(described):
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
    """Seconds between two places of speech in the text."""
    minute = 60 * MEL_FRAMES_PER_S
    return config.stack * 60 / float(states_of(minute, config.audio_config))


def _starts_s(count: int, window: int, config: LLaSOConfig) -> np.ndarray[Any, Any]:
    return window * config.max_audio_length + np.arange(count) * state_s(config)


def _word_spans(
    described: Mapping[str, Any], starts: np.ndarray[Any, Any], config: LLaSOConfig, length_s: float
) -> Iterator[tuple[str, int, np.ndarray[Any, Any]]]:
    """(normalised word, first place, how much of each place it covers) for every word with times."""
    step = state_s(config)
    for said, first_s, end_s in _words(described):
        text, last_s = normalize(said, described.get("language")), min(end_s, length_s)
        if not text or last_s <= first_s:
            continue
        covered = np.minimum(starts + step, last_s) - np.maximum(starts, first_s)
        places = np.flatnonzero(covered > 0)
        if len(places):
            yield text, int(places[0]), covered[places[0] : places[-1] + 1].clip(min=0)


def _words(described: Mapping[str, Any]) -> Iterator[tuple[str, float, float]]:
    """(text, start, end) of every word with times; raises LLaSOError where these are not text and numbers."""
    for word in described.get("words") or ():
        said = word if isinstance(word, dict) else {}
        text, first_s, last_s = said.get("text"), said.get("start_s"), said.get("end_s")
        if not isinstance(text, str) or not _is_number(first_s) or not _is_number(last_s):
            raise LLaSOError(f"a word is not a text with times in seconds: {word!r:.100}")
        yield text, first_s, last_s


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
