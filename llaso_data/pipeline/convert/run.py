"""`llaso-data convert`: read sources of any layout, write shards or another layout. No model is needed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from llaso_data import records
from llaso_data.errors import LLaSOError
from llaso_data.formats import LAYOUTS
from llaso_data.io import checksums, interrupts, lock, storage
from llaso_data.pipeline.convert import filtering, finish, folder
from llaso_data.pipeline.convert.by_archive.archive import ArchiveResult, Writing
from llaso_data.pipeline.convert.by_archive.run import ArchiveRun, Outcome
from llaso_data.pipeline.convert.by_archive.source import ArchiveSource, archive_sources, scratch_of
from llaso_data.pipeline.convert.part import (
    SHARDS,
    PartJob,
    PartResult,
    committed,
    finished,
    refuse_layout,
    write_part,
)
from llaso_data.pipeline.convert.parts import PlannedPart, Tally, digest_of, plan
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.pipeline.convert.samples import Converted, open_samples, samples_of
from llaso_data.pipeline.seen_ids import SeenIds
from llaso_data.recipe import Convert, Recipe
from llaso_data.records import SPLITS, Failure
from llaso_data.shards import layout, manifest
from llaso_data.uris import shown

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertSummary:
    """What the command did. The counts close: ``rows`` = ``samples`` + ``known`` + ``filtered`` + all ``problems``.

    Attributes:
        known: Samples that an earlier generation has.
        groups: What was written, by the folder below ``out`` ("" where there is one set).
        not_carried: How many samples said something that the layout cannot hold, by field.
        notes: What else is to be said of the sources.
        examples: The first problems of each reason, with file and line.
        archives: Of a conversion archive by archive: how many archives and members there are, members that no row
            names, and archives that cannot be read; else None.
        not_fetched: Archives that could not be had, and why. Their rows are problems until another run has them.
        transfers: Requests, bytes and scratch that this run took.
    """

    out: str
    to: str
    rows: int
    samples: int
    known: int
    filtered: int
    hours: float
    bytes: int
    parts: int
    skipped: int
    problems: dict[str, int]
    not_carried: dict[str, int]
    notes: dict[str, int]
    groups: dict[str, dict[str, Any]]
    examples: dict[str, list[str]] = field(repr=False)
    archives: dict[str, Any] | None = None
    not_fetched: dict[str, str] = field(default_factory=dict)
    transfers: dict[str, int] | None = None

    @property
    def exit_code(self) -> int:
        """1 where something waits for another run."""
        return 1 if self.not_fetched else 0

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python, for JSON."""
        stated = asdict(self)
        if self.archives is None:
            for name in ("archives", "not_fetched", "transfers"):
                del stated[name]
        return stated


def convert(
    recipe: Recipe,
    *,
    overwrite: bool = False,
    append: bool = False,
    progress: Callable[[PartResult, Tally, Problems], None] | None = None,
    started: Callable[[], None] | None = None,
) -> ConvertSummary:
    """Convert the sources of a recipe. A rerun skips the parts that are finished.

    Args:
        recipe: Sources, ``out``, ``convert`` and ``run``.
        overwrite: Replace an older conversion in ``out``.
        append: Write what is new into new parts of a finished conversion; its parts keep their bytes.
        progress: Called with each part when it is written, what was read so far, and the problems so far.
        started: Called once, when worker processes were started; it may start threads, which those would lack.

    Raises:
        LLaSOError: There is no source or no ``out``; a setting is wrong; ``out`` holds something else; nothing could be
            converted.
    """
    settings = checked(recipe)
    assert recipe.out is not None
    with lock.exclusive(recipe.out, "convert") as held:
        return _Run(recipe, settings, held, overwrite, append, progress, started)()


def checked(recipe: Recipe) -> Convert:
    """The settings with every choice made.

    Raises:
        LLaSOError: A setting is wrong, or one that is needed is missing.
    """
    if not recipe.sources:
        raise LLaSOError("nothing to convert: name a SOURCE, or sources in a recipe")
    if recipe.out is None:
        raise LLaSOError("name the folder to write to with --out")
    settings = recipe.convert
    refuse_layout(settings.to)
    if settings.filter is not None:
        filtering.parse(settings.filter)
    unknown = [name for name in settings.split if name not in SPLITS]
    if (
        unknown
        or any(share < 0 for share in settings.split.values())
        or (settings.split and not sum(settings.split.values()))
    ):
        raise LLaSOError(f"split: give shares of {', '.join(SPLITS)}, such as train=0.98,validation=0.01,test=0.01")
    chosen = None if settings.to == SHARDS else LAYOUTS[settings.to].writer
    audio = settings.audio or ("flac" if chosen is None or chosen.inside else "keep")
    shuffle = settings.to == SHARDS if settings.shuffle is None else settings.shuffle
    return settings.model_copy(update={"audio": audio, "shuffle": shuffle})


@dataclass(frozen=True, slots=True)
class GivenSamples:
    """Samples that another command has made, which are written as those of sources are.

    Attributes:
        samples: Gives them, in their order.
        dataset: Digest that names what is written.
        moved: Where files of a part are now, which its samples call by another address.
    """

    samples: Callable[[], Iterator[Converted | Failure]]
    dataset: str
    moved: Callable[[PlannedPart], tuple[tuple[str, str], ...]] = lambda _: ()


def dataset_digest(stated: bytes | str) -> str:
    """The digest that names what is written, of what decides it."""
    return records.digest("convert", FORMAT_VERSION, layout.FORMAT_VERSION, stated)


def write_given(
    recipe: Recipe,
    given: GivenSamples,
    held: lock.Held,
    *,
    overwrite: bool = False,
    progress: Callable[[PartResult, Tally, Problems], None] | None = None,
) -> ConvertSummary:
    """Write samples that another command has made to its output, whose lock it holds.

    Args:
        recipe: ``out``, ``convert`` and ``run``; its sources are for messages.
        given: The samples.
        held: The lock.
        overwrite: As of :func:`convert`.
        progress: As of :func:`convert`.

    Raises:
        LLaSOError: As :func:`convert`.
    """
    return _Run(recipe, checked(recipe), held, overwrite, False, progress, None, given)()


class _Run:
    """One run of the command; its call does all of it."""

    def __init__(
        self,
        recipe: Recipe,
        settings: Convert,
        held: lock.Held,
        overwrite: bool,
        append: bool,
        progress: Callable[[PartResult, Tally, Problems], None] | None,
        started: Callable[[], None] | None,
        given: GivenSamples | None = None,
    ) -> None:
        self._recipe, self._settings, self._held, self._given = recipe, settings, held, given
        self._overwrite, self._append = overwrite, append
        self._progress, self._started = progress, started
        self._out = held.uri
        self._problems, self._tally, self._notes = Problems(), Tally(), Counter[str]()
        stated = _canonical(recipe, settings) if given is None else given.dataset
        self._dataset = dataset_digest(stated)
        self._results: list[PartResult] = []
        self._groups: set[str] = set()
        self._archives: Outcome | None = None

    def __call__(self) -> ConvertSummary:
        from llaso_data.pipeline import engines

        archives: Sequence[ArchiveSource] = ()
        if self._given is not None:
            streams = [self._given.samples()]
        else:
            sources = [open_samples(source, self._settings, self._notes) for source in self._recipe.sources]
            archives = archive_sources(sources, self._recipe.run)
            streams = [] if archives else [samples_of(one, self._settings) for one in sources]
        self._generation = folder.prepare(
            self._out, self._dataset, self._settings.to, overwrite=self._overwrite, append=self._append
        )
        self._dataset = self._generation.dataset
        storage.sweep(self._out)
        storage.sweep_scratch()
        if self._settings.audio in ("flac", "wav"):
            import soundfile  # noqa: F401  # here, so that not every worker imports it
        if archives:
            self._convert_archives(archives)
        else:
            for result in engines.map_unordered(write_part, self._missing(streams), self._recipe.run):
                self._note(result)
        self._held.confirm()
        return self._finish()

    def _convert_archives(self, sources: Sequence[ArchiveSource]) -> None:
        """Write all parts archive by archive; what was counted is joined at the end, in the order of the archives."""
        generation = self._generation
        known = None
        if generation.number > 1:
            known = storage.join(self._out, folder.ARCHIVES, f"known-{records.digest('known', self._dataset)}.rows")
        writing = Writing(
            root=self._out,
            dataset=self._dataset,
            settings=self._settings,
            reading=sources[0].reading,
            first=generation.first,
            known=known,
            removed=folder.removed_from(self._out),
            lock=self._held.token,
            scratch=scratch_of(self._recipe.run),
        )
        run = ArchiveRun(
            sources, self._recipe.run, writing, generation.earlier, self._check, self._clear, self._started
        )
        outcome = run(self._note_archive)
        self._problems, self._archives = outcome.problems, outcome
        self._notes.update(outcome.notes)
        self._results = [part for result in outcome.results for part in result.parts]
        tallies = [result.tally for result in outcome.results]
        self._tally = Tally(
            read=outcome.rows,
            filtered=sum(tally.filtered for tally in tallies),
            known=sum(tally.known for tally in tallies),
        )

    def _check(self) -> None:
        interrupts.check()
        self._held.check()

    def _clear(self, groups: Sequence[str]) -> None:
        for group in groups:
            if group not in self._generation.first:
                out = folder.folder_of(self._out, group)
                folder.clear_group(out, self._dataset, self._settings.to, self._overwrite)

    def _note_archive(self, result: ArchiveResult) -> None:
        """Tell what an archive adds, while others are being written."""
        self._tally.read += result.tally.read
        self._problems.join(result.problems, result.examples)
        for part in result.parts:
            self._note(part)

    def _missing(self, streams: Sequence[Iterator[Converted | Failure]]) -> Iterator[PartJob]:
        if self._started is not None:
            self._started()
        stream = (one for source in streams for one in source)
        is_local = storage.is_local(self._out)
        generation = self._generation
        seen = SeenIds(folder.known_ids(self._out, generation.earlier)) if generation.number > 1 else None
        parts = plan(
            stream,
            self._settings,
            bool(self._settings.shuffle),
            self._problems,
            self._tally,
            seen,
            generation.first,
            folder.removed_from(self._out),
        )
        for part in parts:
            job = self._job(part)
            if part.group not in self._groups:
                self._groups.add(part.group)
                if part.group not in generation.first:
                    folder.clear_group(job.out, self._dataset, job.to, self._overwrite)
            done = finished(job) if is_local else None
            if done is None:
                yield job
            else:
                self._note(done)

    def _job(self, part: PlannedPart) -> PartJob:
        digest = digest_of(self._dataset, part)
        job = folder.job_of(self._out, self._dataset, self._settings, part, digest, self._held.token)
        return job if self._given is None else replace(job, moved=self._given.moved(part))

    def _note(self, result: PartResult) -> None:
        self._check()
        self._results.append(result)
        self._problems.join(result.problems, result.examples)
        if self._progress is not None:
            self._progress(result, self._tally, self._problems)

    def _finish(self) -> ConvertSummary:
        results = sorted(self._results, key=lambda result: (result.group, result.number))
        written = sum(result.samples for result in results)
        parts = {(result.group, result.number) for result in results}
        generation, earlier = self._generation.number, self._generation.earlier
        if not written:
            generation = folder.take_back(self._out, self._generation, parts)
        if not written and not (self._generation.number > 1 and self._tally.known):
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self._problems.counts.items()))
            first = next((details[0] for details in self._problems.examples.values() if details), "")
            raise LLaSOError(
                f"nothing was converted: {self._tally.read} rows were read"
                + (f" ({reasons}; the first: {first})" if reasons else "")
            )
        new = results if written else []
        folder.remove_stale(self._out, {*earlier, *((result.group, result.number) for result in new)})
        all_results = [committed(folder.folder_of(self._out, group), number) for group, number in earlier]
        all_results += new
        groups: dict[str, dict[str, Any]] = {}
        for group in sorted({result.group for result in all_results}):
            of_group = [result for result in all_results if result.group == group]
            if results_of := [result for result in new if result.group == group]:
                groups[group] = finish.finish_group(
                    folder.folder_of(self._out, group), of_group, self._settings.to, self._dataset,
                    _options(self._settings), grows=len(results_of) < len(of_group),
                )  # fmt: skip
        summary = self._summary(results, groups)
        stated = {"format": folder.SUMMARY_FORMAT, "format_version": FORMAT_VERSION, "dataset": self._dataset}
        # An append that lacks archives is not over: the same command goes on with it.
        stated["generation"] = generation - 1 if summary.not_fetched else generation
        stated |= summary.to_dict()
        for name in ("out", "skipped", "transfers"):  # of this run, not of what is written
            stated.pop(name, None)
        checksums.write_json(storage.join(self._out, folder.SUMMARY), stated)
        return summary

    def _summary(self, results: Sequence[PartResult], groups: dict[str, dict[str, Any]]) -> ConvertSummary:
        missing: Counter[str] = Counter()
        for result in results:
            missing.update(result.not_carried)
        archives = self._archives
        return ConvertSummary(
            archives=None if archives is None else archives.stated,
            not_fetched={} if archives is None else archives.not_fetched,
            transfers=None if archives is None else asdict(archives.cost),
            out=shown(self._out),
            to=self._settings.to,
            rows=self._tally.read,
            samples=sum(result.samples for result in results),
            known=self._tally.known,
            filtered=self._tally.filtered + sum(result.filtered for result in results),
            hours=manifest.hours(sum(result.duration_s for result in results)),
            bytes=sum(result.bytes for result in results),
            parts=len(results),
            skipped=sum(result.skipped for result in results),
            problems=dict(sorted(self._problems.counts.items())),
            not_carried=dict(sorted(missing.items())),
            notes=dict(self._notes),
            groups=groups,
            examples=self._problems.examples,
        )


def _options(settings: Convert) -> dict[str, Any]:
    return {"audio": settings.audio, "samples_per_shard": settings.samples_per_part, "seed": settings.seed}


def _canonical(recipe: Recipe, settings: Convert) -> bytes:
    """What names a conversion: its sources as they are named, and its settings."""
    sources = [
        source.model_dump(mode="json", exclude_defaults=True) | {"path": storage.absolute(source.path)}
        for source in recipe.sources
    ]
    stated = {"sources": sources, "settings": settings.model_dump(mode="json", exclude_defaults=True)}
    return json.dumps(stated, sort_keys=True, ensure_ascii=False).encode()
