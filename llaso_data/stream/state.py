"""Where a stream stands, as a small dictionary that all ranks have alike, and such a dictionary checked whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums
from llaso_data.stream.planner import Planner, StreamPosition, frozen

STATE_VERSION = 2
_READ = (1, 2)  # 1 had the bad samples that one of the ranks met, too

Changes = dict[int, dict[str, float]]
"""Weights of sources by the step from which they hold, beside those of the mixture."""


@dataclass(frozen=True, slots=True)
class RankPosition:
    """Where a rank stands: the next step, and how many of its micro-batches of it are delivered."""

    cursor: StreamPosition = field(default_factory=StreamPosition)
    delivered: int = 0


def state_of(plan: Planner, position: RankPosition, changes: Changes, world_size: int) -> dict[str, Any]:
    """The state of a stream: numbers and text only, as JSON has them.

    Args:
        plan: What is streamed.
        position: Where a rank stands.
        changes: Weights that were set while it ran.
        world_size: The number of ranks.

    Returns:
        Under 1 KB, with a checksum; the same on all ranks between two steps.
    """
    cursor = position.cursor
    state = {
        "version": STATE_VERSION,
        "plan": dict(plan.settings),
        "step": cursor.step,
        "window": cursor.window,
        "offset": cursor.offset,
        "delivered": position.delivered,
        "world_size": world_size,
        "phases": [first for first, _ in cursor.phases],  # whose weights the mixture or "changes" have
        "changes": {str(step): dict(weights) for step, weights in changes.items()},
    }
    return checksums.sealed(state)


def opened(state: Mapping[str, Any], plan: Planner, world_size: int) -> tuple[RankPosition, Changes]:
    """Reads a state, and compares every value with the plan.

    Args:
        state: What :func:`state_of` gave.
        plan: What is streamed now.
        world_size: The number of ranks now.

    Returns:
        The position and the changes of weights.

    Raises:
        LLaSOError: It is no state, or one of another stream.
    """
    if not isinstance(state, Mapping):
        raise _none(f"it is of type {type(state).__name__}")
    if state.get("version") not in _READ or isinstance(state["version"], bool):
        raise LLaSOError(f"the stream's state has version {state.get('version')}, not {' or '.join(map(str, _READ))}")
    _check_plan(state.get("plan"), plan)
    step, window, offset, delivered, ranks = (
        _count(state, name) for name in ("step", "window", "offset", "delivered", "world_size")
    )
    if ranks < 1 or plan.micro_batches % ranks:
        raise _none(f"{plan.micro_batches} micro-batches cannot be shared by its world_size of {ranks}")
    if delivered >= plan.micro_batches // ranks:
        raise _none(f"delivered is {delivered}, and a rank has {plan.micro_batches // ranks} micro-batches of a step")
    if delivered and ranks != world_size:
        raise LLaSOError(
            f"the state was saved within step {step} by {ranks} ranks; only {ranks} ranks can continue from it. "
            "For another number of ranks, save the state between two steps"
        )
    changes = _changes(state.get("changes"), plan)
    cursor = StreamPosition(step, window, offset, _phases(state.get("phases"), step, window, plan, changes))
    if not window + offset <= step <= (window + 1) * plan.most_steps:
        raise _none(f"step {step} cannot lie {offset} steps into window {window}")
    if offset and offset >= (steps := plan.window(cursor).steps):
        raise _none(f"offset is {offset}, and window {window} has {steps} steps")
    checksums.opened(state, "the stream's state", "; go on from another one")  # what can be, and was not saved
    return RankPosition(cursor, delivered), changes


def check_weights(weights: Any, plan: Planner) -> dict[str, float]:
    """Weights of sources that the plan has; raises LLaSOError where one cannot be."""
    if not isinstance(weights, Mapping):
        raise LLaSOError(f"weights are numbers by the names of sources, not {weights!r}")
    plan.check_names(weights)
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise LLaSOError(f"{name}: a weight is a number from 0, not {weight!r}")
    return dict(weights)


def _check_plan(stated: Any, plan: Planner) -> None:
    if not isinstance(stated, Mapping):
        raise _none("it has no plan")
    names = [*plan.settings, *sorted(set(stated) - set(plan.settings))]
    other = [name for name in names if name not in stated or stated[name] != plan.settings.get(name)]
    if other:
        grown = "; where shards were added since, name the `generation` of the source in the mixture"
        raise LLaSOError(
            f"the state is of another stream: {', '.join(map(str, other))} differ"
            + (grown if other == ["data"] else "")
        )


def _changes(stated: Any, plan: Planner) -> Changes:
    if not isinstance(stated, Mapping):
        raise _none("it has no changes of weights")
    for step in stated:
        if not (isinstance(step, str) and step.isascii() and step.isdigit()):
            raise _none(f"weights change at a step, not at {step!r}")
    return {int(step): check_weights(weights, plan) for step, weights in stated.items()}


def _phases(
    stated: Any, step: int, window: int, plan: Planner, changes: Changes
) -> tuple[tuple[int, tuple[tuple[str, float], ...]], ...]:
    """The changes of weights that were made before the step, each with the first window that it holds for."""
    if not isinstance(stated, list | tuple) or not all(_whole(first) for first in stated):
        raise _none("phases are numbers of windows")
    due = plan.due(changes)
    applied, later = due[: len(stated)], due[len(stated) :]
    if len(stated) > len(due) or any(at >= step for at, _ in applied) or any(at < step for at, _ in later):
        raise _none(f"{len(stated)} changes of weights were made before step {step}, and others were due")
    if list(stated) != sorted(stated) or (stated and stated[-1] > window):
        raise _none(f"weights changed at the windows {list(stated)}, and window {window} is next")
    return tuple((first, frozen(weights)) for first, (_, weights) in zip(stated, applied, strict=True))


def _count(state: Mapping[str, Any], name: str) -> int:
    value = state.get(name)
    if not _whole(value):
        raise _none(f"{name} is {value!r}, not a whole number from 0")
    return value


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _none(why: str) -> LLaSOError:
    return LLaSOError(f"this is no state of a stream: {why}")
