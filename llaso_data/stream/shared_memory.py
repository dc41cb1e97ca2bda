"""Batches from a worker to the loader through memory that both have mapped, used again and again.

A batch is large for a pipe, and a fresh page of shared memory takes longer than what is written to it. So a
worker keeps the blocks that it wrote batches to, and the loader tells it when nobody looks at one any more.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llaso_data.stream.batch import Batch, Samples, StreamSample, new_samples, with_parts

_LEAST_BYTES = 1 << 20
_ROOM = 1.25  # of a new block to what it is made for: the next batch may be a little larger
_SPARE = 4  # blocks that a worker keeps beside those in use


@dataclass(frozen=True, slots=True)
class BatchHandle:
    """A batch without its sound, or without its samples' parts, which lie in a block. ``memory``: where it is new."""

    worker: int
    block: int
    memory: torch.Tensor | None
    dropped: tuple[int, ...]  # blocks that will not come again
    batch: Batch
    shape: tuple[int, ...] = ()  # of the sound
    sizes: tuple[dict[str, int], ...] = ()  # of each sample's parts


class Sender:
    """A worker's blocks. What comes back of them is in ``returned``."""

    def __init__(self, worker: int, returned: Any) -> None:
        self._worker = worker
        self._returned = returned
        self._blocks: dict[int, torch.Tensor] = {}
        self._free: list[int] = []
        self._known: set[int] = set()  # to the loader
        self._dropped: list[int] = []
        self._count = 0
        self._current: int | None = None

    def new(self, count: int) -> Samples:
        """Memory for the sound of the next batch; for none, any."""
        if not count:
            return new_samples(count)
        self._current = self._take(4 * count)
        return self._blocks[self._current][: 4 * count].numpy().view(np.float32)

    def handle(self, batch: Batch) -> BatchHandle | Batch:
        """The batch as it goes to the loader; its sound, if it has some, lies in what :meth:`new` gave."""
        block, self._current = self._current, None
        shape: tuple[int, ...] = ()
        sizes: tuple[dict[str, int], ...] = ()
        if batch.audio is not None:
            if block is None:
                return batch
            shape, bare = tuple(batch.audio.shape), replace(batch, audio=None)
        else:
            sizes = tuple({name: len(part) for name, part in sample.parts.items()} for sample in batch.samples)
            block = self._take(sum(sum(part_sizes.values()) for part_sizes in sizes))
            view, position = self._blocks[block].numpy(), 0
            for sample in batch.samples:
                for part in sample.parts.values():
                    view[position : position + len(part)] = np.frombuffer(part, np.uint8)
                    position += len(part)
            bare = replace(batch, samples=tuple(with_parts(sample, {}) for sample in batch.samples))
        memory = None if block in self._known else self._blocks[block]
        self._known.add(block)
        dropped, self._dropped = tuple(self._dropped), []
        return BatchHandle(self._worker, block, memory, dropped, bare, shape, sizes)

    def _take(self, size: int) -> int:
        """The smallest free block that is large enough, or a new one."""
        while not self._returned.empty():
            self._free.append(self._returned.get())
        self._free.sort(key=lambda block: len(self._blocks[block]))
        smallest = next((block for block in self._free if len(self._blocks[block]) >= size), None)
        if smallest is not None:
            self._free.remove(smallest)
            return smallest
        for block in self._free[: max(0, len(self._free) - _SPARE + 1)]:
            self._free.remove(block)
            del self._blocks[block]
            self._dropped.append(block)
        self._count += 1
        room = max(_LEAST_BYTES, round(size * _ROOM))
        self._blocks[self._count] = torch.empty(room, dtype=torch.uint8).share_memory_()
        return self._count


class Receiver:
    """The loader's end for all its workers: opens handles, and gives blocks back when nothing uses them any more."""

    def __init__(self, workers: int) -> None:
        keep_pages()
        self.returned = [get_context().SimpleQueue() for _ in range(workers)]
        self._blocks: dict[tuple[int, int], torch.Tensor] = {}
        self._unused: deque[tuple[int, int]] = deque()  # filled by finalizers, which must not wait for a lock

    def open(self, handle: BatchHandle) -> Batch:
        """The batch. Its sound stays in the block for as long as any tensor of it lives."""
        for block in handle.dropped:
            del self._blocks[handle.worker, block]
        key = (handle.worker, handle.block)
        if handle.memory is not None:
            self._blocks[key] = handle.memory
        memory, batch = self._blocks[key], handle.batch
        if not handle.shape:
            batch = replace(batch, samples=_with_bytes(batch.samples, handle.sizes, memory.numpy()))
            self._unused.append(key)
        else:
            lease = _MemoryLease(memory, handle.shape)
            weakref.finalize(lease, self._unused.append, key).atexit = False
            batch = replace(batch, audio=torch.from_numpy(np.asarray(lease)))
            del lease
        self.give_back()
        return batch

    def give_back(self) -> None:
        """Tell the workers which blocks are free; :meth:`open` does it, too."""
        while self._unused:
            worker, block = self._unused.popleft()
            self.returned[worker].put(block)


class _MemoryLease:
    """Kept alive by a float32 array in a block; when it is collected, the block is free."""

    def __init__(self, memory: torch.Tensor, shape: tuple[int, ...]) -> None:
        self._memory = memory
        self.__array_interface__ = {
            "version": 3,
            "data": (memory.data_ptr(), False),
            "shape": shape,
            "typestr": np.dtype(np.float32).str,
        }


def _with_bytes(
    samples: Sequence[StreamSample], sizes: Sequence[dict[str, int]], memory: npt.NDArray[np.uint8]
) -> tuple[StreamSample, ...]:
    position, filled = 0, []
    for sample, part_sizes in zip(samples, sizes, strict=True):
        parts = {}
        for name, size in part_sizes.items():
            parts[name] = memory[position : position + size].tobytes()
            position += size
        filled.append(with_parts(sample, parts))
    return tuple(filled)


def keep_pages() -> None:
    """Have glibc keep some tens of megabytes that this process frees, instead of fetching them anew for every batch.

    It keeps twice as much as the largest block that was freed so far, if that had at most 32 MiB.
    """
    bytes(31 << 20)  # never touched
