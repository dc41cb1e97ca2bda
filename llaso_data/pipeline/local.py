"""The engine ``local``: everything in this process, one block after the other. For debugging and small data.

Shards and conversions may be written by several processes of this machine.

While a block is observed, a thread decodes the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from llaso_data.pipeline import process_pool
from llaso_data.recipe import Observe, Run

if TYPE_CHECKING:  # else conversions would import what only observing needs
    from llaso_data.pipeline.blocks import PlannedBlock
    from llaso_data.pipeline.observe import BlockResult, LoadedBlock

T = TypeVar("T")
R = TypeVar("R")


def observe(blocks: Iterable[PlannedBlock], settings: Observe, run: Run, out: str) -> Iterator[BlockResult]:
    """Observes and commits every block, in order; the arguments are those of :func:`engines.observe`.

    The models are loaded when the first block comes.
    """
    from llaso_data.pipeline.observe import Observer, load_block

    observer: Observer | None = None
    loading: Future[LoadedBlock] | None = None
    with ThreadPoolExecutor(1) as loader:
        for block in blocks:
            observer = observer or Observer(settings, run, out)
            before, loading = loading, loader.submit(load_block, block, settings, run.threads)
            if before is not None:
                yield observer(before.result())
        if observer is not None and loading is not None:
            yield observer(loading.result())


def map_unordered(function: Callable[[T], R], tasks: Iterable[T], run: Run) -> Iterator[R]:
    """Applies ``function`` to every task: in this process, in order, or in ``run.num_workers`` processes."""
    workers = run.num_workers or 1
    yield from map(function, tasks) if workers == 1 else process_pool.map_unordered(function, tasks, workers)
