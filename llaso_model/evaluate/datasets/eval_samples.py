"""The samples of an evaluation: shards, a corpus with transcripts, or the published LLaSO-Eval files.

Samples have a fixed order and are read a few at a time, sound included. A sample that cannot be asked is a
:class:`~llaso_data.stream.fetch.BadSample` with its reason; no other sample takes its place.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np

from llaso_data import audio, formats, uris
from llaso_data.audio import limited
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.formats.tables.embedded_audio import tables_with_audio, unpack_audio
from llaso_data.formats.tables.table_rows import TABLE_EXTENSIONS
from llaso_data.instruct.tasks import Tasks
from llaso_data.io import storage
from llaso_data.io.storage import StoreError
from llaso_data.recipe import SourceSpec
from llaso_data.records import UNKNOWN, Input, Source, digest
from llaso_data.shards import layout
from llaso_data.stream.batch import StreamSample, decoded, samples_of, tried
from llaso_data.stream.batching import Ints
from llaso_data.stream.budget import Budget
from llaso_data.stream.fetch import BadSample, Fetcher
from llaso_data.stream.index_columns import IndexColumns
from llaso_data.uris import extension
from llaso_model.chat_format import Message
from llaso_model.conversations import conversation, question_of, records_of, text_of
from llaso_model.evaluate.datasets import files as files_of
from llaso_model.evaluate.datasets import layouts
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.processing import AUDIO_TOKEN

TRANSCRIPTION = "asr"
_UNKNOWN_DURATION_S = 30.0  # what a file that does not say its length counts as
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


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
    """

    digest: str

    def __len__(self) -> int: ...

    def costs(self, budget: Budget) -> Ints:
        """The cost of each sample to a batch's budget, in thousandths, (N,)."""

    def read(self, numbers: Sequence[int]) -> list[EvalSample | BadSample]:
        """The samples with these numbers, sound included, or why one cannot be asked."""


def open_samples(
    data: str,
    declared: Tasks,
    only: Sequence[str] = (),
    language: str | None = None,
    audio_root: str | None = None,
) -> EvalSamples:
    """Opens the data of an evaluation.

    Args:
        data: Shards, a corpus as ``llaso-data`` reads it, or files in the published layout: a path, a URI, or the id of
            a dataset on the Hugging Face hub.
        declared: The declared tasks.
        only: Tasks or sets to be asked; empty: all.
        language: Language of a corpus that does not name its own.
        audio_root: Folder that the paths of a published file are relative to; None: the file's folder.

    Raises:
        LLaSOError: The data cannot be read, or has no such task.
    """
    storage.absolute(data)  # which refuses what must not be stored
    if not os.path.exists(data) and _HUB_ID.fullmatch(data):
        data = _hub_uri(data)
    if storage.exists(storage.join(data, layout.INDEX)):
        return ShardSamples(data, declared, only)
    files = _published_files(data)
    if files:
        return _published(files, declared, only, audio_root)
    tables = tables_with_audio(data)
    return _corpus(unpack_audio(tables) if tables else data, declared, only, language)


def resolve_sets(present: Iterable[str | None], declared: Tasks, only: Sequence[str]) -> dict[str | None, str]:
    """The declared set as which each chosen task of the data is scored.

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
        raise LLaSOError(f"--task {unknown[0]}: the data has none of it; it has {', '.join(known)}")
    chosen = {task: set_ for task, set_ in sets_by_task.items() if not only or names[task] & set(only)}
    if unset := sorted(str(task) for task, set_ in chosen.items() if set_ is None):
        raise LLaSOError(
            f"the data's task {unset[0]} is no declared set, nor a task with a single set: leave it out with "
            "--task, or declare it in a file of your own (--tasks FILE)"
        )
    return {task: set_ for task, set_ in chosen.items() if set_ is not None}


class ShardSamples:
    """The samples of a folder of shards, in the order of its index."""

    def __init__(self, uri: str, declared: Tasks, only: Sequence[str]) -> None:
        self._columns = IndexColumns.open(storage.absolute(uri))
        self._fetch = Fetcher()
        self._sets = resolve_sets(self._columns.values("task"), declared, only)
        wanted = self._columns.matching(0, len(self._columns), {"task": tuple(self._sets)})
        self._rows = np.flatnonzero(wanted)
        self.digest = digest("shards", self._columns.index.digest, *map(repr, sorted(self._sets.items(), key=str)))

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
            **_speaker_fields(records.get(parts[0], {}).get("speaker") or {} if parts else {}),
        }
        return EvalSample(sample.key, exchange[0], line)


class ListedSamples:
    """Samples that are in memory, but for their sound."""

    def __init__(self, samples: Sequence[EvalSample | BadSample], *stated: str) -> None:
        self._samples = samples
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


def _speaker_fields(properties: dict[str, Any]) -> dict[str, Any]:
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


def _corpus(data: str, declared: Tasks, only: Sequence[str], language: str | None) -> ListedSamples:
    """Transcriptions of a folder, a manifest, LibriSpeech, Common Voice or other tars."""
    sets = resolve_sets([TRANSCRIPTION], declared, only)
    root = storage.absolute(data)
    if extension(root) in TABLE_EXTENSIONS:
        root = root.rpartition("/")[0]
    samples: list[EvalSample | BadSample] = []
    versions = []
    for row in _inputs(data, language):
        utterance, source = row.utterance, row.utterance.source
        name = audio.name_of(source.uri.removeprefix(f"{root}/"), source.member)
        versions.append(row.version)
        if utterance.failure is not None or not utterance.text:
            why = (
                utterance.failure.detail
                if utterance.failure
                else "no transcript; a folder has it in NAME.txt beside the audio"
            )
            samples.append(BadSample(utterance.id, name, why))
            continue
        content = [layout.text_part(declared.instruction(sets[TRANSCRIPTION])), {"type": "audio", "audio": source}]
        line = {
            "set": sets[TRANSCRIPTION],
            "reference": utterance.text,
            "audio": [name],
            "language": utterance.language,
            "modality": "text+audio",
            "span_s": _span(source),
            **({"channels": list(source.chosen)} if source.chosen else {}),
            **_speaker_fields(asdict(utterance.speaker)),
        }
        samples.append(EvalSample(utterance.id, [{"role": "user", "content": content}], line))
    return ListedSamples(samples, *versions)


def _span(source: Source) -> list[float]:
    """Start and end of a sound in its file, in seconds; empty where it is the whole file."""
    if source.start_s is None and source.end_s is None:
        return []
    return [source.start_s or 0.0, *([] if source.end_s is None else [source.end_s])]


def _hub_uri(name: str) -> str:
    uri = f"hf://datasets/{name}"
    reason = "it has none of this name"
    try:
        if storage.exists(uri):
            return uri
    except StoreError as error:
        reason = str(error)
    raise LLaSOError(f"{name}: neither a folder here nor a dataset that the Hugging Face hub gives ({reason})")


def _inputs(data: str, language: str | None) -> Iterator[Input]:
    try:
        return formats.read(SourceSpec(path=data, language=language))
    except LLaSOError as error:
        raise LLaSOError(
            f"{error}. Evaluated are shards with {layout.INDEX}, JSON of the published layout, and transcribed speech: "
            f"Parquet with its audio inside, {', '.join(layout_.title for layout_ in formats.LAYOUTS.values())}"
        ) from error


def _published_files(data: str) -> list[str]:
    """The JSON files of ``data`` whose first row has ``conversations``; a folder's own, not those below."""
    if not storage.is_local(data):
        return []
    path = storage.absolute(data)
    names = [path] if os.path.isfile(path) else sorted(os.path.join(path, name) for name in _names(path))
    return [name for name in names if name.endswith((".json", ".jsonl")) and _has_conversations(name)]


def _names(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _has_conversations(path: str) -> bool:
    with open(path, "rb") as file:
        return b'"conversations"' in file.read(1 << 16)


def _published(files: Sequence[str], declared: Tasks, only: Sequence[str], audio_root: str | None) -> ListedSamples:
    """LLaSO-Eval as it is published: the file's name is the set, rows have ``voice`` and ``conversations``."""
    sets = resolve_sets([PurePosixPath(path).stem for path in files], declared, only)
    samples: list[EvalSample | BadSample] = []
    digests = []
    for path in files:
        set_ = sets.get(PurePosixPath(path).stem)
        if set_ is None:
            continue
        data = storage.read_bytes(path)
        digests.append(digest(data))
        seen: Counter[tuple[str, ...]] = Counter()
        for number, row in enumerate(files_of.json_rows(path, data), 1):
            place = f"{path}: row {number}"
            prediction = layouts.published_prediction("", set_, place, {**row, "answer": ""}, declared.sets[set_], seen)
            root = audio_root or os.path.dirname(path)
            request = next(turn["value"] for turn in row["conversations"] if turn["from"] == "human")
            samples.append(_published_question(prediction, str(request), root))
    return ListedSamples(samples, *digests)


def _published_question(prediction: Prediction, request: str, root: str) -> EvalSample | BadSample:
    pieces = request.split(AUDIO_TOKEN)
    if len(pieces) - 1 != len(prediction.audio):
        return BadSample(
            prediction.id,
            prediction.place,
            f"{len(pieces) - 1} {AUDIO_TOKEN} in the question, {len(prediction.audio)} in voice",
        )
    content: list[dict[str, Any]] = [layout.text_part(pieces[0].strip())]
    for path, piece in zip(prediction.audio, pieces[1:], strict=True):
        if (reason := uris.refused(path, storage.scheme(root))) is not None:
            return BadSample(prediction.id, prediction.place, f"{uris.shown(path)}: {reason}")
        sound = Source(corpus="", uri=path if uris.scheme(path) else storage.join(root, path))
        content += [{"type": "audio", "audio": sound}, layout.text_part(piece.strip())]
    content = [part for part in content if part["type"] == "audio" or part["text"]]
    line = {
        "set": prediction.set,
        "reference": prediction.reference,
        "audio": list(prediction.audio),
        "language": prediction.language,
        "modality": prediction.modality,
        "speaker": prediction.speaker,
        "groups": dict(prediction.groups),
    }
    return EvalSample(prediction.id, [{"role": "user", "content": content}], line)
