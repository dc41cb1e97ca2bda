"""Reads predictions: LLaSO's own JSON lines, and the layouts in which LLaSO-Eval outputs are published.

A source is a file, a folder of one system, a folder of such folders, or a tar of them; ``NAME=PATH`` names the system
(:mod:`llaso_model.evaluate.datasets.files`). In a published layout the file's name says the set; answers are under
``answer``, ``result`` or ``prediction``; JSON arrays and JSON lines are read alike. Our own lines are described in
``docs/evaluate.md``, with the type of every field: what has another is refused, with file and row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from llaso_data import languages
from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import Set, Tasks
from llaso_data.records import digest
from llaso_data.uris import shown
from llaso_model.evaluate.datasets.fields import (
    Fields,
    as_text,
    describe_json,
    has_lone_surrogate,
    replace_lone_surrogates,
)
from llaso_model.evaluate.datasets.files import File, json_rows, parse_source
from llaso_model.evaluate.kinds import KINDS

ANSWER_KEYS = ("answer", "result", "prediction")
_GROUPS = {"gender": ("gender",), "age": ("age", "speaker_age"), "accent": ("accents", "accent", "native_language")}
_SPEAKERS = ("speaker_id", "usrid", "spk_id", "Name", "speaker")
_NOT_PREDICTIONS = ("abstention", "gpt_result")
_EXPECTED = ("answer", "refusal")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer of one system, and what it is measured against.

    ``id`` names the question: it is equal for all systems that were asked it. ``expected`` is ``refusal`` where a
    refusal is the right answer. ``groups`` are the speaker's known properties, ``tags`` what the row is an example of
    (``unseen_language``, ``noise:10``, …). ``place`` is file and row, for messages. ``span_s`` is the part of the
    audio that was heard, where it is not all of it; ``noise`` and ``seed`` are what a condition's sound was made of
    (:func:`llaso_model.evaluate.conditions.condition_of_tag`).
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
    span_s: tuple[float, ...] | None = None
    channels: tuple[int, ...] | None = None
    noise: str | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said of a row, as it is published: a score of 1 to 5 for the row of that number in a set's file."""

    system: str
    set: str
    index: int
    score: float
    text: str


@dataclass(frozen=True, slots=True)
class ScoringInput:
    """All that was read. ``judgements`` maps (system, set) to scores by row id; ``skipped`` says what was not read.

    ``remarks`` say what was not read as it stands.
    """

    predictions: list[Prediction]
    judgements: dict[tuple[str, str], dict[str, float]]
    skipped: list[str]
    files: dict[str, str]
    """Every file that was read, with the digest of its bytes."""
    remarks: list[str] = field(default_factory=list)


def read_predictions(sources: Iterable[str], tasks: Tasks) -> ScoringInput:
    """The predictions of all sources. Raises LLaSOError for what cannot be read, with file and row."""
    predictions: list[Prediction] = []
    judgement_list: list[Judgement] = []
    skipped: list[str] = []
    files: dict[str, str] = {}
    changed = _Repairs()
    for source in map(parse_source, sources):
        for file in source.files():
            parts = PurePosixPath(file.name).parts
            kind = next((part for part in parts[:-1] if part in _NOT_PREDICTIONS), None)
            system = source.system_of([part for part in parts[:-1] if part not in _NOT_PREDICTIONS], tasks)
            set_ = tasks.set_of(PurePosixPath(file.name).stem)
            files[f"{system}/{parts[-1]}" if kind is None else f"{system}/{kind}/{parts[-1]}"] = digest(file.data)
            if kind == "gpt_result" and set_ is not None:
                judgement_list += _judgements(system, set_, file)
            elif kind is None:
                file_predictions = list(_predictions(system, set_, file, tasks, changed, source.system is not None))
                predictions += file_predictions
                if not file_predictions:
                    empty = "it is empty" if not file.data.strip() else "no declared set has this name"
                    skipped.append(f"{file.place}: {empty}")
        skipped += source.skipped
    if not predictions:
        raise LLaSOError("; ".join(skipped) or "no predictions: name files or folders with .json or .jsonl in them")
    _check_unique(predictions)
    judgements, unmatched = _scores_by_id(predictions, judgement_list)
    return ScoringInput(predictions, judgements, [*skipped, *unmatched], files, changed.lines())


class _Repairs:
    """Answers that were not read as they stand, by system."""

    def __init__(self) -> None:
        self.halves: Counter[str] = Counter()
        self.nulls: Counter[str] = Counter()

    def lines(self) -> list[str]:
        halves = [
            f"{system}: {count:,} answers have half of a surrogate pair, which is no character; U+FFFD stands for it"
            for system, count in self.halves.items()
        ]
        return halves + [
            f"{system}: {count:,} answers are null and count as empty" for system, count in self.nulls.items()
        ]


def _predictions(
    system: str, set_: str | None, file: File, tasks: Tasks, changed: _Repairs, named: bool = False
) -> Iterator[Prediction]:
    """``named`` says that the user named the system: it is that, whatever the lines say."""
    seen: Counter[tuple[str, ...]] = Counter()
    inner: dict[str, None] = {}
    for number, row in enumerate(json_rows(file.place, file.data), 1):
        fields = Fields(row, f"{file.place}: row {number}")
        place = f"{file.name}: row {number}"
        if "conversations" in row and set_ is None:
            if number == 1:
                return
            raise LLaSOError(f"{fields.place}: its file's name says no declared set, and conversations need one")
        if "conversations" in row:
            yield _published_row(system, set_ or "", place, fields, tasks.sets[set_ or ""], seen, changed)
            continue
        row_system = fields.name("system") or system
        inner[row_system] = None
        if named and len(inner) > 1:
            raise LLaSOError(f"{fields.place}: {system}= names one system, but the lines are of {' and '.join(inner)}")
        yield _own_prediction(system if named else row_system, set_, place, fields, tasks, seen, changed)


def published_prediction(
    system: str, set_: str, place: str, row: dict[str, Any], declared: Set, seen: Counter[tuple[str, ...]]
) -> Prediction:
    """A row of the published layout. ``declared`` is its set, ``seen`` counts like questions.

    What a path says of the speaker comes before what the row says: AccentDB numbers its speakers anew in each accent.
    """
    return _published_row(system, set_, place, Fields(row, place), declared, seen, _Repairs())


def _published_row(
    system: str,
    set_: str,
    place: str,
    row: Fields,
    declared: Set,
    seen: Counter[tuple[str, ...]],
    changed: _Repairs,
) -> Prediction:
    prompt = _turn(row, "human").required("value")
    reference = _reference(_turn(row, "gpt"), "value", declared)
    audio = tuple(path.replace("\\", "/") for path in row.texts("voice"))
    known = _speaker_properties(row)
    return Prediction(
        system=_system(system, row),
        set=set_,
        id=_id(seen, set_, *audio, reference),
        prompt=prompt.replace("<audio>", "").strip(),
        reference=reference,
        answer=_answer(row, system, declared, changed),
        place=place,
        audio=tuple(map(shown, audio)),
        speaker=_speaker_in_path(declared.speaker, audio) or next(filter(None, map(known.name, _SPEAKERS)), None),
        language="en",
        modality=_modality(set_, prompt),
        groups=_groups(known, _GROUPS),
    )


def _turn(row: Fields, who: str) -> Fields:
    """The first turn of a conversation by that speaker."""
    turns = row.row["conversations"]
    for number, turn in enumerate(turns if isinstance(turns, list) else (), 1):
        if isinstance(turn, dict) and turn.get("from") == who:
            return Fields(turn, f"{row.place}: conversations, turn {number}")
    raise LLaSOError(f"{row.place}: conversations needs a human and a gpt turn with value")


def _speaker_properties(row: Fields) -> Fields:
    """What a published row says of its speaker: in itself, or in its metadata where that is an object."""
    meta = row.row.get("metadata") or row.row.get("meta-data") or {}
    return Fields({**(meta if isinstance(meta, dict) else {}), **row.row}, row.place)


def _groups(fields: Fields, keys: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Groups by name, each of the first key that says something."""
    groups = {group: next(filter(None, map(fields.attribute, candidates)), None) for group, candidates in keys.items()}
    return {group: value for group, value in groups.items() if value is not None}


def _own_prediction(
    system: str,
    set_: str | None,
    place: str,
    row: Fields,
    tasks: Tasks,
    seen: Counter[tuple[str, ...]],
    changed: _Repairs,
) -> Prediction:
    named = row.text("set") or row.text("task")
    set_name = tasks.set_of(named) if named else set_
    if set_name is None:
        raise LLaSOError(f"{row.place}: set is {describe_json(named)}; it is one of {', '.join(tasks.sets)}")
    declared = tasks.sets[set_name]
    expected = row.choice("expected", _EXPECTED)
    refused = expected == "refusal" and row.row.get("reference") is None
    reference = "" if refused else _reference(row, "reference", declared)
    audio, prompt = row.texts("audio"), row.text("prompt") or ""
    groups = row.mapping("groups")
    return Prediction(
        system=_system(system, row),
        set=set_name,
        id=row.name("id") or _id(seen, set_name, *audio, prompt, reference),
        prompt=prompt,
        reference=reference,
        answer=_answer(row, system, declared, changed),
        place=place,
        audio=tuple(map(shown, audio)),
        speaker=row.name("speaker"),
        language=language_code(row.text("language")),
        modality=row.text("modality") or "",
        expected=expected,
        confidence=row.number("confidence"),
        groups=_groups(groups, {key.removeprefix("groups."): (key,) for key in groups.row}),
        tags=row.texts("tags"),
        span_s=row.numbers("span_s"),
        channels=_channels(row),
        noise=row.text("noise"),
        seed=row.whole("seed"),
    )


def _channels(row: Fields) -> tuple[int, ...] | None:
    """The channels of its file that were heard; None for all."""
    channels = row.numbers("channels")
    if channels and not all(number.is_integer() and number >= 0 for number in channels):
        raise LLaSOError(f"{row.place}: channels are counted from 0; got {list(channels)}")
    return tuple(map(int, channels)) if channels else None


def _system(name: str, row: Fields) -> str:
    """The system's name, which pages and terminals show. Raises LLaSOError for what they cannot."""
    if not name.isprintable():
        raise LLaSOError(f"{row.place}: the system's name {name!r} is not printable; name it with NAME=PATH")
    return name


def _reference(row: Fields, key: str, declared: Set) -> str:
    """What is right. It must be said: silence is an empty text, and null is no reference."""
    if key not in row:
        raise LLaSOError(f"{row.place}: {key} is missing")
    reference = row.text(key, numbers=KINDS[declared.kind].is_closed)
    if reference is None:
        raise LLaSOError(f'{row.place}: {key} is null; it should be text, of silence ""; or take the row out')
    return reference


def _answer(row: Fields, system: str, declared: Set, changed: _Repairs) -> str:
    """What the system said. Half of a surrogate pair in it is the system's fault, and costs no other row."""
    present = [key for key in ANSWER_KEYS if key in row]
    if not present:
        raise LLaSOError(f"{row.place}: no answer; it is under one of {', '.join(ANSWER_KEYS)}")
    key = next((key for key in present if row.row[key] is not None), None)
    if key is None:
        changed.nulls[system] += 1
        return ""
    value = row.row[key]
    if isinstance(value, str) and has_lone_surrogate(value):
        changed.halves[system] += 1
        return replace_lone_surrogates(value)
    numeric = KINDS[declared.kind].is_closed
    answer = as_text(value) if numeric or isinstance(value, str) else None
    if answer is None:
        raise row.fault(key, "text or a number" if numeric else "text")
    return answer


def language_code(language: Any) -> str | None:
    """A language in whatever spelling ("Chinese", "cmn", "zh-CN", "jp") as its code; what is no known one as it is."""
    if language in (None, ""):
        return None
    return languages.language(str(language)) or str(language)


def _id(seen: Counter[tuple[str, ...]], *parts: str) -> str:
    """A name for the question: prompts are left out, for the published ones differ between systems."""
    seen[parts] += 1
    return digest("question", *parts, seen[parts], length=16)


def _speaker_in_path(pattern: str | None, audio: Iterable[str]) -> str | None:
    match = re.search(pattern, next(iter(audio), "")) if pattern else None
    return "/".join(filter(None, match.groups())) if match else None


def _modality(set_: str, prompt: str) -> str:
    if set_.endswith("_end"):
        return "audio"
    return "audio instruction + text" if prompt.startswith("<audio>") else "text instruction + audio"


def _judgements(system: str, set_: str, file: File) -> Iterator[Judgement]:
    from llaso_model.evaluate.llm_judge.scoring import parse_score

    for number, row in enumerate(json_rows(file.place, file.data), 1):
        fields = Fields(row, f"{file.place}: row {number}")
        index, words = fields.whole("index"), fields.required("evaluation")
        if index is None:
            raise fields.fault("index", "the number of a row")
        score = parse_score(words)
        if score is not None:
            yield Judgement(system, set_, index, score, words)


def _scores_by_id(
    predictions: list[Prediction], judgements: list[Judgement]
) -> tuple[dict[tuple[str, str], dict[str, float]], list[str]]:
    """Scores by row id for every system and set; and a line on those of no row."""
    ids: dict[tuple[str, str], list[str]] = {}
    for prediction in predictions:
        ids.setdefault((prediction.system, prediction.set), []).append(prediction.id)
    scores: dict[tuple[str, str], dict[str, float]] = {}
    unmatched: Counter[tuple[str, str]] = Counter()
    for judgement in judgements:
        order = ids.get((judgement.system, judgement.set), [])
        if 0 <= judgement.index < len(order):
            scores.setdefault((judgement.system, judgement.set), {})[order[judgement.index]] = judgement.score
        else:
            unmatched[judgement.system, judgement.set] += 1
    return scores, [
        f"{count:,} judgements of {set_} by {system}: of no row" for (system, set_), count in unmatched.items()
    ]


def _check_unique(predictions: list[Prediction]) -> None:
    places: dict[tuple[str, str, str], str] = {}
    for prediction in predictions:
        key = (prediction.system, prediction.set, prediction.id)
        if key in places:
            raise LLaSOError(
                f"{prediction.place}: {prediction.system} answers {prediction.id} of {prediction.set} twice, "
                f"first in {places[key]}; where these are two systems, name them with NAME=PATH"
            )
        places[key] = prediction.place
