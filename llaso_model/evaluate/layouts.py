"""Reads predictions: LLaSO's own JSON lines, and the layouts in which LLaSO-Eval outputs are published.

A source is a file, a folder of one system, a folder of such folders, or a tar of them; ``NAME=PATH`` names the system.
In a published layout the file's name says the set; answers are under ``answer``, ``result`` or ``prediction``; JSON
arrays and JSON lines are read alike. Our own lines are described in ``docs/evaluate.md``.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from llaso_data import checksums, storage
from llaso_data.errors import LLaSOError
from llaso_data.records import digest
from llaso_data.sources import vocabulary
from llaso_data.uris import shown
from llaso_model.evaluate.tasks import Tasks

ANSWER_KEYS = ("answer", "result", "prediction")
_GROUPS = {"gender": ("gender",), "age": ("age", "speaker_age"), "accent": ("accents", "accent", "native_language")}
_SPEAKERS = ("speaker_id", "usrid", "spk_id", "Name", "speaker")
_NOT_PREDICTIONS = ("abstention", "gpt_result")
_ENDINGS = (".json", ".jsonl")
PREDICTIONS, RUN = "predictions.jsonl", "run.json"  # of a run of evaluate


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer of one system, and what it is measured against.

    ``id`` names the question: it is equal for all systems that were asked it. ``expected`` is ``refusal`` where a
    refusal is the right answer. ``groups`` are the speaker's known properties, ``tags`` what the row is an example of
    (``unseen_language``, ``noise:10``, …). ``place`` is file and row, for messages.
    """

    system: str
    set: str
    id: str
    prompt: str
    reference: str
    answer: str
    place: str
    audio: tuple[str, ...] = ()
    speaker: str | None = None
    language: str | None = None
    modality: str = ""
    expected: str = "answer"
    confidence: float | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said of a row, as it is published: a score of 1 to 5 for the row of that number in a set's file."""

    system: str
    set: str
    index: int
    score: float
    text: str


@dataclass(frozen=True, slots=True)
class Sources:
    """All that was read. ``judgements`` maps (system, set) to scores by row id; ``skipped`` says what was not read."""

    predictions: list[Prediction]
    judgements: dict[tuple[str, str], dict[str, float]]
    skipped: list[str]
    files: dict[str, str]
    """Every file that was read, with the digest of its bytes."""


def read(sources: Iterable[str], tasks: Tasks) -> Sources:
    """The predictions of all sources. Raises LLaSOError for what cannot be read, with file and row."""
    predictions: list[Prediction] = []
    said: list[Judgement] = []
    skipped: list[str] = []
    files: dict[str, str] = {}
    for source in sources:
        system, path = _named(source)
        for name, data in _files(path):
            parts = PurePosixPath(name).parts
            kind = next((part for part in parts[:-1] if part in _NOT_PREDICTIONS), None)
            own = system or _system_of(path, [part for part in parts[:-1] if part not in _NOT_PREDICTIONS])
            set_ = tasks.set_of(PurePosixPath(name).stem)
            files[f"{own}/{PurePosixPath(name).name}" if kind is None else f"{own}/{kind}/{parts[-1]}"] = digest(data)
            if kind == "gpt_result" and set_ is not None:
                said += _judgements(own, set_, name, data)
            elif kind is None:
                found = list(_predictions(own, set_, name, data, tasks))
                predictions += found
                if not found:
                    skipped.append(f"{path}: {name}: no set of tasks.yaml has this name")
    if not predictions:
        raise LLaSOError("; ".join(skipped) or "no predictions: name files or folders with .json or .jsonl in them")
    _unique(predictions)
    return Sources(predictions, _by_id(predictions, said), skipped, files)


def _named(source: str) -> tuple[str | None, str]:
    """(system, path) of ``NAME=PATH``; a path that exists is never taken apart."""
    name, equals, path = source.partition("=")
    return (name, path) if equals and not os.path.exists(source) else (None, source)


def _system_of(path: str, folders: list[str]) -> str:
    """The system's name: the innermost folder within the source, else the source's own, for a file its folder's."""
    if folders:
        return folders[-1]
    absolute = os.path.abspath(path)
    if os.path.isfile(path):
        parent = os.path.basename(os.path.dirname(absolute))
        return parent if path.endswith(".json") else os.path.basename(absolute).split(".")[0]
    return os.path.basename(absolute)


def _files(path: str) -> Iterator[tuple[str, bytes]]:
    """(name within the source, bytes) of every JSON file, in the order of names."""
    if (os.path.isfile(path) or not storage.is_local(path)) and path.endswith(_ENDINGS):
        yield path.rpartition("/")[2], _whole(path)
    elif not storage.is_local(path):
        raise LLaSOError(f"{path}: of a store only single files that end in {' or '.join(_ENDINGS)} are read")
    elif os.path.isfile(path):
        yield from _tar_files(path)
    elif os.path.isdir(path):
        for folder, below, names in os.walk(path):
            below.sort()
            if PREDICTIONS in names:  # what evaluate leaves: parts and scores lie beside it
                below.clear()
                names = [PREDICTIONS]
            for name in sorted(name for name in names if name.endswith(_ENDINGS)):
                whole = os.path.join(folder, name)
                yield os.path.relpath(whole, path), _whole(whole)
    else:
        raise LLaSOError(f"{path}: no such file or folder")


def _whole(path: str) -> bytes:
    """The bytes of a file; predictions that evaluate wrote have the checksum that its ``run.json`` beside them states.

    Raises DamagedError.
    """
    data, folder = storage.read_bytes(path), os.path.dirname(path)
    if os.path.basename(path) == PREDICTIONS and storage.exists(run := os.path.join(folder, RUN)):
        said = checksums.read_json(run, "; run llaso-model evaluate again")
        files = said.get("files") if isinstance(said, dict) else None
        if isinstance(files, dict) and files.get(PREDICTIONS, own := checksums.of_bytes(data)) != own:
            raise checksums.DamagedError(
                f"{path} is damaged or was changed: {run} states another checksum; run llaso-model evaluate again, or, "
                "where you changed it on purpose, give it another name"
            )
    return data


def _tar_files(path: str) -> Iterator[tuple[str, bytes]]:
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:  # in its own order: going back would unpack all of it anew
                stream = archive.extractfile(member) if member.name.endswith(_ENDINGS) else None
                if stream is not None:
                    found[member.name] = stream.read()
    except tarfile.TarError as error:
        raise LLaSOError(f"{path}: is no JSON and no tar of JSON ({error})") from error
    for name in sorted(found):
        yield name, found[name]


def rows(name: str, data: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a file: an array, or values one behind another. Raises LLaSOError with the file and line.

    Line breaks within strings, which some published files have, are read as they are.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LLaSOError(f"{name}: not UTF-8 (byte {error.start})") from error
    decoder = json.JSONDecoder(strict=False)
    found: list[Any] = []
    at = 0
    try:
        while (at := _next(text, at)) < len(text):
            value, at = decoder.raw_decode(text, at)
            found += value if isinstance(value, list) else [value]
    except ValueError as error:
        line = text.count("\n", 0, getattr(error, "pos", at)) + 1
        raise LLaSOError(f"{name}:{line}: not JSON ({getattr(error, 'msg', error)})") from error
    except RecursionError as error:
        raise LLaSOError(f"{name}: nested too deeply") from error
    for number, row in enumerate(found, 1):
        if not isinstance(row, dict):
            raise LLaSOError(f"{name}: row {number} is {type(row).__name__}, not an object")
    return found


def _next(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n,":
        at += 1
    return at


def _predictions(system: str, set_: str | None, name: str, data: bytes, tasks: Tasks) -> Iterator[Prediction]:
    seen: Counter[tuple[str, ...]] = Counter()
    for number, row in enumerate(rows(name, data), 1):
        place = f"{name}: row {number}"
        if "conversations" in row:
            if set_ is None:
                return
            yield published(system, set_, place, row, tasks.sets[set_].speaker, seen)
        else:
            yield _own(system, set_, place, row, tasks, seen)


def published(
    system: str, set_: str, place: str, row: dict[str, Any], speaker: str | None, seen: Counter[tuple[str, ...]]
) -> Prediction:
    """A row of the published layout. ``speaker`` finds the speaker in a path, ``seen`` counts like questions.

    What a path says of the speaker comes before what the row says: AccentDB numbers its speakers anew in each accent.
    """
    try:
        turns = row["conversations"]
        prompt = next(turn["value"] for turn in turns if turn["from"] == "human")
        reference = next(turn["value"] for turn in turns if turn["from"] == "gpt")
    except (KeyError, TypeError, StopIteration) as error:
        raise LLaSOError(f"{place}: conversations needs a human and a gpt turn with value") from error
    voice = row.get("voice", [])
    audio = tuple(_path(part) for part in ([voice] if isinstance(voice, str) else voice))
    meta = row.get("metadata") or row.get("meta-data") or {}
    meta = meta if isinstance(meta, dict) else {}
    return Prediction(
        system=system,
        set=set_,
        id=_id(seen, set_, *audio, reference),
        prompt=str(prompt).replace("<audio>", "").strip(),
        reference=str(reference),
        answer=_answer(row, place),
        place=place,
        audio=tuple(map(shown, audio)),
        speaker=_in_path(speaker, audio) or _first({**meta, **row}, _SPEAKERS),
        language="en",
        modality=_modality(set_, str(prompt)),
        groups={group: said for group, keys in _GROUPS.items() if (said := _first(meta, keys)) is not None},
    )


def _own(
    system: str, set_: str | None, place: str, row: dict[str, Any], tasks: Tasks, seen: Counter[tuple[str, ...]]
) -> Prediction:
    named = row.get("set") or row.get("task")
    found = tasks.set_of(str(named)) if named else set_
    if found is None:
        raise LLaSOError(f"{place}: set is {named!r}; it is one of {', '.join(tasks.sets)}")
    if "reference" not in row and row.get("expected") != "refusal":
        raise LLaSOError(f"{place}: reference is missing")
    audio = row.get("audio", [])
    audio = tuple(map(str, [audio] if isinstance(audio, str) else audio))
    reference = str(row.get("reference", ""))
    groups = row.get("groups") or {}
    return Prediction(
        system=str(row.get("system") or system),
        set=found,
        id=str(row["id"]) if row.get("id") else _id(seen, found, *audio, str(row.get("prompt", "")), reference),
        prompt=str(row.get("prompt", "")),
        reference=reference,
        answer=_answer(row, place),
        place=place,
        audio=tuple(map(shown, audio)),
        speaker=None if row.get("speaker") in (None, "") else str(row["speaker"]),
        language=language_of(row.get("language")),
        modality=str(row.get("modality", "")),
        expected=str(row.get("expected", "answer")),
        confidence=None if row.get("confidence") is None else float(row["confidence"]),
        groups={str(key): str(value) for key, value in groups.items()},
        tags=tuple(map(str, row.get("tags", ()))),
    )


def language_of(said: Any) -> str | None:
    """A language in whatever spelling ("Chinese", "cmn", "zh-CN", "jp") as its code; what is no known one as it is."""
    if said in (None, ""):
        return None
    return vocabulary.language(str(said)) or str(said)


def _answer(row: dict[str, Any], place: str) -> str:
    for key in ANSWER_KEYS:
        if key in row:
            return "" if row[key] is None else str(row[key])
    raise LLaSOError(f"{place}: no answer; it is under one of {', '.join(ANSWER_KEYS)}")


def _id(seen: Counter[tuple[str, ...]], *parts: str) -> str:
    """A name for the question: prompts are left out, for the published ones differ between systems."""
    seen[parts] += 1
    return digest("question", *parts, seen[parts], length=16)


def _path(path: str) -> str:
    return str(path).replace("\\", "/")


def _first(said: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    return next((str(said[key]) for key in keys if said.get(key) not in (None, "", [], {})), None)


def _in_path(pattern: str | None, audio: Iterable[str]) -> str | None:
    found = re.search(pattern, next(iter(audio), "")) if pattern else None
    return "/".join(filter(None, found.groups())) if found else None


def _modality(set_: str, prompt: str) -> str:
    if set_.endswith("_end"):
        return "audio"
    return "audio instruction + text" if prompt.startswith("<audio>") else "text instruction + audio"


def _judgements(system: str, set_: str, name: str, data: bytes) -> Iterator[Judgement]:
    from llaso_model.evaluate.judge import score_of

    for row in rows(name, data):
        score = score_of(str(row.get("evaluation", "")))
        if score is not None and isinstance(row.get("index"), int):
            yield Judgement(system, set_, row["index"], score, str(row["evaluation"]))


def _by_id(predictions: list[Prediction], said: list[Judgement]) -> dict[tuple[str, str], dict[str, float]]:
    ids: dict[tuple[str, str], list[str]] = {}
    for one in predictions:
        ids.setdefault((one.system, one.set), []).append(one.id)
    found: dict[tuple[str, str], dict[str, float]] = {}
    for judgement in said:
        order = ids.get((judgement.system, judgement.set), [])
        if 0 <= judgement.index < len(order):
            found.setdefault((judgement.system, judgement.set), {})[order[judgement.index]] = judgement.score
    return found


def _unique(predictions: list[Prediction]) -> None:
    seen: dict[tuple[str, str, str], str] = {}
    for one in predictions:
        key = (one.system, one.set, one.id)
        if key in seen:
            raise LLaSOError(f"{one.place}: {one.system} answers {one.id} of {one.set} twice, first in {seen[key]}")
        seen[key] = one.place
