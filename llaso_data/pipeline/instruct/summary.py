"""What a run of build-instruct says of its output: counts that close, and what they are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from llaso_data.instruct.tasks import Tasks
from llaso_data.pipeline.convert.run import ConvertSummary
from llaso_data.pipeline.instruct.blocks import MOST_EXAMPLES, BlockResult
from llaso_data.pipeline.instruct.splits import kept_apart
from llaso_data.pipeline.instruct.spoken import Spoken, VoiceTally
from llaso_data.recipe import Recipe

SUMMARY = "build-instruct.json"
FORMAT, FORMAT_VERSION = "llaso-build-instruct", 1


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructSummary:
    """What was built.

    The counts close: ``made`` + all ``refused`` = candidates that were chosen, and ``samples`` + all ``problems`` of
    writing = ``made``.

    Attributes:
        rows: That were read; ``rows_kept`` of them can be asked of.
        candidates: Pairs of a row and a task that it feeds.
        made: Samples that were made; ``samples`` of them are written.
        hours: Of audio.
        tasks: Task → modality → language of the instruction → samples.
        capabilities: What tasks teach → samples.
        titles: Task → title.
        splits: Split → task → samples; "" where there are none.
        forms: Form of the instruction → samples.
        templates: Id → samples.
        answers: Task → answer → samples, of labels and numbers.
        layers: Of a test set: layer → task → samples.
        refused: Why chosen rows gave no sample, such as text that cannot be spoken → rows.
        voices: Voice → language → what it did.
        core_s: Seconds of cores that this run spent on speaking and on listening back.
        not_fed: Task → why rows do not feed it → rows.
        texts_shared: Candidates that were left out because another split has their text.
        leakage: What the search for leaks found.
        hold_out: What the recipe keeps out; ``held_out`` how many rows that were, by what names them.
        kept_apart: What decides which rows are trained on, and its digest, as a test set or a training set that is
            built ``--against`` this one has to have it.
        problems: Rows that could not be read, and samples that could not be written, by reason.
        examples: The first of them, and of ``refused``.
        notes: What else is to be said of the sources.
        not_carried: How many samples say something that the layout cannot hold, by field, as in ``convert``.
        groups: What was written, by folder.
    """

    out: str
    to: str
    rows: int
    rows_kept: int
    candidates: int
    made: int
    samples: int
    hours: float
    tasks: dict[str, dict[str, dict[str, int]]]
    capabilities: dict[str, int]
    titles: dict[str, str]
    splits: dict[str, dict[str, int]]
    forms: dict[str, int]
    templates: dict[str, int]
    answers: dict[str, dict[str, int]]
    refused: dict[str, int]
    voices: dict[str, dict[str, Any]]
    core_s: dict[str, float]
    not_fed: dict[str, dict[str, int]]
    texts_shared: int
    leakage: dict[str, Any]
    hold_out: dict[str, Any]
    held_out: dict[str, int]
    kept_apart: dict[str, Any]
    problems: dict[str, int]
    examples: dict[str, list[str]] = field(repr=False)
    notes: dict[str, int]
    groups: dict[str, dict[str, Any]]
    not_carried: dict[str, int] = field(default_factory=dict)
    layers: dict[str, dict[str, int]] = field(default_factory=dict)
    parts_skipped: int = 0
    blocks_skipped: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python, for JSON."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}

    def stored(self) -> dict[str, Any]:
        """What the output says of itself: without what is of one run alone."""
        stated = self.to_dict()
        for name in ("out", "core_s", "parts_skipped", "blocks_skipped"):
            stated.pop(name)
        return stated


def summarised(
    recipe: Recipe,
    tasks: Tasks,
    reading: Mapping[str, Any],
    plan: Mapping[str, Any],
    results: Sequence[BlockResult],
    spoken: Sequence[Spoken],
    converted: ConvertSummary,
) -> InstructSummary:
    """Put the summary together.

    Args:
        recipe: What was asked for.
        tasks: For titles and capabilities.
        reading: ``rows``, ``rows_kept``, ``problems``, ``examples``, ``notes``.
        plan: ``candidates``, ``not_fed``, ``value_examples``, ``texts_shared``, ``leakage``, ``held_out``.
        results: Of all blocks.
        spoken: What was spoken, by round.
        converted: What was written.
    """
    counts = _summed(one.counts for one in results)
    by_task: dict[str, dict[str, dict[str, int]]] = {}
    by_split: dict[str, Counter[str]] = {}
    capabilities: Counter[str] = Counter()
    for key, count in sorted(counts.items()):
        task, modality, language, split = key.split("\t")
        by_task.setdefault(task, {}).setdefault(modality, {})
        of_modality = by_task[task][modality]
        of_modality[language] = of_modality.get(language, 0) + count
        by_split.setdefault(split, Counter())[task] += count
        capabilities[tasks.build[task].capability] += count
    answers = _by_first(_summed(one.answers for one in results))
    examples: dict[str, list[str]] = {name: list(shown) for name, shown in reading["examples"].items()}
    for name, shown in converted.examples.items():
        examples.setdefault(name, []).extend(shown)
    for one in results:
        for reason, details in one.examples.items():
            examples.setdefault(reason, []).extend(details)
    for task, why in plan["value_examples"].items():
        examples.setdefault(f"not fed: {task}", []).append(why)
    problems = Counter(reading["problems"])
    problems.update(converted.problems)
    return InstructSummary(
        out=converted.out,
        to=converted.to,
        rows=reading["rows"],
        rows_kept=reading["rows_kept"],
        candidates=plan["candidates"],
        made=sum(one.samples for one in results),
        samples=converted.samples,
        hours=converted.hours,
        tasks=by_task,
        capabilities=dict(sorted(capabilities.items())),
        titles={name: tasks.tasks[name].title for name in by_task},
        splits={name: dict(sorted(of_split.items())) for name, of_split in by_split.items()},
        forms=_summed(one.forms for one in results),
        templates=_summed(one.templates for one in results),
        answers=answers,
        refused=_summed(one.refused for one in results),
        voices=_voices(spoken),
        core_s={
            "speaking": round(sum(one.core_s.speaking for one in spoken), 1),
            "listening": round(sum(one.core_s.listening for one in spoken), 1),
        },
        not_fed=plan["not_fed"],
        texts_shared=plan["texts_shared"],
        leakage=plan["leakage"],
        hold_out=recipe.instruct.hold_out.model_dump(mode="json"),
        held_out=plan["held_out"],
        kept_apart=kept_apart(recipe.instruct),
        problems=dict(sorted(problems.items())),
        examples={name: shown[:MOST_EXAMPLES] for name, shown in sorted(examples.items())},
        notes={**reading["notes"], **converted.notes},
        groups=converted.groups,
        not_carried=converted.not_carried,
        layers=_by_first(_summed(one.layers for one in results)),
        parts_skipped=converted.skipped,
        blocks_skipped=sum(one.skipped for one in results),
    )


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return dict(sorted(total.items()))


def _by_first(counts: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Counts whose names have two parts, by the first and the second."""
    parted: dict[str, dict[str, int]] = {}
    for key, count in counts.items():
        first, _, second = key.partition("\t")
        parted.setdefault(first, {})[second] = count
    return parted


def _voices(spoken: Sequence[Spoken]) -> dict[str, dict[str, Any]]:
    together: dict[tuple[str, str], VoiceTally] = {}
    for one in spoken:
        for key, tally in one.tallies.items():
            total = together.setdefault(key, VoiceTally(licence=tally.licence))
            for name in ("lines", "rejected", "failed", "errors", "words", "seconds"):
                setattr(total, name, getattr(total, name) + getattr(tally, name))
    voices: dict[str, dict[str, Any]] = {}
    for (voice, language), tally in sorted(together.items()):
        stated = asdict(tally)
        voices.setdefault(voice, {})[language] = {**stated, "seconds": round(tally.seconds, 3)}
    return voices
