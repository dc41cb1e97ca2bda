"""The jobs of the engine ``ray``: which are to be done, tried again, or set aside because workers die on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from llaso_data.errors import LLaSOError

T = TypeVar("T")

MAX_WORKER_DEATHS = 3
"""Workers that may die on one block (or shard) before the block counts as the cause."""

MAX_NODE_LOSSES = 20
"""Times that one block may be lost with its node. The block is rarely the cause."""

MAX_FAILED_JOBS = 10
"""Blocks that are set aside before the run ends early: so many are no accident."""


@dataclass
class Job(Generic[T]):
    """A block (or task), how many workers died on it, and how often its node was lost."""

    item: T
    deaths: int = 0
    losses: int = 0


class JobQueue(Generic[T]):
    """The jobs that are to be done: those to retry first, then the next of the iterator."""

    def __init__(self, items: Iterator[T], kind: str, describe: Callable[[T], str]) -> None:
        self._items = items
        self._kind = kind
        self._describe = describe
        self._retries: deque[Job[T]] = deque()
        self._failed_jobs: list[Job[T]] = []

    def take(self) -> Job[T] | None:
        """The next job; None where none is left."""
        if self._retries:
            return self._retries.popleft()
        item = next(self._items, None)
        return None if item is None else Job(item)

    def retry(self, job: Job[T], error: Exception, node_died: bool = False) -> None:
        """Queues a job again whose worker died or lost its input; sets it aside where it has no tries left."""
        if node_died or not _is_worker_death(error):
            job.losses += 1
        else:
            job.deaths += 1
        if job.deaths < MAX_WORKER_DEATHS and job.losses < MAX_NODE_LOSSES:
            self._retries.append(job)
            return
        self._failed_jobs.append(job)
        if len(self._failed_jobs) >= MAX_FAILED_JOBS:
            self.check()

    def check(self) -> None:
        """Raises LLaSOError where a job was set aside."""
        if not self._failed_jobs:
            return
        many = f"{len(self._failed_jobs)} {self._kind}{'s' * (len(self._failed_jobs) > 1)}"
        shown = "".join(f"\n  {self._describe(job.item)}: {_history(job)}" for job in self._failed_jobs)
        raise LLaSOError(
            f"{many} could not be done, because every worker that took them died:{shown}\n"
            "Either memory runs out (pass a smaller --num-workers), or a decoder or stage crashes on one of the inputs "
            "(run it alone with --engine local, or take it out). Everything else is kept: the same command goes on "
            "from there"
        )


def loss_errors() -> tuple[type[Exception], ...]:
    """The errors of a call whose worker, node or argument is gone."""
    from ray import exceptions

    return (
        exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError,
        exceptions.ObjectLostError, exceptions.RayActorError,
    )  # fmt: skip


def _is_worker_death(error: Exception) -> bool:
    """True where the worker died and not its node."""
    from ray import exceptions

    return not isinstance(error, exceptions.NodeDiedError | exceptions.ObjectLostError)


def _history(job: Job[Any]) -> str:
    lost = f", and it was lost {job.losses} times with a node" if job.losses else ""
    return f"{job.deaths} workers died{lost}"
