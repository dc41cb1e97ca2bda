"""From rows to the items of blocks: which candidates are chosen, and what each is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.compose import Asking
from llaso_data.instruct.tasks.build import SECOND_TEXT
from llaso_data.pipeline.instruct import eval_plan, pairs, tasks
from llaso_data.pipeline.instruct.blocks import BlockSettings, Item
from llaso_data.pipeline.instruct.candidates import PAIRED, Candidates, is_free
from llaso_data.pipeline.instruct.plan import FoundLeaks, Plan, planned, split_up
from llaso_data.pipeline.instruct.row_store import RowStore
from llaso_data.pipeline.instruct.speech import variation_of
from llaso_data.pipeline.instruct.test_set import TestSet
from llaso_data.recipe import Recipe
from llaso_data.records import SPLITS, Utterance

Leaks = Callable[[npt.NDArray[np.int8], npt.NDArray[np.bool_]], FoundLeaks | None]
"""The search for leaks, of (rows,) the splits and (rows,) whether a row's texts are compared."""


def plan_of(
    recipe: Recipe, own: str, names: tuple[str, ...], candidates: Candidates, rows: RowStore, leaks: Leaks | None
) -> Plan:
    """Choose among what the rows can feed: training data, or a test set where the recipe says so.

    Args:
        recipe: What is wanted.
        own: The user's tasks.
        names: Of the tasks.
        candidates: Of the scan, each once.
        rows: All rows.
        leaks: The search for leaks; None: nobody looks.
    """
    instruct = recipe.instruct
    candidates = candidates.times(1 if instruct.eval else instruct.turns)
    candidates, split = split_up(candidates, rows, recipe, own)
    free = np.array([is_free(one) for one in tasks.renderers_of(own, names, instruct.hold_out.templates)])
    text_counts = np.zeros(len(split), bool)
    text_counts[candidates.row[free[candidates.task]]] = True
    found = None if leaks is None else leaks(split, text_counts)
    plan = planned(recipe, own, candidates, split, free, found)
    if instruct.eval is None:
        return plan
    facts = eval_plan.facts_of(rows, instruct.hold_out)
    return eval_plan.planned(plan, facts, recipe, tasks.tasks_of(own))


def settings_of_blocks(
    recipe: Recipe,
    own: str,
    names: tuple[str, ...],
    asking: Asking,
    *,
    root: str = "",
    work: str = "",
    clips: str = "",
    dataset: str = "",
    lock: str | None = None,
) -> BlockSettings:
    """What all blocks of a run share; a preview, which writes nothing, has no folders."""
    instruct, voices = recipe.instruct, recipe.voices
    return BlockSettings(
        root=root,
        work=work,
        clips=clips,
        dataset=dataset,
        tasks=own,
        names=names,
        without=instruct.hold_out.templates,
        asking=asking,
        takes=voices.takes,
        variation=variation_of(voices),
        pause_s=instruct.pause_s,
        lock=lock,
        test=None if instruct.eval is None else TestSet.of(instruct, tasks.tasks_of(own), names),
    )


def item_of(rows: RowStore, plan: Plan, candidate: int, is_test: bool) -> Item:
    """What a candidate's sample is made of.

    Args:
        rows: All rows.
        plan: Of :func:`plan_of`.
        candidate: Its number.
        is_test: Whether a test set is built.
    """
    found = plan.candidates
    number = int(found.row[candidate])
    row = rows[number]
    if (other := int(plan.other[candidate])) >= 0:
        label = pairs.SAME if plan.same[candidate] else pairs.DIFFERENT
        beside = rows[other]
        said = beside.fields().get("text")
        row = replace(row, second=beside.audio, labels={**row.labels, PAIRED: label, SECOND_TEXT: said})
    split = int(plan.splits[number])
    return Item(
        row,
        int(found.task[candidate]),
        int(found.modalities[candidate]),
        int(found.turn[candidate]),
        row.split if split < 0 else SPLITS[split],
        _babble(rows, plan, candidate) if is_test else (),
    )


def _babble(rows: RowStore, plan: Plan, candidate: int) -> tuple[Utterance, ...]:
    numbers = eval_plan.babble_rows(plan, candidate)
    return tuple(audio for number in numbers if (audio := rows[number].audio) is not None)
