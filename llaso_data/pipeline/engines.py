"""The two engines behind one name: ``ray`` and ``local`` give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from llaso_data.pipeline.blocks import PlannedBlock
from llaso_data.pipeline.observe import BlockResult
from llaso_data.recipe import Observe, Run

T = TypeVar("T")
R = TypeVar("R")


def observe(blocks: Iterable[PlannedBlock], settings: Observe, run: Run, out: str) -> Iterator[BlockResult]:
    """Observe blocks with the engine that ``run`` names; every block's part is committed when its result comes."""
    if run.engine == "local":
        from llaso_data.pipeline import local

        return local.observe(blocks, settings, run, out)
    from llaso_data.pipeline import ray

    return ray.observe(blocks, settings, run, out)


def each(function: Callable[[T], R], tasks: Iterable[T], run: Run) -> Iterator[R]:
    """``function`` of every task, with the engine that ``run`` names; the order of the results is not fixed."""
    if run.engine == "local":
        from llaso_data.pipeline import local

        return local.each(function, tasks, run)
    from llaso_data.pipeline import ray

    return ray.each(function, tasks, run)
