"""Blocks: the unit of work, of commit and of Ray scheduling.

Inputs of one container, in path order, are cut where a hash of the input's id falls below a threshold that grows
with the input's size. Such a border depends on nothing but its own input, so adding a file changes the block that it
falls into, or cuts it in two, and no other. Only where ``max_clips`` must add borders (with the defaults in one block
of fifty) may a new file move the nearest of those too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from llaso_data.recipe import Blocks
from llaso_data.records import FORMAT_VERSION, Input, canonical, digest


@dataclass(frozen=True, slots=True)
class PlannedBlock:
    """A block before it is observed. ``name`` is the digest that its file is stored under."""

    name: str
    inputs: tuple[Input, ...]


def plan(inputs: Iterable[Input], settings: Blocks, observing: str) -> Iterator[PlannedBlock]:
    """Cut a stream of inputs, sorted by path within each container, into blocks.

    ``observing`` is the digest of everything besides the inputs that decides what is observed: the observing part of
    the recipe and the model's weights.
    """
    for _, group in groupby(inputs, key=lambda item: item.container):
        run: list[Input] = []
        for item in group:
            run.append(item)
            if ends_block(item, settings):
                yield from _blocks(run, settings, observing)
                run = []
        if run:
            yield from _blocks(run, settings, observing)


def ends_block(item: Input, settings: Blocks) -> bool:
    """True with probability 1 / ``clips``, or the input's share of ``megabytes`` where that is more, by its hash."""
    weight = max(1.0 / settings.clips, item.size_bytes / (settings.megabytes * 1e6))
    return _hash(item) < min(weight, 1.0) * 2.0**64


def block_name(inputs: Sequence[Input], observing: str) -> str:
    """What decides a block's bytes: its inputs with their versions, the observing part, the format's version.

    A record counts by the names and values of its fields that say something: a field that a later version adds, and
    that is None, renames no block.
    """
    return digest(
        FORMAT_VERSION, observing, *(part for item in inputs for part in (canonical(item.utterance), item.version))
    )


def _blocks(run: list[Input], settings: Blocks, observing: str) -> Iterator[PlannedBlock]:
    """A run that is still too long is cut again after its smallest hash: these borders come from the content too."""
    hashes = [_hash(item) for item in run]
    pending = [(0, len(run))]
    while pending:
        first, last = pending.pop()
        if last - first <= settings.max_clips:
            block = tuple(run[first:last])
            yield PlannedBlock(block_name(block, observing), block)
            continue
        # The last input may not end the first half: nothing would be left for the second.
        middle = min(range(first, last - 1), key=hashes.__getitem__) + 1
        pending += [(middle, last), (first, middle)]


def _hash(item: Input) -> int:
    return int(item.utterance.id[:16], 16)
