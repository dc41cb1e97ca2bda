"""`--dry-run`: which tasks sources can feed, why not the others, and samples of each. Nothing is written or spoken."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.compose import Clip, Outline, SpokenText, modalities_in
from llaso_data.instruct.evaluation import SLOTS
from llaso_data.instruct.tasks import Tasks
from llaso_data.instruct.voices import SpeechError
from llaso_data.instruct.voices.speakable import spoken_text
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.pipeline.instruct import tasks
from llaso_data.pipeline.instruct.blocks import BlockSettings, outlined
from llaso_data.pipeline.instruct.counterpart import with_counterparts
from llaso_data.pipeline.instruct.eval_plan import EvalSelection
from llaso_data.pipeline.instruct.eval_preview import LayerPreview, layer_previews
from llaso_data.pipeline.instruct.items import item_of, plan_of, settings_of_blocks
from llaso_data.pipeline.instruct.plan import Plan
from llaso_data.pipeline.instruct.progress import Progress
from llaso_data.pipeline.instruct.reading import asking_of, read_rows
from llaso_data.pipeline.instruct.row_store import RowStore
from llaso_data.pipeline.instruct.run import converting
from llaso_data.pipeline.instruct.splits import empty_splits
from llaso_data.recipe import Recipe
from llaso_data.records import SPLITS

Numbers = npt.NDArray[np.int64]
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
        lacks_example: The first value that it cannot have, in words.
        modalities: How its rows may be asked.
        examples: Instruction, what goes in and the answer, in words.
    """

    name: str
    title: str
    rows: int = 0
    samples: dict[str, int] = field(default_factory=dict)
    lacks: dict[str, int] = field(default_factory=dict)
    lacks_example: str = ""
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
        not_asked: Why examples cannot be asked after all.
        texts_shared: Candidates that are left out because another split has their text.
        layers: Of a test set.
        rows_tested: Of a test set, the rows of the test split; None where there are no splits.
    """

    whole: bool
    rows: dict[str, int]
    tasks: list[TaskPreview]
    voiced: tuple[str, ...]
    problems: Problems
    notes: Counter[str]
    held_out: dict[str, int]
    unspeakable: Counter[str]
    not_asked: list[str] = field(default_factory=list)
    texts_shared: int = 0
    layers: list[LayerPreview] = field(default_factory=list)
    rows_tested: int | None = None


def preview(recipe: Recipe, whole: bool = False) -> InstructPreview:
    """Read the sources as a run would.

    Args:
        recipe: As for a run; ``out`` may be missing.
        whole: Read every row; else the first :data:`ROWS` of each source.

    Raises:
        LLaSOError: As a run.
    """
    recipe = with_counterparts(recipe.model_copy(update={"out": recipe.out or "-"}))
    own = tasks.carried(tasks.own_tasks(recipe.instruct.task_files))
    converting(recipe)
    all_tasks = tasks.tasks_of(own)
    names = tasks.chosen(recipe.instruct, all_tasks)
    asking = asking_of(recipe)
    with RowStore() as rows:
        reading = read_rows(recipe, own, names, asking, rows, Progress(), None if whole else ROWS)
        plan = plan_of(recipe, own, names, reading.scan.done(), rows, None)
        shown = _Examples(plan, rows, settings_of_blocks(recipe, own, names, asking))
        previews = [_task(all_tasks, number, plan) for number in range(len(names))]
        layers = [] if recipe.instruct.eval is None else layer_previews(plan, recipe.instruct, all_tasks)
        chosen = plan.selection.next()
        for number, task in enumerate(previews if not layers else []):
            task.examples = shown.of(chosen[plan.candidates.task[chosen] == number])
        for layer in layers:
            layer.examples = shown.of_layer(layer.name, chosen)
    previews.sort(key=lambda task: not task.rows)
    return InstructPreview(
        whole=whole,
        rows=reading.of_source,
        tasks=previews,
        voiced=tuple(asking.voiced),
        problems=reading.problems,
        notes=reading.notes + Counter(empty_splits(plan.splits, recipe.instruct)),
        held_out=plan.candidates.held_out,
        unspeakable=shown.unspeakable,
        not_asked=shown.not_asked,
        texts_shared=plan.texts_shared,
        layers=layers,
        rows_tested=_rows_tested(plan) if layers and recipe.instruct.split else None,
    )


class _Examples:
    """Samples of a plan in words, as a run would ask them; counts what would not be spoken, and what cannot be asked.

    A run puts others in the place of these.
    """

    def __init__(self, plan: Plan, rows: RowStore, settings: BlockSettings) -> None:
        self._plan, self._rows, self._settings = plan, rows, settings
        self.unspeakable, self.not_asked = Counter[str](), list[str]()

    def of(self, candidates: Numbers) -> list[tuple[str, str, str]]:
        """The first :data:`EXAMPLES` of these."""
        return [words for candidate in candidates[:EXAMPLES] if (words := self._words(int(candidate))) is not None]

    def of_layer(self, layer: str, chosen: Numbers) -> list[tuple[str, str, str]]:
        """Of each part of a layer, and there of each task, the first: :data:`EXAMPLES` in all."""
        found = self._plan.candidates
        layers = self._settings.test.layers if self._settings.test is not None else {}
        mine = [
            candidate
            for candidate in map(int, chosen)
            if (SLOTS[found.turn[candidate]].layer or layers[found.names[found.task[candidate]]]) == layer
        ]
        waiting: dict[tuple[int, int], list[int]] = {}
        for candidate in mine:
            waiting.setdefault((int(found.turn[candidate]), int(found.task[candidate])), []).append(candidate)
        # In turn: the first of each task in each part, then the second.
        picked = [one for in_turn in zip_longest(*waiting.values()) for one in in_turn if one is not None][:EXAMPLES]
        return self.of(np.array(picked, np.int64))

    def _words(self, candidate: int) -> tuple[str, str, str] | None:
        is_test = self._settings.test is not None
        made = outlined(item_of(self._rows, self._plan, candidate, is_test), self._settings)
        if isinstance(made, str):
            self.not_asked.append(made)
            return None
        self.unspeakable.update(_refusals(made))
        modality, prompt, answer = _shown(made)
        if is_test:
            what = " ".join(dict.fromkeys([made.tags["expected"], *made.tags["tags"]]))
            modality = f"{made.task}, {modality} ({what})"
        return modality, prompt, answer


def _rows_tested(plan: Plan) -> int:
    return int((plan.splits == SPLITS.index("test")).sum())


def _task(tasks: Tasks, number: int, plan: Plan) -> TaskPreview:
    candidates, selection = plan.candidates, plan.selection
    name = candidates.names[number]
    mine = candidates.task == number
    bits = int(np.bitwise_or.reduce(candidates.modalities[mine])) if mine.any() else 0
    wanted = selection.wanted.reshape(-1, len(candidates.names))[:, number]
    samples: Counter[str] = Counter()
    for place, count in enumerate(wanted):
        if isinstance(selection, EvalSelection):
            samples[SLOTS[place].layer or tasks.tasks[name].layer] += int(count)
        else:
            samples[("", *SPLITS)[place]] += int(count)
    return TaskPreview(
        name,
        tasks.tasks[name].title,
        rows=len(np.unique(candidates.row[mine])),
        samples={where: count for where, count in samples.items() if count},
        lacks=candidates.not_fed.get(name, {}),
        lacks_example=candidates.examples.get(name, ""),
        modalities=list[str](modalities_in(bits)),
    )


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
