"""The sound of rows: each recording is heard once, by the workers of an engine, whichever rows have it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.row import InstructRow
from llaso_data.pipeline.hearing import HeardRecording, Recording, Workplace, hear_blocks, read_block
from llaso_data.pipeline.instruct.row_store import RowStore
from llaso_data.records import digest

_FILES_OF_A_BLOCK = 256  # on average
_MOST_OF_A_BLOCK = 512  # recordings; what is decoded of one file waits in memory


@dataclass(frozen=True, slots=True)
class HeardRows:
    """What was heard of rows: block files, and which of their recordings are whose.

    Attributes:
        place: Where the blocks are.
        names: Of the blocks.
        blocks: (recordings of rows,) int32, ascending: the number of the block of each.
        indices: (recordings of rows,) int32: its number in the block.
        rows: (recordings of rows,) int32: the row that has it.
    """

    place: Workplace
    names: tuple[str, ...]
    blocks: npt.NDArray[np.int32]
    indices: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int32]

    def recordings(self, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[HeardRecording, npt.NDArray[np.int32]]]:
        """Each recording of the rows that are wanted, and the numbers of those rows.

        Args:
            wanted: (rows,) which rows.

        Raises:
            DamagedError: A block file is damaged.
        """
        assert self.place.folder is not None
        chosen = np.flatnonzero(wanted[self.rows])
        if not len(chosen):
            return
        blocks, first = np.unique(self.blocks[chosen], return_index=True)
        for block, of_block in zip(blocks, np.split(chosen, first[1:]), strict=True):
            heard = read_block(self.place.folder, self.names[block])
            order = of_block[np.argsort(self.indices[of_block], kind="stable")]
            indices, starts = np.unique(self.indices[order], return_index=True)
            for index, places in zip(indices, np.split(order, starts[1:]), strict=True):
                yield heard[index], np.unique(self.rows[places])


def heard_rows(rows: RowStore, numbers: Iterable[int], place: Workplace) -> HeardRows:
    """Hear the recordings of rows: what they are about, those beside them, and those that are answers.

    Args:
        rows: All rows.
        numbers: Of those that matter.
        place: Where the work is done; it has a folder.

    Raises:
        LLaSOError: As :func:`~llaso_data.pipeline.hearing.hear_blocks`.
    """
    order, ends = _blocks(rows, numbers)
    whose, slots = order
    blocks, indices = np.zeros(len(whose), np.int32), np.zeros(len(whose), np.int32)

    def batches() -> Iterator[list[Recording]]:
        for block, (first, end) in enumerate(zip([0, *ends], ends, strict=False)):
            different: dict[Recording, int] = {}
            for entry in range(first, end):
                recording = recordings_of(rows[int(whose[entry])])[slots[entry]]
                indices[entry] = different.setdefault(recording, len(different))
                blocks[entry] = block
            yield list(different)

    names = {block.number: block.name for block in hear_blocks(batches(), place, len(ends))}
    return HeardRows(place, tuple(names[number] for number in range(len(ends))), blocks, indices, whose)


def recordings_of(row: InstructRow) -> list[Recording]:
    """The recordings of a row that can be heard."""
    utterances = (row.audio, row.second, row.target)
    return [Recording.of(one, row.audio_version) for one in utterances if one is not None and one.failure is None]


def _blocks(
    rows: RowStore, numbers: Iterable[int]
) -> tuple[tuple[npt.NDArray[np.int32], npt.NDArray[np.int8]], list[int]]:
    """Which recordings are heard together.

    A million recordings take 60 MB. Blocks end where the name of a file says so: rows that come or go change the
    blocks beside them, and no others are heard again.

    Returns:
        (recordings,) the row of each and its number in the row, block by block, files in the order in which they come
        first; and where each block ends.
    """
    files, whose, slots = array("Q"), array("i"), array("b")
    for number in numbers:
        for slot, one in enumerate(recordings_of(rows[number])):
            files.append(int(digest(*one.place[:2], one.as_mixed, length=16), 16))
            whose.append(number)
            slots.append(slot)
    names, firsts, inverse = np.unique(np.asarray(files), return_index=True, return_inverse=True)
    order = np.argsort(firsts[inverse], kind="stable")
    counts = np.bincount(inverse, minlength=len(names))
    ends: list[int] = []
    start = end = 0
    for file in np.argsort(firsts):
        count = int(counts[file])
        if end > start and (int(names[file]) % _FILES_OF_A_BLOCK == 0 or end - start + count > _MOST_OF_A_BLOCK):
            ends.append(end)
            start = end
        end += count
        while end - start > _MOST_OF_A_BLOCK:
            start += _MOST_OF_A_BLOCK
            ends.append(start)
    if end > start:
        ends.append(end)
    return (np.asarray(whose, np.int32)[order], np.asarray(slots, np.int8)[order]), ends
