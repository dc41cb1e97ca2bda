"""Opens the data of an evaluation: shards, a corpus with transcripts, or the published LLaSO-Eval files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from llaso_data import audio, formats, uris
from llaso_data.errors import LLaSOError
from llaso_data.formats.tables.embedded_audio import tables_with_audio, unpack_audio
from llaso_data.formats.tables.table_rows import TABLE_EXTENSIONS
from llaso_data.instruct.tasks import Tasks
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import Input, Source, digest
from llaso_data.shards import layout
from llaso_data.stream.fetch import BadSample
from llaso_data.uris import extension
from llaso_model.evaluate.datasets import files as files_of
from llaso_model.evaluate.datasets import layouts
from llaso_model.evaluate.datasets.eval_samples import (
    EvalSample,
    EvalSamples,
    ListedSamples,
    ShardSamples,
    resolve_sets,
    speaker_fields,
)
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.datasets.published_clips import PublishedClips
from llaso_model.processing import AUDIO_TOKEN

TRANSCRIPTION = "asr"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


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
            **speaker_fields(asdict(utterance.speaker)),
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
    except LLaSOError as error:
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
    clips_below: dict[str, PublishedClips] = {}
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
            clips = clips_below.setdefault(root, PublishedClips(root))
            request = next(turn["value"] for turn in row["conversations"] if turn["from"] == "human")
            samples.append(_published_question(prediction, str(request), clips))
    return ListedSamples(samples, *digests)


def _published_question(prediction: Prediction, request: str, clips: PublishedClips) -> EvalSample | BadSample:
    pieces = request.split(AUDIO_TOKEN)
    if len(pieces) - 1 != len(prediction.audio):
        return BadSample(
            prediction.id,
            prediction.place,
            f"{len(pieces) - 1} {AUDIO_TOKEN} in the question, {len(prediction.audio)} in voice",
        )
    content: list[dict[str, Any]] = [layout.text_part(pieces[0].strip())]
    names: list[str] = []
    for path, piece in zip(prediction.audio, pieces[1:], strict=True):
        if (reason := uris.refused(path, storage.scheme(clips.root))) is not None:
            return BadSample(prediction.id, prediction.place, f"{uris.shown(path)}: {reason}")
        sound = clips.find(path)
        if isinstance(sound, str):
            return BadSample(prediction.id, prediction.place, sound)
        names.append(
            path if sound.member is None else audio.name_of(sound.uri.removeprefix(f"{clips.root}/"), sound.member)
        )
        content += [{"type": "audio", "audio": sound}, layout.text_part(piece.strip())]
    content = [part for part in content if part["type"] == "audio" or part["text"]]
    line = {
        "set": prediction.set,
        "reference": prediction.reference,
        "audio": names,
        "language": prediction.language,
        "modality": prediction.modality,
        "speaker": prediction.speaker,
        "groups": dict(prediction.groups),
    }
    return EvalSample(prediction.id, [{"role": "user", "content": content}], line)
