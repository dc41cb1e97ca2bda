"""How many samples each task gets: pure functions of what there is, of weights and of a total."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from llaso_data.errors import LLaSOError
from llaso_data.instruct.tasks import Tasks

Counts = npt.NDArray[np.int64]
Groups = list[tuple[float, list[int]]]
"""Weight, and the tasks by number, of each group that has a share."""

NATURAL, BALANCED = "natural", "balanced"


def groups_of(mix: str | Mapping[str, float], names: Sequence[str], tasks: Tasks) -> Groups:
    """The groups of tasks that a mix names.

    Args:
        mix: As a recipe has it, without ``natural``.
        names: Of the tasks, whose numbers are their places.
        tasks: With the capability of each.

    Returns:
        Each task of ``balanced`` is a group. Of weights, each name is one: a task, or the tasks of a capability that
        are not named themselves.

    Raises:
        LLaSOError: A name is neither a task nor a capability; a weight is no positive number.
    """
    if mix == BALANCED:
        return [(1.0, [number]) for number in range(len(names))]
    assert isinstance(mix, Mapping)
    capabilities = {build.capability for build in tasks.build.values()}
    unknown = [name for name in mix if name not in tasks.build and name not in capabilities]
    if unknown:
        known = ", ".join([*sorted(capabilities), *tasks.build])
        raise LLaSOError(f"instruct.mix: {unknown[0]!r} is no task and no group of tasks; there are {known}")
    if any(not 0 <= weight < float("inf") for weight in mix.values()) or not sum(mix.values()):
        raise LLaSOError("instruct.mix: weights are numbers of at least 0, and one of them is more")
    groups: Groups = []
    for name, weight in mix.items():
        if name in tasks.build:
            members = [number for number, task in enumerate(names) if task == name]
        else:
            members = [
                number for number, task in enumerate(names) if tasks.build[task].capability == name and task not in mix
            ]
        if weight > 0:
            groups.append((float(weight), members))
    return groups


def allot(available: Counts, groups: Groups | None, total: int | None) -> Counts:
    """How many samples each task gets.

    Args:
        available: (tasks,) how many it can have.
        groups: Weighted groups; None: natural.
        total: How many samples all get together; None: as many as the weights allow.

    Returns:
        (tasks,) at most what is available. Of a group, tasks get as many each as far as they can. With a total, groups
        that cannot fill their share leave it to the others.
    """
    if groups is None:
        if total is None or total >= available.sum():
            return np.array(available)
        return _rounded(available * (total / available.sum()), total, available)
    sizes = np.array([available[members].sum() for _, members in groups], np.int64)
    weights = np.array([weight for weight, _ in groups])
    if total is None:
        fed = sizes > 0
        level = float(np.min(sizes[fed] / weights[fed], initial=np.inf)) if fed.any() else 0.0
        wanted = np.where(fed, np.floor(weights * level + 1e-9), 0).astype(np.int64)
    else:
        wanted = filled(sizes, weights, total)
    counts = np.zeros_like(available)
    for (_, members), count in zip(groups, wanted, strict=True):
        counts[members] = filled(available[members], np.ones(len(members)), int(count))
    return counts


def filled(capacities: Counts, weights: npt.NDArray[np.float64], total: int) -> Counts:
    """Shares of a total in proportion to weights; what is over for the full ones goes to the others.

    Args:
        capacities: (n,) the most that each can get.
        weights: (n,) positive.
        total: To be shared; where the capacities are less, all of them are filled.

    Returns:
        (n,) that sum to the total.
    """
    if total >= capacities.sum():
        return np.array(capacities)
    shares = np.zeros(len(capacities))
    is_open = np.ones(len(capacities), bool)
    left = float(total)
    while True:
        level = left / weights[is_open].sum()
        is_full = is_open & (capacities <= weights * level)
        if not is_full.any():
            shares[is_open] = weights[is_open] * level
            return _rounded(shares, total, capacities)
        shares[is_full] = capacities[is_full]
        left -= float(capacities[is_full].sum())
        is_open &= ~is_full


def _rounded(shares: npt.NDArray[np.float64], total: int, capacities: Counts) -> Counts:
    """Whole numbers that sum to the total, by the largest remainders."""
    counts = np.minimum(np.floor(shares + 1e-9).astype(np.int64), capacities)
    order = np.argsort(-(shares - counts), kind="stable")
    for number in order[counts[order] < capacities[order]][: total - int(counts.sum())]:
        counts[number] += 1
    return counts
