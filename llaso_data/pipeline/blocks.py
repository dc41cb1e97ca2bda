"""Blocks: the unit of work, of commit and of Ray scheduling.

The inputs of one container, in path order, are cut where a hash of the input's id falls below a threshold that grows
with the input's size (content-defined chunking). Such a split point depends on its own input alone. A new file
therefore changes only the block that it falls into, or cuts it in two. Where ``max_clips`` adds split points, a new
file may also move the nearest of those.
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
    """Cuts a stream of inputs into blocks.

    Args:
        inputs: Sorted by path within each container; the inputs of a container are neighbours.
        settings: Clips and megabytes per block.
        observing: Digest of everything besides the inputs that decides what is observed: the observing part of the
            recipe and the models' weights.

    Returns:
        The blocks, in the order of their inputs. No block crosses containers.
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
    """The digest of what decides a block's bytes: its inputs with their versions, ``observing``, the format's version.

    Of a record only fields that are not None count, by name and value. So a field that a later version adds renames no
    block where it is None.
    """
    return digest(
        FORMAT_VERSION, observing, *(part for item in inputs for part in (canonical(item.utterance), item.version))
    )


def _blocks(run: list[Input], settings: Blocks, observing: str) -> Iterator[PlannedBlock]:
    """Cuts a run that is longer than ``max_clips`` again, after its smallest hash: content decides these cuts too."""
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
