"""`llaso-data shard`: accepted records become samples in shards.

Planning is arithmetic on whole columns: which record goes into which shard follows from the ids, the seed and the
samples per shard. A shard is then one piece of work: load its records, make samples of them, give these their sound,
write the tar, commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from llaso_data import recipe, records
from llaso_data.errors import LLaSOError
from llaso_data.filters import columns
from llaso_data.instruct.asr import TRANSCRIPTION
from llaso_data.instruct.utterance_task import UtteranceTask
from llaso_data.io import interrupts, lock, storage
from llaso_data.pipeline import commit, shard_folder
from llaso_data.pipeline.seen_ids import SeenIds
from llaso_data.pipeline.shard_plan import ShardPlan, plan
from llaso_data.records import Sample, Utterance
from llaso_data.shards import certificate, layout, manifest, removal, writer
from llaso_data.shards.index import ShardInfo
from llaso_data.shards.sound_spool import SoundSpool, shown_place

_PROBLEMS_SHOWN = 10

Each = Callable[[Callable[[Any], Any], Iterable[Any], recipe.Run], Iterator[Any]]
"""Runs a function on jobs, on whatever machines, and gives the results in any order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """One shard to write: ``rows`` are (name of the observation file, row numbers in it), ``task`` makes their samples.

    ``lock`` is the token of the run's lock: a shard's name does not say what it was made from, so a worker that
    outlives its run must not write over what a later run, with other options, has written.
    """

    source: str
    out: str
    number: int
    rows: tuple[tuple[str, tuple[int, ...]], ...]
    digest: str
    dataset: str
    audio: Literal["flac", "opus", "wav"]
    seed: int
    task: UtteranceTask
    lock: str | None = None

    @property
    def name(self) -> str:
        """Of the tar."""
        return layout.shard_name(self.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """One shard: written, or skipped because an earlier run had committed it, or not written.

    ``changed`` counts the samples that kept it from being written, ``problems`` names the first of them.
    """

    number: int
    info: ShardInfo | None
    skipped: bool = False
    changed: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSummary:
    """What the command wrote; ``languages`` maps to samples and hours, ``audit`` says how the certificate stands."""

    out: str
    digest: str
    shards: int
    skipped: int
    samples: int
    hours: float
    bytes: int
    audit: str
    languages: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python, for JSON."""
        return asdict(self)


def shard_dataset(
    source_uri: str,
    out_uri: str,
    spec: recipe.Shard,
    run: recipe.Run,
    *,
    task: UtteranceTask = TRANSCRIPTION,
    overwrite: bool = False,
    append: bool = False,
    progress: Callable[[int, int, ShardResult], None] | None = None,
    each: Each | None = None,
) -> ShardSummary:
    """Write the accepted records of ``build-align``'s output as shards, then the index, then the manifest.

    A rerun skips what is finished.

    Args:
        source_uri: The output of ``build-align``.
        out_uri: A folder or URI for the shards.
        spec: Format of the sounds, samples per shard, and the seed of the order and of the task's draws.
        run: Engine and machines.
        task: Makes a sample of each record.
        overwrite: Replace other shards in ``out_uri``.
        append: Write the records that are not in the shards of ``out_uri`` yet into further shards; those that are
            there keep their bytes.
        progress: Called with (shards done, shards, the result) after each shard.
        each: Runs the jobs; by default the engine that ``run`` names.

    Raises:
        LLaSOError: The input is not complete; the output holds other shards (and not ``overwrite``); a record gives no
            sample; or audio is no longer what was observed. Such a shard is not written, the others are, and a rerun
            goes on from there.
    """
    if each is None:
        from llaso_data.pipeline import engines

        each = engines.map_unordered
    with lock.exclusive(out_uri, "shard") as held:
        return _shard(storage.absolute(source_uri), held, spec, run, task, overwrite, append, progress, each)


def _shard(
    source: str,
    held: lock.Held,
    spec: recipe.Shard,
    run: recipe.Run,
    task: UtteranceTask,
    overwrite: bool,
    append: bool,
    progress: Callable[[int, int, ShardResult], None] | None,
    each: Each,
) -> ShardSummary:
    out = held.uri
    earlier = shard_folder.earlier(out, spec.audio) if append else None
    known = None if earlier is None else SeenIds([shard_folder.utterance_ids(out)])
    planned = plan(source, spec, known, removal.ledger(out))
    dataset = records.digest(
        "shards", layout.FORMAT_VERSION, planned.dataset, spec.audio, spec.samples_per_shard, spec.seed,
        task.templates_digest,
    )  # fmt: skip
    if earlier is not None:
        dataset = records.digest("append", earlier.plan, dataset)
    storage.sweep(out)
    storage.sweep_scratch()
    if earlier is None:
        shard_folder.clear(out, dataset, overwrite)
    else:
        shard_folder.clear_unfinished(out, earlier, dataset)
    results: list[ShardResult] = []

    def note(result: ShardResult) -> None:
        interrupts.check()
        held.check()
        results.append(result)
        if progress is not None:
            progress(len(results), planned.shards, result)

    def missing() -> Iterator[ShardJob]:
        for job in _jobs(planned, source, held, spec, task, dataset, 0 if earlier is None else earlier.next_number):
            # On a disk looking is cheaper than starting workers to look; over a network the workers look at once.
            done = _finished(job) if storage.is_local(out) else None
            if done is None:
                yield job
            else:
                note(done)

    for result in each(write_shard, missing(), run):
        note(result)
    results.sort(key=lambda result: result.number)
    _refuse_changed(results)
    held.confirm()
    if earlier is not None and not results:
        stated = earlier.manifest  # nothing is new
    else:
        stated = _finish(out, results, planned, spec, task, dataset, earlier)
    return ShardSummary(
        out=out,
        digest=stated["digest"],
        shards=len(results),
        skipped=sum(result.skipped for result in results),
        samples=stated["samples"],
        hours=stated["hours"],
        bytes=stated["bytes"],
        audit=str(certificate.carry(source, out, stated)),
        languages=stated["languages"],
    )


def write_shard(job: ShardJob) -> ShardResult:
    """Write one shard unless it is finished. Where any audio cannot be had as it was observed, nothing is written."""
    done = _finished(job)
    if done is not None:
        return done
    with SoundSpool(job.audio, storage.join(job.out, job.name)) as spool:
        samples, problems = _samples(job)
        problems += [failure.detail for failure in spool.add(samples)]
        if problems:
            named = tuple(problems[:_PROBLEMS_SHOWN])
            return ShardResult(number=job.number, info=None, changed=len(problems), problems=named)
        lock.refuse_orphans(job.out, job.lock)
        info = writer.write(job.out, job.name, spool.encoded(), digest=job.digest, dataset=job.dataset)
    return ShardResult(number=job.number, info=info)


def _finished(job: ShardJob) -> ShardResult | None:
    """The result of an earlier run that committed this shard."""
    info = writer.finished(job.out, job.name, digest=job.digest, dataset=job.dataset)
    return None if info is None else ShardResult(number=job.number, info=info, skipped=True)


def _jobs(
    planned: ShardPlan,
    source: str,
    held: lock.Held,
    spec: recipe.Shard,
    task: UtteranceTask,
    dataset: str,
    first_number: int,
) -> Iterator[ShardJob]:
    for number in range(first_number, first_number + planned.shards):
        rows = planned.rows(number - first_number)
        yield ShardJob(
            source=source,
            out=held.uri,
            number=number,
            rows=rows,
            digest=records.digest(dataset, number, *(value for name, chosen in rows for value in (name, chosen))),
            dataset=dataset,
            audio=spec.audio,
            seed=spec.seed,
            task=task,
            lock=held.token,
        )


def _samples(job: ShardJob) -> tuple[list[Sample], list[str]]:
    """The samples of a shard without their sound, and what is wrong with the records of which there is none."""
    samples: list[Sample] = []
    problems: list[str] = []
    for utterance in _load(job):
        try:
            if utterance.audio_id is None:
                raise LLaSOError("accepted, but never observed")
            samples.append(job.task.make(utterance, job.seed))
        except LLaSOError as error:
            problems.append(f"{shown_place(utterance)}: {error}")
    return samples, problems


def _load(job: ShardJob) -> list[Utterance]:
    """The records of a shard; of each observation file only the rows that it needs become objects."""
    utterances: list[Utterance] = []
    for name, rows in job.rows:
        with columns.reading(commit.block_uri(job.source, name)) as file:
            table = pq.ParquetFile(file).read().take(pa.array(rows, pa.int64()))
        utterances += records.from_table(table, Utterance)
    return utterances


def _refuse_changed(results: Sequence[ShardResult]) -> None:
    changed = sum(result.changed for result in results)
    if not changed:
        return
    problems = [problem for result in results for problem in result.problems][:_PROBLEMS_SHOWN]
    shown = "".join(f"\n  {problem}" for problem in problems)
    more = f"\n  … and {changed - len(problems)} more" if changed > len(problems) else ""
    failed = sum(bool(result.changed) for result in results)
    raise LLaSOError(
        f"{failed} of {len(results)} shards were not written: {changed} samples are not what build-align observed, "
        f"because files or the audio libraries changed since.{shown}{more}\n"
        "Put the files back, or run `llaso-data build-align` again."
    )


def _finish(
    out: str,
    results: Sequence[ShardResult],
    planned: ShardPlan,
    spec: recipe.Shard,
    task: UtteranceTask,
    dataset: str,
    earlier: shard_folder.Earlier | None,
) -> dict[str, Any]:
    infos = [result.info for result in results if result.info is not None]
    first_number = 0 if earlier is None else earlier.next_number
    missing = set(range(first_number, first_number + planned.shards)) - {result.number for result in results}
    written = sum(info.samples for info in infos)
    if missing or len(infos) != planned.shards or written != planned.samples:
        raise LLaSOError(
            f"{written} of {planned.samples} samples in {len(infos)} of {planned.shards} shards were written; "
            "run the command again"
        )
    if earlier is not None:
        infos = [*earlier.infos, *infos]
    return manifest.finish(
        out,
        [(storage.join(out, layout.sidecar_name(info.path)), info) for info in infos],
        profile=manifest.LLASO,
        plan=dataset,
        options={**spec.model_dump(), "templates": task.templates_digest},
        source=planned.provenance,
        grows=earlier is not None,
    )
