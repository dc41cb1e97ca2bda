"""Samples of conversations as rows: what a sample says of its utterance is a label of it."""

from __future__ import annotations

import heapq
import pickle
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import groupby, pairwise
from operator import attrgetter
from typing import IO, Any

from llaso_data.formats.rows.labels import label_value
from llaso_data.formats.rows.source_row import RowError
from llaso_data.formats.text_sets.exchanges import SEVERAL, asked
from llaso_data.instruct.fields import fields_of, label_fields
from llaso_data.instruct.row import InstructRow
from llaso_data.instruct.tasks import Tasks, folded
from llaso_data.instruct.tasks.build import AUDIO, Build
from llaso_data.pipeline.convert.samples import Converted
from llaso_data.records import Failure, Message, Sample, Utterance, canonical, digest
from llaso_data.shards.sound_spool import place_of

NOT_A_ROW = "not_a_row"
"""The reason of a sample of which no row can be made."""
RUN_ROWS = 20_000
"""Rows that are sorted in memory at once."""


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
        Failures as they come, then the rows in the order of their ids.
    """
    reader = _Reader(corpus, tasks, notes)
    rows: list[InstructRow] = []
    with tempfile.TemporaryFile(prefix="llaso-rows-") as file:
        starts = [0]
        for one in samples:
            for row in [one] if isinstance(one, Failure) else reader.rows(one):
                if isinstance(row, Failure):
                    yield row
                    continue
                rows.append(row)
                if len(rows) == run_rows:
                    _write(file, rows)
                    starts.append(file.tell())
                    rows = []
        runs = [_read(file, start, end) for start, end in pairwise(starts)]
        ordered = heapq.merge(*runs, sorted(rows, key=_by_id), key=_by_id)
        for _, same in groupby(ordered, key=_by_id):
            yield _together(list(same))


_by_id = attrgetter("id")


def _write(file: IO[bytes], rows: list[InstructRow]) -> None:
    file.seek(0, 2)
    for row in sorted(rows, key=_by_id):
        data = pickle.dumps(row, pickle.HIGHEST_PROTOCOL)
        file.write(len(data).to_bytes(4, "little") + data)


def _read(file: IO[bytes], start: int, end: int) -> Iterator[InstructRow]:
    """Rows that this process wrote, into a file that has no name."""
    while start < end:
        file.seek(start)
        length = int.from_bytes(file.read(4), "little")
        row: InstructRow = pickle.loads(file.read(length))
        start += 4 + length
        yield row


def _together(rows: list[InstructRow]) -> InstructRow:
    """One row of those of an utterance: the first that says a label counts."""
    first, *others = rows
    if not others:
        return first
    labels: dict[str, Any] = {}
    for row in reversed(rows):
        labels.update(row.labels)
    splits = {row.split for row in rows if row.split is not None}
    return replace(first, labels=labels, split=next(iter(splits)) if len(splits) == 1 else None)


class _Reader:
    """Reads samples by what tasks declare."""

    def __init__(self, corpus: str, tasks: Tasks, notes: Counter[str]) -> None:
        self._corpus, self._tasks, self._notes = corpus, tasks, notes
        self._labels = label_fields(tasks)
        self._build = lru_cache(maxsize=1024)(self._build_of)
        self._forms = lru_cache(maxsize=64)(tasks.forms_of)

    def _build_of(self, task: str) -> Build | None:
        if task in self._tasks.build:
            return self._tasks.build[task]
        known = self._tasks.set_of(task)
        return None if known is None else self._tasks.build.get(self._tasks.sets[known].task)

    def rows(self, one: Converted) -> list[InstructRow | Failure]:
        """The rows of a sample."""
        sample = one.sample
        where = one.where or (sample.audios[0].source.uri if sample.audios else "")
        provenance = sample.provenance
        if provenance is not None and provenance.voice is not None and sample.audios:
            return [_not_a_row(where, f"its audio was spoken by the voice {provenance.voice}")]
        try:
            if not sample.audios:
                return [self._of_texts(sample, where)]
            labels = self._kept(sample)
            if len(sample.audios) == 1:
                labels |= self._answered(sample)
        except RowError as error:
            return [_not_a_row(where, str(error))]
        versions = one.version.split(" ") if len(one.version.split(" ")) == len(sample.audios) else None
        found: list[InstructRow | Failure] = []
        for number, utterance in enumerate(_placed(one)):
            if utterance.failure is not None:
                found.append(utterance.failure)
                continue
            if not labels and not fields_of(utterance).keys() - {AUDIO, "language"}:
                found.append(_not_a_row(where, f"nothing is known of its audio that the task {sample.task} says"))
                continue
            found.append(
                InstructRow(
                    id=utterance.id,
                    labels=labels if len(sample.audios) == 1 else {},
                    audio=utterance,
                    audio_version=one.version if versions is None else versions[number],
                    language=utterance.language or sample.language,
                    split=sample.split,
                    where=where,
                    provenance=provenance,
                )
            )
        return found

    def _kept(self, sample: Sample) -> dict[str, Any]:
        kept = (sample.provenance.kept or {}) if sample.provenance else {}
        found = {name: label_value(value) for name, value in kept.items() if name in self._labels}
        return {name: value for name, value in found.items() if value is not None}

    def _of_texts(self, sample: Sample, where: str) -> InstructRow:
        question, answer = self._exchange(sample)
        build = self._build(sample.task)
        if build is not None and build.asks_itself:
            said = {build.input: question, build.answer.field: answer}
        else:
            said = dict(asked(question, answer))
        labels = {**self._kept(sample), **said}
        provenance = sample.provenance
        return InstructRow(
            id=digest(self._corpus, canonical(labels)),
            labels=labels,
            language=sample.language,
            split=sample.split,
            where=where,
            provenance=provenance,
        )

    def _exchange(self, sample: Sample) -> tuple[str, str]:
        """The texts of the first question and of its answer."""
        question: Message | None = None
        for place, message in enumerate(sample.messages):
            if message.role == "user":
                question = message
            elif message.role == "assistant" and question is not None:
                if place + 1 < len(sample.messages):
                    self._notes[SEVERAL] += 1
                return _text(question), _text(message)
        raise RowError("no question in it is followed by an answer")

    def _answered(self, sample: Sample) -> dict[str, Any]:
        """The label that the answer is, by the sample's task; nothing where that is no task of ours."""
        build = self._build(sample.task)
        if build is None or build.answer.form == "audio":
            return {}
        _, answer = self._exchange(sample)
        if not answer:
            return {}
        field = build.answer.field
        if field in fields_of(sample.audios[0]):
            return {}
        return {field: self._label(build, answer) if build.answer.form == "label" else answer}

    def _label(self, build: Build, answer: str) -> str:
        """The answer without what stands around it. Raises RowError where it is no label of the task."""
        said = answer.strip(" .。!！\"'")
        label_set = self._tasks.sets[build.scored_as].labels if build.scored_as else None
        if label_set is not None and folded(said) not in self._forms(label_set):
            raise RowError(f"its answer {answer[:80]!r} is no label of {label_set}")
        return said


def _placed(one: Converted) -> Iterator[Utterance]:
    """The utterances, with their sound where it is now: that of shards lies in their tars."""
    for utterance, place in zip(one.sample.audios, one.places, strict=True):
        uri, member, start_s, end_s, channels = place
        source = utterance.source
        if place_of(utterance) == place:
            yield utterance
            continue
        single = channels[0] if channels is not None and len(channels) == 1 else None
        averaged = None if single is not None else channels
        source = replace(
            source, uri=uri, member=member, start_s=start_s, end_s=end_s, channel=single, averaged=averaged, taken=None
        )
        yield replace(utterance, source=source)


def _text(message: Message) -> str:
    return "\n".join(part.text for part in message.content if part.text).strip()


def _not_a_row(where: str, why: str) -> Failure:
    return Failure(NOT_A_ROW, f"{where}: {why}")
