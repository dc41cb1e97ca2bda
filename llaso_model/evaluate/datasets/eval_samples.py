"""The samples of an evaluation: those of shards, or listed ones, such as those of a corpus.

Samples have a fixed order and are read a few at a time, sound included. A sample that cannot be asked is a
:class:`~llaso_data.stream.fetch.BadSample` with its reason; no other sample takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, get_args

import numpy as np

from llaso_data import audio
from llaso_data.audio import limited
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.instruct.tasks import LAYERS, Tasks
from llaso_data.instruct.tasks.build import Expected
from llaso_data.io import storage
from llaso_data.records import UNKNOWN, Source, digest
from llaso_data.shards import layout
from llaso_data.stream.batch import StreamSample, decoded, samples_of, tried
from llaso_data.stream.batching import Ints
from llaso_data.stream.budget import Budget
from llaso_data.stream.fetch import BadSample, Fetcher
from llaso_data.stream.index_columns import IndexColumns, Mask
from llaso_model.chat_format import Message
from llaso_model.conversations import conversation, question_of, records_of, text_of
from llaso_model.evaluate.kinds import KINDS

_UNKNOWN_DURATION_S = 30.0  # what a file that does not say its length counts as


@dataclass(frozen=True, slots=True)
class EvalSample:
    """One sample as it is asked.

    Attributes:
        id: The sample's id.
        messages: The conversation before the answer. Audio parts hold a :class:`~llaso_data.records.Source` until they
            are read, then float32 samples at 16 kHz.
        line: The fields of its line of predictions, but for id, prompt and answer.
    """

    id: str
    messages: list[Message]
    line: dict[str, Any]


class EvalSamples(Protocol):
    """Samples in a fixed order.

    Attributes:
        digest: Names the samples and what they are read from.
        not_asked: How many samples of each task are left out because no text can be scored as their answer.
    """

    digest: str
    not_asked: Mapping[str, int]

    def __len__(self) -> int: ...

    def costs(self, budget: Budget) -> Ints:
        """The cost of each sample to a batch's budget, in thousandths, (N,)."""

    def read(self, numbers: Sequence[int]) -> list[EvalSample | BadSample]:
        """The samples with these numbers, sound included, or why one cannot be asked."""


def resolve_sets(present: Iterable[str | None], declared: Tasks, only: Sequence[str]) -> dict[str | None, str]:
    """The declared set as which each chosen task of the data is scored.

    Tasks whose answers are speech have none, and are left out where ``only`` does not name them.

    Args:
        present: Tasks of the data.
        declared: The declared tasks.
        only: Tasks of the data, sets or declared tasks; empty: all.

    Raises:
        LLaSOError: The data has no such task, or a chosen task is no set.
    """
    sets_by_task = {task: declared.set_of(task or "") for task in present}
    names = {
        task: {str(task)} | ({set_, declared.sets[set_].task} if set_ is not None else set())
        for task, set_ in sets_by_task.items()
    }
    known = sorted(set().union(*names.values()))
    if unknown := [name for name in only if name not in known]:
        raise LLaSOError(f"--task {unknown[0]}: the data has no such task; it has {', '.join(known)}")
    chosen = {task: set_ for task, set_ in sets_by_task.items() if not only or names[task] & set(only)}
    if not only:
        chosen = {task: set_ for task, set_ in chosen.items() if not answered_by_speech(task, declared)}
    if spoken := sorted(str(task) for task in chosen if answered_by_speech(task, declared)):
        raise LLaSOError(f"--task {spoken[0]}: the answers of this task are speech, which is not scored")
    if unset := sorted(str(task) for task, set_ in chosen.items() if set_ is None):
        raise LLaSOError(
            f"the data's task {unset[0]} is no declared set, nor a task with a single set: leave it out with "
            "--task, or declare it in a file of your own (--tasks FILE)"
        )
    return {task: set_ for task, set_ in chosen.items() if set_ is not None}


def answered_by_speech(task: str | None, declared: Tasks) -> bool:
    """Whether a declared task has no set because its answers are speech."""
    build = declared.build.get(task or "")
    return build is not None and build.scored_as is None and declared.set_of(task or "") is None


class ShardSamples:
    """The samples of a folder of shards, in the order of its index."""

    def __init__(self, uri: str, declared: Tasks, only: Sequence[str]) -> None:
        self._columns = IndexColumns.open(storage.absolute(uri))
        self._fetch = Fetcher()
        self._declared = declared
        self._sets = resolve_sets(self._columns.values("task"), declared, only)
        self._rows = np.flatnonzero(self._matching(*self._sets))
        spoken = () if only else filter(lambda task: answered_by_speech(task, declared), self._columns.values("task"))
        self.not_asked: Mapping[str, int] = {str(task): int(self._matching(task).sum()) for task in spoken}
        self.digest = digest("shards", self._columns.index.digest, *map(repr, sorted(self._sets.items(), key=str)))

    def _matching(self, *tasks: str | None) -> Mask:
        return self._columns.matching(0, len(self._columns), {"task": tasks})

    def __len__(self) -> int:
        return len(self._rows)

    def costs(self, budget: Budget) -> Ints:
        """As :meth:`EvalSamples.costs`."""
        return budget.costs(lambda name: self._columns.numbers(name, self._rows), len(self))

    def read(self, numbers: Sequence[int]) -> list[EvalSample | BadSample]:
        """As :meth:`EvalSamples.read`."""
        fetched = samples_of(self._columns, self._rows[np.asarray(numbers)], self._fetch)
        return [self._question(decoded(sample) if isinstance(sample, StreamSample) else sample) for sample in fetched]

    def _question(self, sample: StreamSample | BadSample) -> EvalSample | BadSample:
        return sample if isinstance(sample, BadSample) else tried(sample, self._asked)

    def _asked(self, sample: StreamSample) -> EvalSample:
        parts, records = sample.audio_parts, records_of(sample)
        exchange = question_of(conversation(sample.content, dict(zip(parts, sample.sounds, strict=True))))
        if exchange is None:
            raise LLaSOError("nothing that the assistant says, to measure an answer against")
        shard = sample.shard.removeprefix(f"{self._columns.index.uri}/")
        line = {
            "set": self._sets[sample.task],
            "reference": exchange[1],
            "audio": [audio.name_of(shard, f"{sample.key}.{part}") for part in parts],
            "language": sample.language,
            "modality": layout.modality(exchange[0]),
            **speaker_fields(records.get(parts[0], {}).get("speaker") or {} if parts else {}),
            **_test_fields(sample.content),
        }
        if KINDS[self._declared.sets[line["set"]].kind].scores_refusals and parts:
            line["transcript"] = records.get(parts[0], {}).get("text")
        return EvalSample(sample.key, exchange[0], line)


def _test_fields(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a test set says of a sample under its provenance: layer, tags, what is expected of the answer.

    What is of another form than those of :mod:`llaso_data.instruct.evaluation` is somebody else's, and left out.
    """
    provenance = content.get("provenance")
    kept = provenance.get("kept") if isinstance(provenance, dict) else None
    if not isinstance(kept, dict):
        return {}
    tags = kept.get("tags")
    known = {
        "layer": kept.get("layer") in LAYERS,
        "expected": kept.get("expected") in get_args(Expected),
        "tags": isinstance(tags, list) and all(isinstance(tag, str) for tag in tags),
    }
    return {name: kept[name] for name, is_known in known.items() if is_known}


class ListedSamples:
    """Samples that are in memory, but for their sound."""

    def __init__(self, samples: Sequence[EvalSample | BadSample], *stated: str) -> None:
        self._samples = samples
        self.not_asked: Mapping[str, int] = {}
        described = (
            repr(sample) if isinstance(sample, BadSample) else f"{sample.id} {_digested_fields(sample.line)}"
            for sample in samples
        )
        self.digest = digest("listed", *stated, *described)  # not where it lies: that may change

    def __len__(self) -> int:
        return len(self._samples)

    def costs(self, budget: Budget) -> Ints:
        """As :meth:`EvalSamples.costs`."""
        measures: dict[str, Callable[[EvalSample], float]] = {"duration_s": _duration_s, "text_bytes": _text_bytes}

        def column(name: str) -> Any:
            return np.asarray([0.0 if isinstance(one, BadSample) else measures[name](one) for one in self._samples])

        return budget.costs(column, len(self))

    def read(self, numbers: Sequence[int]) -> list[EvalSample | BadSample]:
        """As :meth:`EvalSamples.read`."""
        return [_with_sound(self._samples[number]) for number in numbers]


def _digested_fields(line: dict[str, Any]) -> dict[str, Any]:
    """A line without its span, which id and source version name already, so that runs of earlier versions can go on."""
    return {name: value for name, value in line.items() if name != "span_s"}


def map_audio(messages: Sequence[Message], change: Callable[[Any], Any]) -> list[Message]:
    """The messages with ``change`` applied to each audio part."""
    return [
        {
            **message,
            "content": [
                {**part, "audio": change(part["audio"])} if part["type"] == "audio" else part
                for part in message["content"]
            ],
        }
        for message in messages
    ]


def _audio_sources(sample: EvalSample) -> Iterator[Source]:
    parts = (part for message in sample.messages for part in message["content"])
    return (part["audio"] for part in parts if part["type"] == "audio")


def _with_sound(sample: EvalSample | BadSample) -> EvalSample | BadSample:
    if isinstance(sample, BadSample):
        return sample
    try:
        return replace(sample, messages=map_audio(sample.messages, _decode))
    except AudioError as error:
        return BadSample(sample.id, sample.line["audio"][0], str(error))


def _decode(source: Source) -> Any:
    return audio.to_float32(limited.decode_source(source, limited.MAX_DURATION_S))


def _duration_s(sample: EvalSample) -> float:
    """The duration that the files state. A file that cannot be read costs nothing."""
    total = 0.0
    for source in _audio_sources(sample):
        end_s = source.end_s
        if end_s is None:
            try:
                end_s = limited.probe(source.uri, source.member).duration_s
            except AudioError:
                end_s = 0.0
        total += max(0.0, (_UNKNOWN_DURATION_S if end_s is None else end_s) - (source.start_s or 0.0))
    return total


def _text_bytes(sample: EvalSample) -> float:
    return sum(len(text_of(message).encode()) for message in sample.messages)


def speaker_fields(properties: dict[str, Any]) -> dict[str, Any]:
    """Speaker and groups of a line, from the speaker of a record as JSON. Unknown values are left out."""
    known = {
        name: entry["value"]
        for name, entry in properties.items()
        if isinstance(entry, dict) and entry.get("value", UNKNOWN) not in (UNKNOWN, None, "")
    }
    names = {"gender": "gender", "age_range": "age", "accent": "accent"}
    return {
        "speaker": known.get("id"),
        "groups": {ours: known[name] for name, ours in names.items() if name in known},
    }
