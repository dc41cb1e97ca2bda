"""The plan of a test set: every slot that a candidate can fill, and how many samples each slot and task gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.compose import bits_of
from llaso_data.instruct.evaluation import SLOTS, accent_of, turn_of, unseen_in
from llaso_data.instruct.rendering import templates_of
from llaso_data.instruct.tasks import LAYERS, Layer, Tasks
from llaso_data.io.prng import splitmix64
from llaso_data.pipeline.instruct import pairs
from llaso_data.pipeline.instruct.candidates import Candidates
from llaso_data.pipeline.instruct.mix import Counts, filled
from llaso_data.pipeline.instruct.plan import Plan
from llaso_data.pipeline.instruct.row_store import RowStore
from llaso_data.pipeline.instruct.selection import Selection
from llaso_data.recipe import EvalSet, HoldOut, Recipe
from llaso_data.records import SPLITS

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]
DEFAULT_WEIGHT = 100.0
"""Share of a task that a recipe names no share of: as many rows as the small sets of LLaSO-Eval have."""
_TEXT_AUDIO = bits_of(("text_audio",))
_BABBLERS = 4
_LOOKED_AT = 50  # rows, for those of other speakers
_GROUPS = ("plain", "noise", "accent", "pairs")


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What of each row decides the slots that it fills: (rows,) bool."""

    unseen: Flags
    accented: Flags


def facts_of(rows: RowStore, hold_out: HoldOut) -> RowFacts:
    """Look at all rows once more."""
    unseen, accented = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for number, row in enumerate(rows):
        language = row.language or (row.audio.language if row.audio else None)
        unseen[number] = bool(unseen_in(row.audio, language, hold_out))
        accented[number] = accent_of(row.audio) is not None
    return RowFacts(unseen, accented)


def planned(plan: Plan, facts: RowFacts, recipe: Recipe, tasks: Tasks) -> Plan:
    """The plan of a test set, of that of training data over the same rows.

    Args:
        plan: With all candidates, of which rows of the test split are taken where there are splits.
        facts: Of the rows.
        recipe: What is held out, the shares, the total.
        tasks: All tasks.
    """
    instruct = recipe.instruct
    assert instruct.eval is not None
    found = plan.candidates
    of, slot = slots_of(found, facts, instruct.hold_out, tasks)
    usable = plan.usable[of]
    if instruct.split:
        usable &= plan.splits[found.row[of]] == SPLITS.index("test")
    other, same = plan.other[of].copy(), plan.same[of].copy()
    is_pair = np.array([one.answerable is not None for one in SLOTS])[slot] & (plan.speaker[found.row[of]] != 0)
    of_pairs = np.flatnonzero(is_pair & usable)
    if len(of_pairs):
        with_known = replace(found, speaker=plan.speaker)
        of_rows = found.row[of[of_pairs]].astype(np.int64)
        other[of_pairs], same[of_pairs] = pairs.partners(with_known, plan.splits, of_rows, instruct.seed)
    expanded = replace(
        found,
        row=found.row[of],
        task=found.task[of],
        modalities=np.where(slot == _NOISE, _TEXT_AUDIO, found.modalities[of]).astype(np.uint8),
        made_pairs=found.made_pairs[of],
        turn=slot.astype(np.uint8),
    )
    # Both halves of a pair have the same draw, so that the same rows are chosen for both.
    turns = np.array([turn_of(number) for number in range(len(SLOTS))], np.uint64)[slot]
    draws = splitmix64(replace(expanded, turn=np.zeros(len(slot), np.uint8)).draws(instruct.seed) + turns)
    selection = EvalSelection(expanded, slot, usable, draws, instruct.eval, instruct.samples, tasks)
    return replace(plan, candidates=expanded, usable=usable, other=other, same=same, selection=selection)


_NOISE = next(number for number, one in enumerate(SLOTS) if one.part == "noise")


def slots_of(candidates: Candidates, facts: RowFacts, hold_out: HoldOut, tasks: Tasks) -> tuple[Numbers, Numbers]:
    """Every slot that each candidate can fill.

    Args:
        candidates: All of them, once each.
        facts: Of the rows.
        hold_out: What is held out.
        tasks: All tasks.

    Returns:
        (entries,) the candidate, and (entries,) the slot. A row or task that is held out fills no slot but that of what
        is unseen; a task of instructions that cannot be followed fills those of pairs, and no others.
    """
    of_task = {part: can[candidates.task] for part, can in parts_of_tasks(candidates.names, hold_out, tasks).items()}
    is_held_task = np.array([name in hold_out.tasks for name in candidates.names])[candidates.task]
    is_seen = ~facts.unseen[candidates.row]
    of_row: dict[str, Flags] = {
        "plain": is_seen,
        "unseen": ~is_seen | is_held_task,
        "unseen_template": is_seen,
        "noise": is_seen & ((candidates.modalities & _TEXT_AUDIO) != 0),
        "accent": is_seen & facts.accented[candidates.row],
        "refused": is_seen,
        "followed": is_seen,
    }
    fills = {part: of_task[part] & of_row[part] for part in of_row}
    of = [np.flatnonzero(fills[one.part]) for one in SLOTS]
    slot = np.repeat(np.arange(len(SLOTS)), [len(one) for one in of])
    return np.concatenate(of).astype(np.int64), slot.astype(np.int64)


def parts_of_tasks(names: Sequence[str], hold_out: HoldOut, tasks: Tasks) -> dict[str, Flags]:
    """Which tasks can be what of a layer at all, whatever rows there are: by part (tasks,) bool."""
    builds = [tasks.build[name] for name in names]
    is_pair = np.array([build.expects != "answer" for build in builds], bool)
    is_held = np.array([name in hold_out.tasks for name in names], bool)
    has_unseen_template = np.array([bool(held_templates(tasks, name, hold_out)) for name in names], bool)
    is_heard = np.array([build.input == "audio" and build.clips == 1 for build in builds], bool)
    is_asked = ~is_pair & ~is_held
    return {
        "plain": is_asked,
        "unseen": ~is_pair,
        "unseen_template": is_asked & has_unseen_template,
        "noise": is_asked & is_heard,
        "accent": is_asked,
        "refused": is_pair,
        "followed": is_pair,
    }


def held_templates(tasks: Tasks, name: str, hold_out: HoldOut) -> list[str]:
    """The templates of a task that are held out, by id."""
    prefixes = tuple(hold_out.templates)
    return [one.id for one in templates_of(tasks, name) if one.id.startswith(prefixes)] if prefixes else []


class EvalSelection(Selection):
    """Candidates of a test set by round, each slot and task with its quota."""

    def __init__(
        self,
        candidates: Candidates,
        slot: Numbers,
        usable: Flags,
        draws: npt.NDArray[np.uint64],
        settings: EvalSet,
        total: int | None,
        tasks: Tasks,
    ) -> None:
        """Count what there is. ``slot`` is that of each candidate, ``draws`` their order within a slot and task."""
        self._total, self._tasks = total, len(candidates.names)
        self._quotas = (settings, candidates.names, [tasks.tasks[name].layer for name in candidates.names])
        self.cell = slot * self._tasks + candidates.task
        cells = len(SLOTS) * self._tasks
        order = np.lexsort((np.arange(len(slot)), draws, self.cell))
        self._order = order[usable[order]]
        self.available = np.bincount(self.cell[self._order], minlength=cells).astype(np.int64)
        self.rows: Numbers = np.unique(candidates.row[usable & (slot == _NOISE)]).astype(np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.available)[:-1]])
        self._taken = np.zeros(cells, np.int64)
        self.failed = np.zeros(cells, np.int64)
        self.wanted = self._allotted(self.available)

    def _allotted(self, available: Counts) -> Counts:
        settings, names, layers = self._quotas
        return quotas(available.reshape(len(SLOTS), self._tasks), settings, names, layers, self._total).ravel()


def quotas(
    available: Counts, settings: EvalSet, names: Sequence[str], layers: Sequence[Layer], total: int | None
) -> Counts:
    """How many samples each slot and task gets.

    A total is shared by layers, a layer's share by what it is made of, and that by tasks. What one cannot give goes to
    its neighbours.

    Args:
        available: (slots, tasks) how many there can be.
        settings: The shares.
        names: Of the tasks.
        layers: Of the tasks.
        total: How many samples; None: as many as there are.

    Returns:
        (slots, tasks), at most what is available. Both halves of a pair get as many.
    """
    table = np.array(available)
    weights = np.array([settings.tasks.get(name, DEFAULT_WEIGHT) for name in names])
    groups = {layer: _groups(layer, table, layers) for layer in LAYERS}
    by_layer = [sum(int(one.sum()) for one in groups[layer].values()) for layer in LAYERS]
    wanted = sum(by_layer) if total is None else total
    shares = _filled(by_layer, [settings.layers.get(layer, 0.0) for layer in LAYERS], wanted)
    counts = np.zeros_like(table)
    for layer, share in zip(LAYERS, shares, strict=True):
        parts = groups[layer]
        of_parts = _whole_pairs([int(one.sum()) for one in parts.values()], _part_shares(layer, settings), int(share))
        for (part, capacity), count in zip(parts.items(), of_parts, strict=True):
            rows = slot_rows(layer, part)
            if part == "pairs":
                halves = _filled(capacity[0], np.ones(len(names)), int(count) // 2)
                counts[rows[0]] = counts[rows[1]] = halves
                continue
            flat = _filled(capacity.ravel(), np.tile(weights, len(capacity)), int(count))
            counts[rows] += flat.reshape(capacity.shape)
    return counts


def _groups(layer: Layer, table: Counts, layers: Sequence[Layer]) -> dict[str, Counts]:
    """What a layer is made of, each with (slots, tasks) of what there is."""
    own = np.array([one == layer for one in layers])
    groups: dict[str, Counts] = {}
    for part in _GROUPS:
        rows = slot_rows(layer, part)
        some = table[rows]
        if part == "plain" and layer in ("basic", "tasks"):
            some = some * own
        if part == "pairs":  # what both halves have
            some = np.repeat(some.min(axis=0, keepdims=True), 2, axis=0)
        groups[part] = some
    return groups


def slot_rows(layer: Layer, part: str) -> list[int]:
    """The slots of a part of a layer: ``plain``, ``noise``, ``accent`` or ``pairs``; empty where it has none such."""
    names: Mapping[str, tuple[str, ...]] = {
        "plain": ("plain",) if layer in ("basic", "tasks") else ("unseen", "unseen_template"),
        "noise": ("noise",),
        "accent": ("accent",),
        "pairs": ("refused", "followed"),
    }
    return [
        number
        for number, one in enumerate(SLOTS)
        if one.part in names[part] and one.layer in ((layer, None) if part == "plain" else (layer,))
    ]


def _part_shares(layer: Layer, settings: EvalSet) -> list[float]:
    """Shares of :data:`_GROUPS` within a layer."""
    if layer == "robustness":
        of = settings.robustness
        return [0.0, of.noise, of.accent, of.pairs]
    return [1.0 - settings.pairs, 0.0, 0.0, settings.pairs]


def _whole_pairs(capacities: Sequence[int], weights: Sequence[float], total: int) -> Counts:
    """Shares of :data:`_GROUPS`; half a pair goes to another part where one has room."""
    counts = _filled(capacities, weights, total)
    odd = int(counts[-1] % 2)
    counts[-1] -= odd
    for number in np.flatnonzero((counts[:-1] < np.asarray(capacities[:-1])) & (np.asarray(weights[:-1]) > 0))[:odd]:
        counts[number] += 1
    return counts


def _filled(
    capacities: Sequence[int] | Counts, weights: Sequence[float] | npt.NDArray[np.float64], total: int
) -> Counts:
    """:func:`~.mix.filled`, of whatever has a share."""
    sizes, shares = np.asarray(capacities, np.int64), np.asarray(weights, np.float64)
    has = (shares > 0) & (sizes > 0)
    counts = np.zeros(len(sizes), np.int64)
    if has.any():
        counts[has] = filled(sizes[has], shares[has], total)
    return counts


def babble_rows(plan: Plan, candidate: int) -> list[int]:
    """Rows whose recordings are the babble of a sample in noise, of other speakers; of any other sample none.

    Args:
        plan: Of :func:`planned`.
        candidate: Number of the sample's.
    """
    found, selection = plan.candidates, plan.selection
    assert isinstance(selection, EvalSelection)
    if int(found.turn[candidate]) != _NOISE:
        return []
    row, rows = int(found.row[candidate]), selection.rows
    start = int(splitmix64(found.ids[row : row + 1])[0] % np.uint64(len(rows)))
    near = [int(rows[(start + step) % len(rows)]) for step in range(min(len(rows), _LOOKED_AT))]
    others = [one for one in near if found.speaker[one] != found.speaker[row] or not found.speaker[one]]
    return [one for one in others if one != row][:_BABBLERS]
