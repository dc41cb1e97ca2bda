"""Rows of samples: one for each utterance, with what all samples of a source say of it."""

from __future__ import annotations

import heapq
import pickle
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby, pairwise
from operator import attrgetter
from typing import IO, Any

from llaso_data.instruct.fields import fields_of
from llaso_data.instruct.row import InstructRow
from llaso_data.instruct.tasks import Tasks
from llaso_data.instruct.tasks.build import AUDIO
from llaso_data.pipeline.convert.samples import Converted
from llaso_data.pipeline.instruct.sample_reader import SampleReader
from llaso_data.records import Failure

RUN_ROWS = 20_000
"""Rows that are sorted in memory at once."""
_LENGTH_BYTES = 4

_by_id = attrgetter("id")


def sample_rows(
    samples: Iterable[Converted | Failure], corpus: str, tasks: Tasks, notes: Counter[str], run_rows: int = RUN_ROWS
) -> Iterator[InstructRow | Failure]:
    """The rows of samples: one for each utterance, with what all samples say of it; one for each sample of texts.

    Args:
        samples: Of a source.
        corpus: Its name, a part of the ids of texts.
        tasks: Whose fields are labels, and that say what an answer is.
        notes: Counts what is passed over.
        run_rows: The most rows that are sorted in memory at once.

    Returns:
        Failures as they come, then the rows in the order of their ids. Texts that come twice are two rows.
    """
    reader = SampleReader(corpus, tasks, notes)
    rows: list[InstructRow] = []
    with ExitStack() as stack:
        file: IO[bytes] | None = None
        starts = [0]
        for one in samples:
            for row in [one] if isinstance(one, Failure) else reader.rows(one):
                if isinstance(row, Failure):
                    yield row
                    continue
                rows.append(row)
                if len(rows) == run_rows:
                    file = file or stack.enter_context(tempfile.TemporaryFile(prefix="llaso-rows-"))
                    _write(file, rows)
                    starts.append(file.tell())
                    rows = []
        runs = [_read(file, start, end) for start, end in pairwise(starts)] if file is not None else []
        ordered = heapq.merge(*runs, sorted(rows, key=_by_id), key=_by_id)
        for _, same in groupby(ordered, key=_by_id):
            yield from _together(list(same))


def _write(file: IO[bytes], rows: list[InstructRow]) -> None:
    for row in sorted(rows, key=_by_id):
        data = pickle.dumps(row, pickle.HIGHEST_PROTOCOL)
        file.write(len(data).to_bytes(_LENGTH_BYTES, "little") + data)


def _read(file: IO[bytes], start: int, end: int) -> Iterator[InstructRow]:
    """Rows that this process wrote, into a file that has no name; other runs are read in between."""
    while start < end:
        file.seek(start)
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        row: InstructRow = pickle.loads(file.read(length))
        start += _LENGTH_BYTES + length
        yield row


def _together(rows: list[InstructRow]) -> list[InstructRow]:
    """One row of those of an utterance: the first sample that says something counts. Texts stay as they are."""
    first = rows[0]
    if len(rows) == 1 or first.audio is None:
        return rows
    labels: dict[str, Any] = {}
    for row in reversed(rows):
        if row.audio is not None:
            labels.update((name, value) for name, value in fields_of(row.audio).items() if name != AUDIO)
        labels.update(row.labels)
    known = fields_of(first.audio)
    labels = {name: value for name, value in labels.items() if name in first.labels or name not in known}
    splits = {row.split for row in rows if row.split is not None}
    return [replace(first, labels=labels, split=next(iter(splits)) if len(splits) == 1 else None)]
