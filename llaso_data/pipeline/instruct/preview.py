"""`--dry-run`: which tasks sources can feed, why not the others, and samples of each. Nothing is written or spoken."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from llaso_data.errors import LLaSOError
from llaso_data.formats.rows import head
from llaso_data.instruct.compose import Asking, Clip, Outline, SpokenText, asked_in_turn, modalities_in
from llaso_data.instruct.rendering import Renderer
from llaso_data.instruct.row import InstructRow
from llaso_data.instruct.tasks import Tasks
from llaso_data.instruct.voices import SpeechError
from llaso_data.instruct.voices.speakable import spoken_text
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.pipeline.instruct import splits, tasks
from llaso_data.pipeline.instruct.candidates import Scan, is_free
from llaso_data.pipeline.instruct.plan import Plan, planned
from llaso_data.pipeline.instruct.reading import asking_of
from llaso_data.pipeline.instruct.row_store import RowStore
from llaso_data.pipeline.instruct.rows import rows_of
from llaso_data.pipeline.instruct.run import converting
from llaso_data.recipe import Recipe
from llaso_data.records import SPLITS, Failure

ROWS = 2000
"""Rows of each source that are read where not all are asked for."""
EXAMPLES = 10


@dataclass(slots=True)
class TaskPreview:
    """What would become of one task.

    Attributes:
        rows: Rows that feed it.
        samples: That would be made, by split; "" where there are none.
        lacks: Why other rows do not feed it.
        modalities: How its rows may be asked.
        examples: Instruction, what goes in and the answer, in words.
    """

    name: str
    title: str
    rows: int = 0
    samples: dict[str, int] = field(default_factory=dict)
    lacks: dict[str, int] = field(default_factory=dict)
    modalities: list[str] = field(default_factory=list)
    examples: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class InstructPreview:
    """What would be built.

    Attributes:
        whole: Whether all rows were read.
        rows: By source, how many were read.
        tasks: Of the registry's, those that are fed first.
        unspeakable: Texts of the examples that would not be spoken, by reason.
    """

    whole: bool
    rows: dict[str, int]
    tasks: list[TaskPreview]
    voiced: tuple[str, ...]
    problems: Problems
    notes: Counter[str]
    held_out: dict[str, int]
    unspeakable: Counter[str]


def preview(recipe: Recipe, whole: bool = False) -> InstructPreview:
    """Read the sources as a run would.

    Args:
        recipe: As for a run; ``out`` may be missing.
        whole: Read every row; else the first :data:`ROWS` of each source.

    Raises:
        LLaSOError: As a run.
    """
    recipe = recipe.model_copy(update={"out": recipe.out or "-"})
    own = tasks.carried(tasks.own_tasks(recipe.instruct.task_files))
    converting(recipe)
    all_tasks = tasks.tasks_of(own)
    names = tasks.chosen(recipe.instruct, all_tasks)
    asking = asking_of(recipe)
    problems, notes, read = Problems(), Counter[str](), dict[str, int]()
    instruct = recipe.instruct
    renderers = tasks.renderers_of(own, names, instruct.hold_out.templates)
    scan = Scan(renderers, asking, instruct.hold_out)
    with RowStore() as rows:
        for spec in recipe.sources:
            read.setdefault(spec.path, 0)
            with head.only_first(None if whole else ROWS):
                for one in islice(rows_of(spec, all_tasks, notes), None if whole else ROWS):
                    read[spec.path] += 1
                    if isinstance(one, Failure):
                        problems.add(one)
                        continue
                    rows.add(one)
                    scan.add(one)
        candidates = scan.done().times(instruct.turns)
        split = splits.assign(candidates, instruct.split, instruct.by, instruct.given_splits)
        free = np.array([is_free(one) for one in renderers])
        plan = planned(recipe, own, candidates, split, free, None)
        shown = [_task(all_tasks, number, plan) for number in range(len(names))]
        unspeakable = Counter[str]()
        chosen = plan.selection.next()
        for number, task in enumerate(shown):
            for candidate in chosen[candidates.task[chosen] == number][:EXAMPLES]:
                row = rows[int(candidates.row[candidate])]
                bits, turn = int(candidates.modalities[candidate]), int(candidates.turn[candidate])
                made = _outline(row, renderers[number], bits, turn, asking)
                if made is not None:
                    task.examples.append(_shown(made))
                    unspeakable.update(_refusals(made))
    shown.sort(key=lambda task: not task.rows)
    return InstructPreview(whole, read, shown, tuple(asking.voiced), problems, notes, candidates.held_out, unspeakable)


def _task(tasks: Tasks, number: int, plan: Plan) -> TaskPreview:
    candidates = plan.candidates
    name = candidates.names[number]
    mine = candidates.task == number
    bits = int(np.bitwise_or.reduce(candidates.modalities[mine])) if mine.any() else 0
    wanted = plan.selection.wanted.reshape(-1, len(candidates.names))[:, number]
    return TaskPreview(
        name,
        tasks.tasks[name].title,
        rows=int((mine & (candidates.turn == 0)).sum()),
        samples={split: int(count) for split, count in zip(("", *SPLITS), wanted, strict=True) if count},
        lacks=candidates.not_fed.get(name, {}),
        modalities=list[str](modalities_in(bits)),
    )


def _outline(row: InstructRow, renderer: Renderer, bits: int, turn: int, asking: Asking) -> Outline | None:
    try:
        return asked_in_turn(renderer, row, modalities_in(bits), turn, asking)
    except LLaSOError:
        return None  # a pair, whose other half a run finds


def _shown(made: Outline) -> tuple[str, str, str]:
    def words(part: str | Clip) -> str:
        if isinstance(part, str):
            return part
        return " + ".join(
            f"(spoken, {piece.language}) {piece.text}" if isinstance(piece, SpokenText) else f"[{piece.source.uri}]"
            for piece in part.pieces
        )

    return made.modality, " | ".join(map(words, made.prompt)), words(made.answer)


def _refusals(made: Outline) -> list[str]:
    reasons = []
    for spoken in made.spoken:
        try:
            spoken_text(spoken.text, spoken.language)
        except SpeechError as error:
            reasons.append(error.reason)
    return reasons
