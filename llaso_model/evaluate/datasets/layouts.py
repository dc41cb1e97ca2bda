"""Reads predictions: LLaSO's own JSON lines, and the layouts in which LLaSO-Eval outputs are published.

A source is a file, a folder of one system, a folder of such folders, or a tar of them; ``NAME=PATH`` names the system
(:mod:`llaso_model.evaluate.datasets.files`). In a published layout the file's name says the set; answers are under
``answer``, ``result`` or ``prediction``; JSON arrays and JSON lines are read alike. Our own lines are described in
``docs/evaluate.md``, with the type of every field: what has another is refused, with file and row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from llaso_data import languages
from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import LAYERS, Set, Tasks
from llaso_data.records import digest
from llaso_data.text.surrogates import has_lone_surrogate, replace_lone_surrogates
from llaso_data.uris import shown
from llaso_model.evaluate.datasets.fields import (
    Fields,
    as_text,
    describe_json,
)
from llaso_model.evaluate.datasets.files import File, json_rows, parse_source
from llaso_model.evaluate.datasets.judgements import Judgement, read_judgements, scores_by_id
from llaso_model.evaluate.kinds import KINDS

ANSWER_KEYS = ("answer", "result", "prediction")
_GROUPS = {"gender": ("gender",), "age": ("age", "speaker_age"), "accent": ("accents", "accent", "native_language")}
_SPEAKERS = ("speaker_id", "usrid", "spk_id", "Name", "speaker")
_NOT_PREDICTIONS = ("abstention", "gpt_result")
_EXPECTED = ("answer", "refusal", "ask_back")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer of one system, and what it is measured against.

    Attributes:
        system: The system's name.
        set: The declared set.
        id: The question's id, equal for all systems that were asked it.
        prompt: The text of the question.
        reference: The right answer.
        answer: The system's answer.
        place: File and row, for messages.
        audio: Audio paths of the question.
        speaker: Rows of one speaker are resampled together.
        language: Code of the language.
        modality: Which parts of the question are audio.
        expected: ``answer``; or ``refusal`` or ``ask_back`` where a refusal or a question back is the right answer.
        confidence: Grows with the system's certainty.
        groups: Known properties of the speaker.
        tags: What the row is an example of (``unseen_language``, ``noise:10``, …).
        span_s: Part of the audio that was used, in seconds; None: all of it.
        channels: Channels of the audio that were used, from 0; None: all.
        noise: Noise of the row's condition (:func:`llaso_model.evaluate.conditions.condition_of_tag`).
        seed: Seed of the row's condition.
        layer: Layer of evaluation that the row is for; None: that of its task.
        transcript: What is said in the audio, so that an answer which repeats it is no refusal; None: not known.
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
    layer: str | None = None
    transcript: str | None = None


@dataclass(frozen=True, slots=True)
class ScoringInput:
    """All predictions that are scored.

    Attributes:
        predictions: The predictions.
        judgements: A judge's scores by (system, set) and prediction id.
        skipped: Lines about what was not read.
        files: Digest of each file that was read, by name.
        remarks: Lines about answers that were changed when they were read.
    """

    predictions: list[Prediction]
    judgements: dict[tuple[str, str], dict[str, float]]
    skipped: list[str]
    files: dict[str, str]
    remarks: list[str] = field(default_factory=list)


def read_predictions(sources: Iterable[str], tasks: Tasks) -> ScoringInput:
    """Reads the predictions of all sources.

    Args:
        sources: Files, folders or tars, each as ``PATH`` or ``NAME=PATH``.
        tasks: The declared tasks.

    Raises:
        LLaSOError: Something cannot be read. The message has file and row.
    """
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
                judgement_list += read_judgements(system, set_, file)
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
    judgements, unmatched = scores_by_id(predictions, judgement_list)
    return ScoringInput(predictions, judgements, [*skipped, *unmatched], files, changed.lines())


class _Repairs:
    """Counts of answers that were changed when they were read, by system."""

    def __init__(self) -> None:
        self.halves: Counter[str] = Counter()
        self.nulls: Counter[str] = Counter()

    def lines(self) -> list[str]:
        halves = [
            f"{system}: {count:,} answers had half of a surrogate pair, which is no character; U+FFFD replaces it"
            for system, count in self.halves.items()
        ]
        return halves + [
            f"{system}: {count:,} answers are null and count as empty" for system, count in self.nulls.items()
        ]


def _predictions(
    system: str, set_: str | None, file: File, tasks: Tasks, changed: _Repairs, named: bool = False
) -> Iterator[Prediction]:
    """The predictions of a file. With ``named`` the user named the system, whatever the lines say."""
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
    """Reads a row of the published layout.

    The speaker in the audio's path comes before the one in the row: AccentDB numbers its speakers anew in each accent.

    Args:
        system: The system's name.
        set_: The declared set.
        place: File and row, for messages.
        row: The JSON object.
        declared: The declaration of the set.
        seen: Counts equal questions; it is changed.

    Raises:
        LLaSOError: A field is missing or has another type.
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
        speaker=declared.speaker_in(next(iter(audio), "")) or next(filter(None, map(known.name, _SPEAKERS)), None),
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
    """The fields about the speaker of a published row: its own, and those of its metadata where that is an object."""
    meta = row.row.get("metadata") or row.row.get("meta-data") or {}
    return Fields({**(meta if isinstance(meta, dict) else {}), **row.row}, row.place)


def _groups(fields: Fields, keys: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Values of groups, each from the first of its keys that has one."""
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
    refused = expected != "answer" and row.row.get("reference") is None
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
        layer=row.choice("layer", LAYERS) if row.row.get("layer") else None,
        transcript=row.text("transcript"),
    )


def _channels(row: Fields) -> tuple[int, ...] | None:
    """The channels of the audio that were used; None for all."""
    channels = row.numbers("channels")
    if channels and not all(number.is_integer() and number >= 0 for number in channels):
        raise LLaSOError(f"{row.place}: channels are counted from 0; got {list(channels)}")
    return tuple(map(int, channels)) if channels else None


def _system(name: str, row: Fields) -> str:
    """Checks a system's name, which pages and terminals show. Raises LLaSOError where it is not printable."""
    if not name.isprintable():
        raise LLaSOError(f"{row.place}: the system's name {name!r} is not printable; name it with NAME=PATH")
    return name


def _reference(row: Fields, key: str, declared: Set) -> str:
    """The reference. It has to be there: an empty text is silence, null is no reference."""
    if key not in row:
        raise LLaSOError(f"{row.place}: {key} is missing")
    reference = row.text(key, numbers=KINDS[declared.kind].is_closed)
    if reference is None:
        raise LLaSOError(f'{row.place}: {key} is null; it should be text, of silence ""; or take the row out')
    return reference


def _answer(row: Fields, system: str, declared: Set, changed: _Repairs) -> str:
    """The answer. A lone surrogate in it is replaced: it is the system's fault and must cost no other row."""
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
    """The code of a language in any spelling ("Chinese", "cmn", "zh-CN", "jp"); an unknown language as it is."""
    if language in (None, ""):
        return None
    return languages.language(str(language)) or str(language)


def _id(seen: Counter[tuple[str, ...]], *parts: str) -> str:
    """An id of a question. It does not depend on the prompt, because published prompts differ between systems."""
    seen[parts] += 1
    return digest("question", *parts, seen[parts], length=16)


def _modality(set_: str, prompt: str) -> str:
    if set_.endswith("_end"):
        return "audio"
    return "audio instruction + text" if prompt.startswith("<audio>") else "text instruction + audio"


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
