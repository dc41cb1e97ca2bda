"""What a test set would have: by layer, how many samples are asked for and found, and why there are fewer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.evaluation import SLOTS
from llaso_data.instruct.tasks import LAYERS, Layer, Tasks
from llaso_data.pipeline.instruct.eval_plan import EvalSelection, parts_of_tasks, quotas, slot_rows
from llaso_data.pipeline.instruct.plan import Plan
from llaso_data.recipe import Instruct
from llaso_data.records import SPLITS

Counts = npt.NDArray[np.int64]
_PARTS: dict[str, tuple[str, str]] = {
    "plain": ("rows of its tasks", "no row feeds them"),
    "unseen": ("what is held out", "no row, task or template is held out"),
    "noise": ("recordings in noise", "no row feeds a task of one recording"),
    "accent": ("speakers with an accent", "no row says an accent"),
    "pairs": ("instructions that cannot be followed, and their twins", "no row feeds these tasks"),
}
"""Of each part of a layer what it is, and why there is nothing of it."""
_NOTHING_HELD_OUT = "instruct.hold_out names nothing"
_NOTHING_TESTED = "no row is in the test split"


@dataclass(slots=True)
class LayerPreview:
    """What would become of one layer.

    Attributes:
        asked: Samples that the shares ask for; None where the recipe says no number.
        found: Samples that the rows give.
        tasks: By task, the samples asked for and found; of what is shared by all tasks no number is asked for.
        short: Why there are fewer than asked for, or other ones.
        examples: How it was asked (task, what it is for, modality), what goes in, and the answer, in words.
    """

    name: Layer
    asked: int | None
    found: int
    tasks: dict[str, tuple[int | None, int]] = field(default_factory=dict)
    short: list[str] = field(default_factory=list)
    examples: list[tuple[str, str, str]] = field(default_factory=list)


def layer_previews(plan: Plan, settings: Instruct, tasks: Tasks) -> list[LayerPreview]:
    """The layers of a plan, in their order, without examples.

    Args:
        plan: Of a test set.
        settings: The shares, and what is held out.
        tasks: All tasks.
    """
    selection, names = plan.selection, plan.candidates.names
    assert isinstance(selection, EvalSelection) and settings.eval is not None
    of_tasks: list[Layer] = [tasks.tasks[name].layer for name in names]
    found = selection.wanted.reshape(len(SLOTS), len(names))
    available = selection.available.reshape(len(SLOTS), len(names))
    asked: Counts | None = None
    if settings.samples is not None:
        can = parts_of_tasks(names, settings.hold_out, tasks)
        most = np.array([can[slot.part] for slot in SLOTS]).astype(np.int64) * settings.samples
        asked = quotas(most, settings.eval, names, of_tasks, settings.samples)
    previews = []
    for layer in LAYERS:
        own = np.array([one == layer for one in of_tasks], bool)
        counts = _of_layer(found, layer, own)
        wanted = None if asked is None else _of_layer(asked, layer, own)
        one = LayerPreview(layer, None if wanted is None else int(wanted.sum()), int(counts.sum()))
        states_tasks = wanted is not None and layer in ("basic", "tasks")
        for number, name in enumerate(names):
            number_asked = int(wanted[:, number].sum()) if wanted is not None and states_tasks else None
            if counts[:, number].sum() or number_asked:
                one.tasks[name] = (number_asked, int(counts[:, number].sum()))
        one.short = _shortages(layer, wanted, counts, _of_layer(available, layer, own), _nothing(plan, settings))
        previews.append(one)
    return previews


def _of_layer(table: Counts, layer: Layer, own: npt.NDArray[np.bool_]) -> Counts:
    """(slots, tasks) what of a table counts to a layer; the rest is 0. ``own`` are the layer's tasks."""
    kept = np.zeros_like(table)
    for number, slot in enumerate(SLOTS):
        if slot.layer == layer:
            kept[number] = table[number]
        elif slot.layer is None:
            kept[number] = table[number] * own
    return kept


def _nothing(plan: Plan, settings: Instruct) -> dict[str, str]:
    """Of each part of a layer why there is nothing of it."""
    why = {part: none for part, (_, none) in _PARTS.items()}
    if not any(settings.hold_out.model_dump().values()):
        why["unseen"] = _NOTHING_HELD_OUT
    if settings.split and not (plan.splits == SPLITS.index("test")).any():
        why = dict.fromkeys(why, _NOTHING_TESTED)
    return why


def _shortages(
    layer: Layer, asked: Counts | None, found: Counts, available: Counts, nothing: Mapping[str, str]
) -> list[str]:
    said = []
    for part in ("plain", "noise", "accent", "pairs"):
        rows = slot_rows(layer, part)
        name = "unseen" if part == "plain" and layer == "generalisation" else part
        if not rows or (part == "plain" and layer == "robustness"):
            continue
        has, gives = int(found[rows].sum()), int(available[rows].sum())
        wanted = gives if asked is None else int(asked[rows].sum())
        if has >= wanted and gives:
            continue
        if asked is not None and not wanted:
            continue
        number = "none" if asked is None else f"{has} of {wanted}"
        why = f"the rows give {gives}" if gives else nothing[name]
        said.append(f"{_PARTS[name][0]}: {number}, as {why}")
    return said
