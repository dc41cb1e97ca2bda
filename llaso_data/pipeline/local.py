"""The engine ``local``: everything in this process, one block after the other. For debugging and small data.

While Whisper listens to a block, the next one is decoded in a thread beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from llaso_data.pipeline.blocks import PlannedBlock
from llaso_data.pipeline.observe import BlockResult, LoadedBlock, Observer, load_block
from llaso_data.recipe import Observe, Run

T = TypeVar("T")
R = TypeVar("R")


def observe(blocks: Iterable[PlannedBlock], settings: Observe, run: Run, out: str) -> Iterator[BlockResult]:
    """Observe and commit every block, in order. The model is loaded when the first block comes."""
    observer: Observer | None = None
    loading: Future[LoadedBlock] | None = None
    with ThreadPoolExecutor(1) as loader:
        for block in blocks:
            observer = observer or Observer(settings, run, out)
            before, loading = loading, loader.submit(load_block, block, settings)
            if before is not None:
                yield observer(before.result())
        if observer is not None and loading is not None:
            yield observer(loading.result())


def each(function: Callable[[T], R], tasks: Iterable[T], run: Run) -> Iterator[R]:
    """``function`` of every task, in order."""
    yield from map(function, tasks)
