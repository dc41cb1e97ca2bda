"""The stages of a conversion archive by archive, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from llaso_data import records
from llaso_data.io import storage
from llaso_data.pipeline import engines
from llaso_data.pipeline.convert import folder
from llaso_data.pipeline.convert.by_archive import archive_rows, work
from llaso_data.pipeline.convert.by_archive.archive import ArchiveResult, ArchiveTask, Writing, write_archive
from llaso_data.pipeline.convert.by_archive.directories import directories
from llaso_data.pipeline.convert.by_archive.join import join, resolve_others
from llaso_data.pipeline.convert.by_archive.origin import Cost
from llaso_data.pipeline.convert.by_archive.scan import scan
from llaso_data.pipeline.convert.by_archive.source import ArchiveSource
from llaso_data.pipeline.convert.by_archive.stages import Stages
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.recipe import Run
from llaso_data.shards import layout

T = TypeVar("T")
R = TypeVar("R")
NOT_FETCHED = "not_fetched"
"""The reason of rows whose archive could not be fetched; another run writes them."""


@dataclass(slots=True)
class Outcome:
    """What became of the rows. The counts close: every row of the tables is in ``problems`` or in a result.

    Attributes:
        results: Of each archive that has rows, in their order.
        rows: Of all tables.
        problems: Of all stages, those of parts too.
        not_fetched: Address of an archive that could not be had → why.
        stated: What the summary says of archives.
        notes: What else is to be said.
        cost: What this run has cost.
    """

    results: list[ArchiveResult] = field(default_factory=list)
    rows: int = 0
    problems: Problems = field(default_factory=Problems)
    not_fetched: dict[str, str] = field(default_factory=dict)
    stated: dict[str, Any] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    cost: Cost = field(default_factory=Cost)


class ArchiveRun:
    """One run of all stages; its call does them.

    Args:
        sources: What is converted, in their order.
        run: Engine and workers.
        writing: What all archives share.
        earlier: Parts of earlier generations, by group and number.
        check: Called after each task; it may raise to end the run.
        clear: Called with the groups that may be written, before the first is.
        started: Called once, when the first worker processes were started.
    """

    def __init__(
        self,
        sources: Sequence[ArchiveSource],
        run: Run,
        writing: Writing,
        earlier: Sequence[tuple[str, int]],
        check: Callable[[], None],
        clear: Callable[[list[str]], None],
        started: Callable[[], None] | None,
    ) -> None:
        self._run, self._writing, self._earlier = run, writing, earlier
        self._check, self._clear, self._started = check, clear, started
        self._work = storage.join(writing.root, folder.ARCHIVES)
        self._present: set[str] = set()
        self._outcome = Outcome()
        self._stages = [Stages(self._work, one, writing.scratch) for one in sources]

    def __call__(self, done: Callable[[ArchiveResult], None]) -> Outcome:
        """Run all stages.

        Args:
            done: Called with each archive when it is finished.
        """
        storage.sweep(self._work)
        self._present = {row["path"] for row in storage.listing(self._work)}
        self._write_known()
        names = [name for stages in self._stages for name in stages.join_names()]
        self._prepare(needs_rows=not self._have(names, "json"))
        self._clear(self._groups())
        pending: set[str] | None = None
        if not self._have(names, "rows"):
            pending = set(self._unfinished(done))
            if pending:
                self._prepare(needs_rows=True)
        tasks = (task for task in self._archive_tasks() if pending is None or task.name in pending)
        self._write(tasks, done)
        self._close()
        return self._outcome

    def _have(self, names: Iterable[str], kind: str) -> bool:
        return all(f"{name}.{kind}" in self._present for name in names)

    def _write_known(self) -> None:
        """The ids of earlier generations, sorted, for all archives."""
        known = self._writing.known
        if known is not None and not storage.exists(known):
            pieces = folder.known_ids(self._writing.root, self._earlier)
            storage.write_bytes(known, archive_rows.sorted_ids(pieces))

    def _prepare(self, needs_rows: bool) -> None:
        """Run the stages before the last, as far as they have not stated their results, or their rows are wanted."""
        self._stage(scan, (task for stages in self._stages for task in stages.scans), needs_rows)
        self._stage(directories, (task for stages in self._stages for task in stages.listings), needs_rows)
        for stages in self._stages:
            stages.read_tables()
        if needs_rows:
            self._stage(resolve_others, (task for stages in self._stages for task in stages.others()), True)
        self._stage(join, (task for stages in self._stages for task in stages.joins(needs_rows)), needs_rows)
        for stages in self._stages:
            stages.read_joins()

    def _stage(self, function: Callable[[Any], Cost], tasks: Iterable[Any], needs_rows: bool) -> None:
        kinds = ("json", "rows") if needs_rows else ("json",)
        wanted = [task for task in tasks if not all(self._have([task.name], kind) for kind in kinds)]
        for cost in self._mapped(function, wanted):
            self._outcome.cost.add(cost)
        self._present |= {f"{task.name}.{kind}" for task in wanted for kind in ("json", "rows")}

    def _mapped(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        """The results of tasks. No worker is started where there are none."""
        tasks = iter(tasks)
        first = next(tasks, None)
        if first is None:
            return

        def all_tasks(first: T) -> Iterator[T]:
            if self._started is not None:
                self._started()
                self._started = None
            yield first
            yield from tasks

        for result in engines.map_unordered(function, all_tasks(first), self._run):
            self._check()
            yield result

    def _groups(self) -> list[str]:
        """All groups that samples may belong to."""
        settings = self._writing.settings
        splits = list(settings.split) or [""]
        counts = sorted({count for stages in self._stages for count in stages.audio_counts()})
        kinds = [layout.name_of_parts(count) for count in counts] if settings.group_by_parts else [""]
        return ["/".join(filter(None, (split, kind))) for split in splits for kind in kinds]

    def _archive_tasks(self) -> Iterator[ArchiveTask]:
        """Archives with rows, in their order, with the numbers of their parts: those do not depend on who is first."""
        first, size = 0, self._writing.settings.samples_per_part
        for stages in self._stages:
            writing = replace(self._writing, reading=stages.source.reading)
            for task in stages.archives(writing):
                yield replace(task, first=first, name=f"archive-{records.digest(task.name, first)}")
                first += -(-task.row_count // size)

    def _unfinished(self, done: Callable[[ArchiveResult], None]) -> Iterator[str]:
        """The names of archives that are to be written; the others are done."""
        asked = []
        for task in self._archive_tasks():
            if self._have([task.name], "json"):
                asked.append(replace(task, rows=None))
            else:
                yield task.name
        for result in self._mapped(write_archive, asked):
            if result.unchecked:
                yield result.name
            else:
                self._outcome.results.append(result)
                done(result)

    def _write(self, tasks: Iterable[ArchiveTask], done: Callable[[ArchiveResult], None]) -> None:
        for result in self._mapped(write_archive, tasks):
            self._outcome.results.append(result)
            self._outcome.cost.add(result.cost)
            done(result)

    def _close(self) -> None:
        """Join what all stages counted, in an order that does not depend on who was first; remove what is not used."""
        outcome, problems = self._outcome, self._outcome.problems
        order = {task.name: (number, task.row_count) for number, task in enumerate(self._archive_tasks())}
        outcome.results.sort(key=lambda result: order[result.name][0])
        for stages in self._stages:
            outcome.rows += stages.count_rows(problems)
            outcome.notes.update(stages.notes())
        for result in outcome.results:
            problems.join(result.problems, result.examples)
            for part in result.parts:
                problems.join(part.problems, part.examples)
            if result.failure is not None:
                outcome.not_fetched[result.uri] = result.failure
                problems.join({NOT_FETCHED: order[result.name][1]}, {NOT_FETCHED: [f"{result.uri}: {result.failure}"]})
        outcome.stated = stated_of(self._stages)
        of_lists = not any(result.is_listed_wrong for result in outcome.results)
        used = {name for stages in self._stages for name in stages.names(of_lists)} | order.keys()
        kept = ("json", "rows") if outcome.not_fetched else ("json",)
        work.keep_only(self._work, {f"{name}.{kind}" for name in used for kind in kept})


def stated_of(sources: Sequence[Stages]) -> dict[str, Any]:
    """What the summary says of archives: the same in every run over the same files."""
    counts = [stages.counts() for stages in sources]
    unreadable = {uri: why for stages in sources for uri, why in stages.unreadable().items()}
    return {
        **{name: sum(one[name] for one in counts) for name in ("archives", "members", "unused")},
        "unreadable": unreadable,
    }
