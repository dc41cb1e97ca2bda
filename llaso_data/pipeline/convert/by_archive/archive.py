"""The fourth stage: the rows of one archive become parts. The archive is fetched where one of them is to be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from llaso_data.io import lock, storage, zip_members
from llaso_data.pipeline.convert import folder
from llaso_data.pipeline.convert.by_archive import work
from llaso_data.pipeline.convert.by_archive.archive_rows import ArchiveRows, Reading, seen_before
from llaso_data.pipeline.convert.by_archive.directories import sum_of
from llaso_data.pipeline.convert.by_archive.join import Places
from llaso_data.pipeline.convert.by_archive.origin import Cost, FetchError, Origin, OriginFile, Scratch, at_hand
from llaso_data.pipeline.convert.part import PartJob, PartResult, finished, write_part
from llaso_data.pipeline.convert.parts import PlannedPart, Tally, digest_of, plan
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.recipe import Convert
from llaso_data.records import digest
from llaso_data.shards.removal import Removed


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What all archives of a run share.

    Attributes:
        root: The output.
        dataset: Digest of the conversion.
        settings: Of the recipe, with every choice made.
        reading: How rows are read.
        first: The number of the generation's first part, by group.
        known: URI of the sorted ids of earlier generations; None: this is the first.
        removed: What was taken out of the set.
        lock: Token of the run.
        scratch: Where archives are fetched to.
    """

    root: str
    dataset: str
    settings: Convert
    reading: Reading
    first: dict[str, int]
    known: str | None
    removed: Removed
    lock: str | None
    scratch: Scratch

    @property
    def digest(self) -> str:
        """Of what decides the bytes of parts besides the source."""
        taken = (sorted(names) for names in (self.removed.speaker_digests, self.removed.names))
        return digest("writing", self.dataset, *(value for names in taken for value in ("", *names)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTask:
    """One archive to write.

    Attributes:
        number: Of the archive; :data:`~.directories.LOOSE` for rows whose sound lies in none.
        file: The archive.
        others: The archives by number, where rows have further audios in them.
        first: The number of its first part, in every group.
        row_count: How many rows it has.
        rows: Where its rows lie; None: only look whether it is finished.
        largest_part_bytes: How long the sounds of one part are in the archive, about.
        listed_sum: Of the archive's directory, as it was listed.
    """

    name: str
    work: str
    origin: Origin
    number: int
    file: OriginFile | None
    others: Mapping[int, OriginFile]
    first: int
    row_count: int
    rows: Places | None
    largest_part_bytes: int
    listed_sum: int | None
    writing: Writing


@dataclass(slots=True, kw_only=True)
class ArchiveResult:
    """What became of an archive.

    Attributes:
        name: Of the task.
        uri: Of the archive.
        parts: That are written, now or before.
        failure: Why it could not be fetched; then nothing else is said, and another run writes it.
        unchecked: Whether it is not finished, and nothing was done.
        is_listed_wrong: Whether the directory that was listed was not the archive's: its bytes came damaged.
    """

    name: str
    uri: str
    parts: list[PartResult] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    problems: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    failure: str | None = None
    unchecked: bool = False
    is_listed_wrong: bool = False


def write_archive(task: ArchiveTask) -> ArchiveResult:
    """Write the parts of an archive unless they are finished."""
    if (done := _finished(task)) is not None:
        return done
    result = ArchiveResult(name=task.name, uri=_uri(task), unchecked=task.rows is None)
    if task.rows is None:
        return result
    lock.refuse_orphans(task.writing.root, task.writing.lock)
    rows = ArchiveRows(task.origin, task.file, task.others, task.rows, task.writing.reading)
    problems = Problems()
    try:
        with ExitStack() as stack:
            writer = _Writer(task, result, stack)
            for part in _parts(task, rows, problems, result.tally):
                result.parts.append(writer.write(part))
    except FetchError as error:
        is_wrong = isinstance(error, _WrongListError)
        return replace(result, parts=[], tally=Tally(), failure=str(error), is_listed_wrong=is_wrong)
    result.problems, result.examples = dict(problems.counts), problems.examples
    stated = {
        "parts": [[part.group, part.number, part.digest] for part in result.parts],
        "tally": [result.tally.read, result.tally.filtered, result.tally.known],
        "problems": result.problems,
        "examples": result.examples,
    }
    work.write_record(task.work, task.name, stated)
    return result


def _uri(task: ArchiveTask) -> str:
    return task.origin.root if task.file is None else task.origin.uri(task.file.path)


def _finished(task: ArchiveTask) -> ArchiveResult | None:
    """What an earlier run made of the archive, with all its parts; None where something is to be done."""
    stated = work.read_record(task.work, task.name)
    if stated is None:
        return None
    parts: list[PartResult] = []
    for group, number, of_part in stated["parts"]:
        done = finished(_job(task.writing, PlannedPart(group, number, ()), of_part))
        if done is None:
            return None
        parts.append(done)
    return ArchiveResult(
        name=task.name,
        uri=_uri(task),
        parts=parts,
        tally=Tally(*stated["tally"]),
        problems=stated["problems"],
        examples=stated["examples"],
    )


class _WrongListError(FetchError):
    """What was listed of an archive is not in it."""


class _Writer:
    """Writes the parts of an archive, which is fetched for the first that is not finished."""

    def __init__(self, task: ArchiveTask, result: ArchiveResult, stack: ExitStack) -> None:
        self._task, self._result, self._stack = task, result, stack
        self._moved: tuple[tuple[str, str], ...] | None = None

    def write(self, part: PlannedPart) -> PartResult:
        task = self._task
        part = replace(part, number=part.number + task.first + task.writing.first.get(part.group, 0))
        job = _job(task.writing, part, digest_of(task.writing.dataset, part))
        if (done := finished(job)) is not None:
            return done
        if self._moved is None:
            self._moved = self._fetched()
        return write_part(replace(job, moved=self._moved))

    def _fetched(self) -> tuple[tuple[str, str], ...]:
        """Where the archives are now."""
        task = self._task
        moved = [(task.origin.uri(file.path), task.origin.pinned(file)) for file in task.others.values()]
        if task.file is not None:
            # The sounds wait there, and on its way to a store the shard too.
            copies = 1 if storage.is_local(task.writing.root) else 2
            copy = at_hand(
                task.origin, task.file, task.writing.scratch, self._result.cost, copies * task.largest_part_bytes
            )
            path = self._stack.enter_context(copy)
            if task.origin.fetches() and sum_of(zip_members.read(path, task.file.size_bytes)) != task.listed_sum:
                raise _WrongListError("the list of its members came damaged; it is to be asked for again")
            moved.append((task.origin.uri(task.file.path), path))
        return tuple((uri, path) for uri, path in dict(moved).items() if uri != path)


def _job(writing: Writing, part: PlannedPart, digest_of_part: str) -> PartJob:
    return folder.job_of(writing.root, writing.dataset, writing.settings, part, digest_of_part, writing.lock)


def _parts(task: ArchiveTask, rows: ArchiveRows, problems: Problems, tally: Tally) -> Iterator[PlannedPart]:
    writing = task.writing
    return plan(
        rows.samples(),
        writing.settings,
        bool(writing.settings.shuffle),
        problems,
        tally,
        None if writing.known is None else seen_before(writing.known, rows),
        removed=writing.removed,
    )
