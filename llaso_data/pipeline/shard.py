"""`llaso-data shard`: accepted records become shards.

Planning is arithmetic on whole columns: which sample goes into which shard follows from the ids, the seed and the
samples per shard. A shard is then one task: load its records, decode their audio, write the tar, commit.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal, cast

import pyarrow as pa
import pyarrow.parquet as pq

from llaso_data import audio, recipe, records
from llaso_data.audio import decode_worker
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.filters import columns
from llaso_data.instruct import asr
from llaso_data.io import interrupts, lock, storage
from llaso_data.pipeline import commit, shard_folder
from llaso_data.pipeline.shard_plan import Plan, plan
from llaso_data.records import Utterance
from llaso_data.shards import certificate, layout, manifest, writer
from llaso_data.shards.index import ShardInfo
from llaso_data.shards.layout import EncodedSample

_SPOOL_BYTES = 64 * 1024 * 1024
_PROBLEMS_SHOWN = 10
_LIMITS = recipe.Decode()  # the files were decoded before: these are for what has happened to them since

Each = Callable[[Callable[[Any], Any], Iterable[Any], recipe.Run], Iterator[Any]]
"""Runs a function on tasks, on whatever machines, and gives the results in any order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """One shard to write: ``rows`` are (name of the observation file, row numbers in it).

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
    lock: str | None = None

    @property
    def name(self) -> str:
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
        return asdict(self)


def shard_dataset(
    source_uri: str,
    out_uri: str,
    spec: recipe.Shard,
    run: recipe.Run,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int, ShardResult], None] | None = None,
    each: Each | None = None,
) -> ShardSummary:
    """Write the accepted records of ``build-align``'s output as shards, then the index, then the manifest.

    A rerun skips what is finished. ``progress`` is called with (shards done, shards, the result). ``each`` runs the
    tasks; by default the engine that ``run`` names. Raises LLaSOError where the input is not complete, where the
    output holds other shards (and not ``overwrite``), or where audio is no longer what was observed: such a
    shard is not written, the others are, and a rerun goes on from there.
    """
    if each is None:
        from llaso_data.pipeline import engines

        each = engines.each
    with lock.exclusive(out_uri, "shard") as held:
        return _shard(storage.absolute(source_uri), held, spec, run, overwrite, progress, each)


def _shard(
    source: str,
    held: lock.Held,
    spec: recipe.Shard,
    run: recipe.Run,
    overwrite: bool,
    progress: Callable[[int, int, ShardResult], None] | None,
    each: Each,
) -> ShardSummary:
    out = held.uri
    planned = plan(source, spec)
    dataset = records.digest(
        "shards", layout.FORMAT_VERSION, planned.dataset, spec.audio, spec.samples_per_shard, spec.seed,
        asr.templates_digest(),
    )  # fmt: skip
    storage.sweep(out)
    storage.sweep_scratch()
    shard_folder.clear(out, dataset, overwrite)
    results: list[ShardResult] = []

    def note(result: ShardResult) -> None:
        interrupts.check()
        held.check()
        results.append(result)
        if progress is not None:
            progress(len(results), planned.shards, result)

    def missing() -> Iterator[ShardTask]:
        for task in _tasks(planned, source, held, spec, dataset):
            # On a disk looking is cheaper than starting workers to look; over a network the workers look at once.
            done = _finished(task) if storage.is_local(out) else None
            if done is None:
                yield task
            else:
                note(done)

    for result in each(write_shard, missing(), run):
        note(result)
    results.sort(key=lambda result: result.number)
    _refuse_changed(results)
    held.confirm()
    stated = _finish(out, results, planned, spec, dataset)
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


def write_shard(task: ShardTask) -> ShardResult:
    """Write one shard unless it is finished. Where any audio cannot be had as it was observed, nothing is written."""
    done = _finished(task)
    if done is not None:
        return done
    with _spool() as spool:
        samples, problems = _encode(_load(task), task, spool)
        if problems:
            named = tuple(problems[:_PROBLEMS_SHOWN])
            return ShardResult(number=task.number, info=None, changed=len(problems), problems=named)
        lock.refuse_orphans(task.out, task.lock)
        ordered = (sample(spool) for _, sample in sorted(samples, key=lambda item: item[0]))
        info = writer.write(task.out, task.name, ordered, digest=task.digest, dataset=task.dataset)
    return ShardResult(number=task.number, info=info)


def _finished(task: ShardTask) -> ShardResult | None:
    """The result of an earlier run that committed this shard."""
    info = writer.finished(task.out, task.name, digest=task.digest, dataset=task.dataset)
    return None if info is None else ShardResult(number=task.number, info=info, skipped=True)


def _tasks(planned: Plan, source: str, held: lock.Held, spec: recipe.Shard, dataset: str) -> Iterator[ShardTask]:
    for number in range(planned.shards):
        rows = planned.rows(number)
        yield ShardTask(
            source=source,
            out=held.uri,
            number=number,
            rows=rows,
            digest=records.digest(dataset, number, *(value for name, chosen in rows for value in (name, chosen))),
            dataset=dataset,
            audio=spec.audio,
            seed=spec.seed,
            lock=held.token,
        )


def _load(task: ShardTask) -> list[Utterance]:
    """The records of a shard; of each observation file only the rows that it needs become objects."""
    found: list[Utterance] = []
    for name, rows in task.rows:
        with columns.reading(commit.part_uri(task.source, name)) as file:
            chosen = pq.ParquetFile(file).read().take(pa.array(rows, pa.int64()))
        found += records.from_table(chosen, Utterance)
    return found


def _encode(
    utterances: Sequence[Utterance], task: ShardTask, spool: IO[bytes]
) -> tuple[list[tuple[str, Callable[[IO[bytes]], EncodedSample]]], list[str]]:
    """(key, how to read the sample back) of every utterance, its sound waiting in ``spool``; and the problems.

    Keys are hashes, so a shard sorted by key needs all its sounds before the first is written; the spool keeps
    that out of memory. One file is decoded once, however many of its segments lie in the shard.
    """
    samples: list[tuple[str, Callable[[IO[bytes]], EncodedSample]]] = []
    problems: list[str] = []
    for group in _by_file(utterances):
        for utterance, pcm in zip(group, _decode(group), strict=True):
            if isinstance(pcm, AudioError):
                problems.append(pcm.detail)
            elif audio.audio_id(pcm) != utterance.audio_id:
                problems.append(f"{_place(utterance)}: the audio is not the one that build-align heard")
            elif utterance.text is None:
                problems.append(f"{_place(utterance)}: accepted without a text")
            else:
                utterance = dataclasses.replace(utterance, duration_s=len(pcm) / audio.SAMPLE_RATE_HZ)
                data = audio.encode(pcm, task.audio)
                with _spooling(task):
                    offset = spool.seek(0, 2)
                    spool.write(data)
                sample = functools.partial(_sample, utterance, task, offset, len(data))
                samples.append((_key(utterance, task), sample))
    with _spooling(task):
        spool.flush()
    return samples, problems


@contextmanager
def _spool() -> Iterator[IO[bytes]]:
    """A temporary file without a name, in memory while it is small: nothing is left of it, whatever happens."""
    spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115
    try:
        yield cast(IO[bytes], spool)
    finally:
        with suppress(OSError):  # a full disk, which has been said
            spool.close()


def _spooling(task: ShardTask) -> AbstractContextManager[None]:
    folder = tempfile.gettempdir()
    return storage.writing(f"{storage.join(task.out, task.name)} (its sounds wait in {folder})", folder)


def _by_file(utterances: Iterable[Utterance]) -> list[list[Utterance]]:
    groups: dict[tuple[str, str | None], list[Utterance]] = {}
    for utterance in utterances:
        groups.setdefault((utterance.source.uri, utterance.source.member), []).append(utterance)
    return list(groups.values())


def _decode(group: Sequence[Utterance]) -> Sequence[audio.Pcm | AudioError]:
    source = group[0].source
    try:
        spans = [(u.source.start_s, u.source.end_s, u.source.chosen) for u in group]
        return decode_worker.decode_spans(
            source.uri,
            source.member,
            spans,
            stall_s=_LIMITS.stall_s,
            memory_mb=_LIMITS.memory_mb,
            as_mixed=True,
        )[0]
    except AudioError as error:
        return [error] * len(group)


def _messages(utterance: Utterance, task: ShardTask) -> list[layout.Message]:
    return layout.asr_messages(asr.instruction(utterance.id, task.seed), task.audio, utterance.text or "")


def _key(utterance: Utterance, task: ShardTask) -> str:
    return layout.sample_key([utterance.id], asr.TASK, _messages(utterance, task))


def _sample(utterance: Utterance, task: ShardTask, offset: int, size: int, spool: IO[bytes]) -> EncodedSample:
    spool.seek(offset)
    sounds: dict[str, bytes] = {task.audio: spool.read(size)}
    return layout.build(asr.TASK, utterance.language, _messages(utterance, task), [utterance], sounds)


def _place(utterance: Utterance) -> str:
    source = utterance.source
    member = "" if source.member is None else f"!{source.member}"
    span = "" if source.start_s is None else f" from {source.start_s:.3f} s"
    return f"{source.uri}{member}{span}"


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
    out: str, results: Sequence[ShardResult], planned: Plan, spec: recipe.Shard, dataset: str
) -> dict[str, Any]:
    infos = [result.info for result in results if result.info is not None]
    missing = set(range(planned.shards)) - {result.number for result in results}
    written = sum(info.samples for info in infos)
    if missing or len(infos) != planned.shards or written != planned.samples:
        raise LLaSOError(
            f"{written} of {planned.samples} samples in {len(infos)} of {planned.shards} shards were written; "
            "run the command again"
        )
    return manifest.finish(
        out,
        [(storage.join(out, layout.sidecar_name(info.path)), info) for info in infos],
        profile=manifest.LLASO,
        plan=dataset,
        options={**spec.model_dump(), "templates": asr.templates_digest()},
        source=planned.provenance,
    )
