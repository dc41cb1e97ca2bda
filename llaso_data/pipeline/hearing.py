"""Recordings are decoded, and what is compared of their sound is kept: block by block, in the workers of an engine.

A block's file is one immutable Parquet table, named by the digest of all that made it: which recordings, as their
sources state them, and :data:`VERSION`. Its existence is the commit, so that a killed run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, audio_id, limited
from llaso_data.errors import AudioError
from llaso_data.instruct.leakage.fingerprint import DOUBTS, Fingerprint, fingerprint
from llaso_data.io import interrupts, lock, sealed, storage
from llaso_data.pipeline import engines
from llaso_data.recipe import Run
from llaso_data.records import Failure, Utterance, digest, pickling
from llaso_data.shards.sound_spool import Place, place_of

VERSION = 1
"""Raised where the same recording is heard otherwise."""

FOLDER = "heard"
"""Where block files lie, in the folder of the work."""

_SCHEMA = pa.schema(
    [
        ("audio_id", pa.string()),  # null where nothing was decoded
        ("duration_s", pa.float64()),
        ("codes", pa.list_(pa.uint32())),
        ("doubts", pa.list_(pa.uint8())),  # numbers of bits, four of each code
        ("reason", pa.string()),  # why nothing was decoded
        ("detail", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What is to be heard.

    Attributes:
        place: Where it is.
        version: Changes with its bytes, as far as its source says.
        as_mixed: Whether its source has decoded it before, and so knows its channels.
    """

    place: Place
    version: str = ""
    as_mixed: bool = False

    @classmethod
    def of(cls, utterance: Utterance, version: str = "") -> Recording:
        """The recording that an utterance points to."""
        return cls(place=place_of(utterance), version=version, as_mixed=utterance.source.is_probed)


pickling.register(Recording)


@dataclass(frozen=True, slots=True)
class HeardRecording:
    """What was heard of a recording.

    Attributes:
        audio_id: The digest of its sound; None where it cannot be decoded.
        duration_s: Its length.
        sound: Its fingerprint.
        failure: Why it cannot be decoded.
    """

    audio_id: str | None
    duration_s: float
    sound: Fingerprint | None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class HeardCounts:
    """How far hearing is.

    Attributes:
        blocks: Blocks that are done; of them, ``skipped`` by an earlier run.
        total: How many there are, where it is known.
        recordings: Recordings of this run; of them, ``failed`` could not be decoded.
        audio_s: Seconds of sound of this run.
    """

    blocks: int = 0
    skipped: int = 0
    total: int | None = None
    recordings: int = 0
    failed: int = 0
    audio_s: float = 0.0

    def with_block(self, block: HeardBlock) -> HeardCounts:
        """With one more block."""
        if block.skipped:
            return replace(self, blocks=self.blocks + 1, skipped=self.skipped + 1)
        return replace(
            self,
            blocks=self.blocks + 1,
            recordings=self.recordings + block.recordings,
            failed=self.failed + block.failed,
            audio_s=self.audio_s + block.audio_s,
        )

    def joined(self, other: HeardCounts) -> HeardCounts:
        """These and others. The total is not known."""
        return HeardCounts(
            blocks=self.blocks + other.blocks,
            skipped=self.skipped + other.skipped,
            recordings=self.recordings + other.recordings,
            failed=self.failed + other.failed,
            audio_s=self.audio_s + other.audio_s,
        )


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where hearing works.

    Attributes:
        run: The engine.
        folder: The folder of the work, where block files are kept for the next run; None: they are not kept.
        held: The lock of the run's output.
        progress: Called with each block that is done.
    """

    run: Run
    folder: str | None = None
    held: lock.Held | None = None
    progress: Callable[[HeardCounts], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HearJob:
    """A block to hear. ``name`` is the digest of its recordings, ``lock`` an output and the token of its lock."""

    number: int
    name: str
    recordings: tuple[Recording, ...]
    folder: str | None
    lock: tuple[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardBlock:
    """A block that was heard, now or by an earlier run (``skipped``). ``table`` is None where a file holds it."""

    number: int
    name: str
    table: pa.Table | None = None
    recordings: int = 0
    failed: int = 0
    audio_s: float = 0.0
    skipped: bool = False


def hear_blocks(
    batches: Iterable[Sequence[Recording]], place: Workplace, total: int | None = None
) -> Iterator[HeardBlock]:
    """Hear recordings that no earlier run has heard.

    Args:
        batches: Each one becomes a block. Recordings of one file belong together: it is then decoded once.
        place: Where the work is done.
        total: How many batches there are, where it is known.

    Yields:
        The blocks, in no fixed order, numbered in the order of the batches.

    Raises:
        LLaSOError: A store fails, workers keep dying, or another run has taken over.
    """
    folder = None if place.folder is None else storage.join(place.folder, FOLDER)
    there = set() if folder is None else {row["path"] for row in storage.listing(folder)}
    held = None if place.held is None else (place.held.uri, place.held.token)
    skipped: list[HeardBlock] = []
    counts = HeardCounts(total=total)

    def missing() -> Iterator[HearJob]:
        for number, recordings in enumerate(batches):
            name = _name_of(recordings)
            if _file_name(name) in there:
                skipped.append(HeardBlock(number=number, name=name, recordings=len(recordings), skipped=True))
            else:
                yield HearJob(number=number, name=name, recordings=tuple(recordings), folder=folder, lock=held)

    def in_turn() -> Iterator[HeardBlock]:
        jobs = missing()
        first = list(islice(jobs, 2))
        for heard in engines.map_unordered(hear_block, chain(first, jobs), _run_for(first, place.run)):
            yield from _taken(skipped)
            yield heard
        yield from _taken(skipped)

    for block in in_turn():
        interrupts.check()
        if place.held is not None:
            place.held.check()
        counts = counts.with_block(block)
        if place.progress is not None:
            place.progress(counts)
        yield block


def hear(batches: Iterable[Sequence[Recording]], place: Workplace) -> Iterator[list[HeardRecording]]:
    """Hear recordings, and give them in the order in which they came.

    Args:
        batches: As of :func:`hear_blocks`. They are taken as workers become free.
        place: Where the work is done.

    Yields:
        What was heard, batch by batch.

    Raises:
        LLaSOError: As :func:`hear_blocks`; a block file is damaged.
    """
    waiting: dict[int, HeardBlock] = {}
    following = 0
    for block in hear_blocks(batches, place):
        waiting[block.number] = block
        while following in waiting:
            yield recordings_of(waiting.pop(following), place)
            following += 1


def recordings_of(block: HeardBlock, place: Workplace) -> list[HeardRecording]:
    """What was heard of a block, in the order of its recordings."""
    if block.table is not None:
        return _from_table(block.table)
    assert place.folder is not None
    return read_block(place.folder, block.name)


def read_block(folder: str, name: str) -> list[HeardRecording]:
    """What a block file says, in the order of the block's recordings.

    Args:
        folder: The folder of the work.
        name: The block's.

    Raises:
        DamagedError: Its bytes have another checksum.
    """
    with sealed.read_parquet(storage.join(folder, FOLDER, _file_name(name))) as file:
        return _from_table(pq.read_table(file, schema=_SCHEMA))


def hear_block(job: HearJob) -> HeardBlock:
    """Hear a block, and commit it where it has a folder. It runs in a worker."""
    if job.lock is not None:
        lock.refuse_orphans(*job.lock)
    files: dict[tuple[str, str | None, bool], list[int]] = {}
    for number, one in enumerate(job.recordings):
        files.setdefault((*one.place[:2], one.as_mixed), []).append(number)
    heard: dict[int, HeardRecording] = {}
    for (uri, member, as_mixed), numbers in files.items():
        spans = [job.recordings[number].place[2:] for number in numbers]
        for number, sound in zip(numbers, limited.decode_spans(uri, member, spans, as_mixed=as_mixed), strict=True):
            heard[number] = _heard(sound)
    return commit(job, [heard[number] for number in range(len(job.recordings))])


def commit(job: HearJob, heard: Sequence[HeardRecording]) -> HeardBlock:
    """The block of what was heard, in the order of the job's recordings; its file is written where it has a folder."""
    table = _to_table(heard)
    if job.folder is not None:
        options = {"compression": "zstd", "compression_level": 1, "use_dictionary": False}
        sealed.write_parquet(storage.join(job.folder, _file_name(job.name)), table, **options)
    return HeardBlock(
        number=job.number,
        name=job.name,
        table=table if job.folder is None else None,
        recordings=len(heard),
        failed=sum(one.failure is not None for one in heard),
        audio_s=sum(one.duration_s for one in heard),
    )


def _run_for(first: Sequence[HearJob], run: Run) -> Run:
    """One block is heard by this process: the start of others would take longer."""
    return run.model_copy(update={"num_workers": 1}) if run.engine == "local" and len(first) < 2 else run


def _heard(sound: Pcm | AudioError) -> HeardRecording:
    if isinstance(sound, AudioError):
        return HeardRecording(None, 0.0, None, Failure(sound.reason, sound.detail))
    return HeardRecording(audio_id(sound), len(sound) / SAMPLE_RATE_HZ, fingerprint(sound))


def _name_of(recordings: Sequence[Recording]) -> str:
    stated = (part for one in recordings for part in (*one.place, one.version, one.as_mixed))
    return digest("heard", VERSION, *stated)


def _file_name(name: str) -> str:
    return f"{name}.parquet"


def _taken(blocks: list[HeardBlock]) -> list[HeardBlock]:
    """What is in a list, which is then empty."""
    taken = blocks[:]
    blocks.clear()
    return taken


def _to_table(heard: Sequence[HeardRecording]) -> pa.Table:
    sounds = [one.sound or Fingerprint(np.zeros(0, np.uint32), np.zeros((0, DOUBTS), np.uint32)) for one in heard]
    lengths = np.cumsum([0, *(len(sound.codes) for sound in sounds)])
    codes = np.concatenate([np.zeros(0, np.uint32), *(sound.codes for sound in sounds)])
    masks = np.concatenate([np.zeros(0, np.uint32), *(sound.doubts.ravel() for sound in sounds)])
    bits = np.log2(masks).astype(np.uint8)  # exact: each has one bit
    failures = [one.failure for one in heard]
    columns = [
        pa.array([one.audio_id for one in heard], pa.string()),
        pa.array([one.duration_s for one in heard], pa.float64()),
        _lists(lengths, codes),
        _lists(DOUBTS * lengths, bits),
        pa.array([failure and failure.reason for failure in failures], pa.string()),
        pa.array([failure and failure.detail for failure in failures], pa.string()),
    ]
    return pa.table(columns, schema=_SCHEMA)


def _lists(starts: npt.NDArray[np.int64], values: npt.NDArray[np.uint32] | npt.NDArray[np.uint8]) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(values))


def _from_table(table: pa.Table) -> list[HeardRecording]:
    table = table.combine_chunks()
    audio_ids, durations = table["audio_id"].to_pylist(), table["duration_s"].to_pylist()
    reasons, details = table["reason"].to_pylist(), table["detail"].to_pylist()
    codes, doubts = (_pieces(table[name]) for name in ("codes", "doubts"))
    heard = []
    for number, name in enumerate(audio_ids):
        if name is None:
            failure = Failure(reasons[number], details[number])
            heard.append(HeardRecording(None, 0.0, None, failure))
            continue
        masks = np.left_shift(np.uint32(1), doubts[number].reshape(-1, DOUBTS).astype(np.uint32))
        heard.append(HeardRecording(name, durations[number], Fingerprint(codes[number], masks)))
    return heard


def _pieces(column: pa.ChunkedArray) -> list[npt.NDArray[Any]]:
    """The lists of a column as arrays."""
    lists = column.combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) and lists.num_chunks else lists
    starts = lists.offsets.to_numpy()
    return np.split(lists.values.to_numpy(), starts[1:-1]) if len(lists) else []
