"""The tables of the card of instruction sets, as plain values: what ``build-instruct.json`` says, for a reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.instruct.rendering import templates_of
from llaso_data.instruct.tasks import Tasks, all_tasks, folded
from llaso_data.instruct.tasks.build import Modality
from llaso_data.io import checksums, storage
from llaso_data.languages import language_name
from llaso_data.pipeline.instruct.summary import FORMAT, FORMAT_VERSION, SUMMARY
from llaso_data.pipeline.instruct.voice_quality import VoiceQuality, VoiceReport
from llaso_data.recipe import HoldOut
from llaso_data.records import SPLITS

MODALITIES: dict[Modality, tuple[str, str]] = {
    "text_audio": ("written, heard", "a written instruction, and what goes in is heard"),
    "audio_text": ("spoken, read", "a spoken instruction, and what goes in is read"),
    "audio": ("all heard", "instruction and input in one clip, or a question alone"),
    "text": ("all written", "instruction and input are read; the answer may be heard"),
}
_ORDER = {"understanding": 0, "generation": 1, "cross_modal_reasoning": 2, "paralinguistic": 3}
SHOWN_LABELS = 12
SHOWN_TEMPLATES = 20
SHOWN_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Share:
    """A line of a list: what is counted, how often, and its bar, 0 to 1 of the longest."""

    name: str
    number: int
    share: float
    says: str = ""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task of the set.

    Attributes:
        name: In the registry.
        title: For a reader; the name where the registry has none.
        capability: The group that it counts to; empty where it is not known.
        number: Of its samples.
        modalities: By modality, its samples and their languages, the most frequent first.
        splits: By split.
        labels: Its answers, where the set counts them; the most frequent first.
        other_labels: How many more labels there are.
        largest: Share of the most frequent answer, 0 to 1.
    """

    name: str
    title: str
    capability: str
    number: int
    modalities: dict[str, tuple[int, str]]
    splits: dict[str, int]
    labels: list[Share] = field(default_factory=list)
    other_labels: int = 0
    largest: float = 0.0


@dataclass(frozen=True, slots=True)
class VoiceRow:
    """What a voice said in a language.

    Attributes:
        name: ``engine/voice``.
        language: Its name.
        lines: That it spoke.
        rejected: Of them, those that Whisper misheard.
        error: Share of the words that Whisper heard otherwise; None: it heard none.
        seconds: Of speech.
        licence: Of the engine and its voices.
        quality: Of some of its lines, in all languages; None: not measured.
    """

    name: str
    language: str
    lines: int
    rejected: int
    error: float | None
    seconds: float
    licence: str
    quality: VoiceQuality | None = None


def is_built(out: str) -> bool:
    """Whether a folder has what `build-instruct` says of the set that it wrote."""
    return storage.is_file(storage.join(storage.absolute(out), SUMMARY))


def read_summary(out: str) -> dict[str, Any]:
    """What `build-instruct` says of the set that it wrote.

    Raises:
        LLaSOError: It is damaged, or of another format.
    """
    path = storage.join(storage.absolute(out), SUMMARY)
    stated = checksums.read_json(path, "; run `llaso-data build-instruct` again")
    if not isinstance(stated, dict) or stated.get("format") != FORMAT:
        raise LLaSOError(f"{path} is not what `llaso-data build-instruct` writes")
    if stated.get("format_version") != FORMAT_VERSION:
        raise LLaSOError(
            f"{path} is of version {stated.get('format_version')!r}, this llaso-data reads {FORMAT_VERSION}; use the "
            "same version for both"
        )
    return stated


def tasks(stated: Mapping[str, Any], known: Tasks) -> list[TaskRow]:
    """The tasks, by what they teach, those with the most samples first."""
    rows = []
    for name, by_modality in stated.get("tasks", {}).items():
        build = known.build.get(name)
        counted = _labels(name, stated.get("answers", {}).get(name, {}), known)
        numbers = {modality: sum(languages.values()) for modality, languages in by_modality.items()}
        labels = ranked(counted)
        rows.append(
            TaskRow(
                name=name,
                title=_title(name, stated, known),
                capability=build.capability if build else "",
                number=sum(numbers.values()),
                modalities={
                    modality: (number, _languages(by_modality[modality])) for modality, number in numbers.items()
                },
                splits={split: stated["splits"][split].get(name, 0) for split in splits(stated)},
                labels=labels[:SHOWN_LABELS],
                other_labels=max(0, len(labels) - SHOWN_LABELS),
                largest=max(counted.values(), default=0) / max(1, sum(counted.values())),
            )
        )
    return sorted(rows, key=lambda row: (_ORDER.get(row.capability, len(_ORDER)), -row.number, row.name))


def splits(stated: Mapping[str, Any]) -> list[str]:
    """The splits of a set, in the order in which they are used."""
    named = filter(None, stated.get("splits", {}))
    return sorted(named, key=lambda name: (SPLITS.index(name) if name in SPLITS else -1, name))


def known_tasks() -> Tasks:
    """The registry's tasks, as far as this installation knows them; a set's own tasks are shown by their names."""
    return all_tasks()


def ranked(counted: Mapping[str, int], says: Mapping[str, str] | None = None) -> list[Share]:
    """Counts as lines, the highest first; equal ones by name."""
    longest = max(counted.values(), default=0) or 1
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [Share(name, number, number / longest, (says or {}).get(name, "")) for name, number in ordered]


def template_texts(stated: Mapping[str, Any], known: Tasks) -> dict[str, str]:
    """The texts of the templates that were used and that the registry knows, by id."""
    wanted = {name.partition("/")[0] for name in stated.get("templates", {})}
    return {
        template.id: template.text for name in wanted if name in known.build for template in templates_of(known, name)
    }


def languages(stated: Mapping[str, Any]) -> Counter[str]:
    """The samples by language."""
    found: Counter[str] = Counter()
    for by_modality in stated.get("tasks", {}).values():
        for by_language in by_modality.values():
            found.update(by_language)
    return found


def voices(stated: Mapping[str, Any], measured: VoiceReport) -> list[VoiceRow]:
    """The voices, by language and name."""
    rows = []
    for name, by_language in stated.get("voices", {}).items():
        for language, said in by_language.items():
            words = said.get("words", 0)
            rows.append(
                VoiceRow(
                    name=name,
                    language=language_name(language),
                    lines=said.get("lines", 0),
                    rejected=said.get("rejected", 0),
                    error=said.get("errors", 0) / words if words else None,
                    seconds=said.get("seconds", 0.0),
                    licence=said.get("licence", ""),
                    quality=measured.voices.get(name),
                )
            )
    return sorted(rows, key=lambda row: (row.language, row.name))


def not_fed(stated: Mapping[str, Any], known: Tasks) -> list[tuple[str, str, list[tuple[str, int]]]]:
    """The tasks that rows could not feed: name, title, and (reason, rows), the most frequent reason first."""
    rows = []
    for name, reasons in sorted(stated.get("not_fed", {}).items()):
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        rows.append((name, _title(name, stated, known), ordered))
    return rows


def held_out(stated: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What training sets were kept without, as (what, names); what holds nothing out is left out."""
    said = stated.get("hold_out") or {}
    return [(name, list(map(str, said[name]))) for name in HoldOut.model_fields if said.get(name)]


@dataclass(frozen=True, slots=True)
class Leaks:
    """What was found that other sets or splits have.

    Attributes:
        looked_up: Rows that were looked up.
        leaked: Of them, those that were found and left out.
        found: (set or split, kind, rows).
        examples: The first ones: ``kind``, ``where``, ``other``, ``other_where``.
        not_compared: (set or split, reason, rows).
    """

    looked_up: int
    leaked: int
    found: list[tuple[str, str, int]]
    examples: list[dict[str, Any]]
    not_compared: list[tuple[str, str, int]]


def leaks(stated: Mapping[str, Any]) -> Leaks | None:
    """What the searches for leaks found, by sound and by text together; None: nobody looked."""
    searches = list((stated.get("leakage") or {}).values())
    if not searches:
        return None
    examples = [leak for one in searches for found in one["examples"].values() for leak in found]
    return Leaks(
        looked_up=max(sum(one["looked_up"].values()) for one in searches),
        leaked=sum(sum(one["leaked"].values()) for one in searches),
        found=_flat(one["counts"] for one in searches),
        examples=examples[:SHOWN_EXAMPLES],
        not_compared=_flat(one["not_compared"] for one in searches),
    )


def _flat(counted: Iterable[Mapping[str, Mapping[str, int]]]) -> list[tuple[str, str, int]]:
    return [
        (name, what, number)
        for one in counted
        for name, counts in sorted(one.items())
        for what, number in sorted(counts.items())
        if number
    ]


def _title(name: str, stated: Mapping[str, Any], known: Tasks) -> str:
    """What a task is called: by the set, which knows the user's own tasks, else by the registry."""
    declared = known.tasks.get(name)
    return stated.get("titles", {}).get(name) or (declared.title if declared else "") or name


def _labels(task: str, counted: Mapping[str, int], known: Tasks) -> Counter[str]:
    """Answers by label: what each language calls it is one."""
    build = known.build.get(task)
    scored = known.sets.get(build.scored_as) if build and build.scored_as and build.answer.form == "label" else None
    forms = known.forms_of(scored.labels) if scored and scored.labels else {}
    found: Counter[str] = Counter()
    for answer, number in counted.items():
        found[forms.get(folded(answer), answer)] += number
    return found


def _languages(by_language: Mapping[str, int]) -> str:
    ordered = sorted(by_language.items(), key=lambda item: (-item[1], item[0]))
    whole = sum(by_language.values()) or 1
    shown = [f"{language} {number / whole:.0%}" for language, number in ordered[:3]]
    return " · ".join(shown) + (f" · {len(ordered) - 3} more" if len(ordered) > 3 else "")
