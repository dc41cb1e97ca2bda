"""One part of a conversion: its samples get their sound and are written. It runs in a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from llaso_data import audio, records
from llaso_data.audio import decode_worker, spans
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.formats import LAYOUTS, Layout
from llaso_data.formats.writing.writer import LayoutWriter, Part, Sound, SoundedSample
from llaso_data.io import checksums, lock, outputs, storage
from llaso_data.pipeline.convert import filtering
from llaso_data.pipeline.convert.carried import not_carried
from llaso_data.pipeline.convert.parts import shown
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.pipeline.convert.samples import Converted
from llaso_data.records import Failure, Sample
from llaso_data.shards import layout, writer
from llaso_data.shards.index import ShardInfo
from llaso_data.shards.sound_spool import Place, SoundSpool, SpooledSample, said_by
from llaso_data.uris import extension

WORK = ".convert"
"""The folder of the commits of parts, in the folder of the set."""
SHARDS = "shards"
NOT_HELD = "not_held"
"""The reason of a sample that the layout cannot hold."""

_MEMORY_MB, _STALL_S = 2048, 120.0
_LENGTH_TOLERANCE = 0.01  # codecs that state their length state it to about a packet


@dataclass(frozen=True, slots=True, kw_only=True)
class PartJob:
    """One part to write. ``out`` is the folder of its group, ``digest`` of all that decides its bytes.

    ``moved`` says of files where they are now: an archive that was fetched is read there, and called by its address.
    """

    root: str
    out: str
    group: str
    number: int
    samples: tuple[Converted, ...]
    digest: str
    dataset: str
    to: str
    audio: Literal["keep", "flac", "wav", "opus"]
    filter: str | None = None
    lock: str | None = None
    moved: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PartResult:
    """One part that is written, now or by an earlier run (``skipped``).

    Attributes:
        samples: That were written.
        bytes: Of its audio and text, as far as this run wrote them.
        problems: Counts of the samples that were not written, by reason.
        examples: The first of them, by reason.
        filtered: Samples for which the condition does not hold.
        not_carried: How many samples said something that the layout cannot hold, by field.
        tables: The tables that it has lines of: (name, order, header).
        files: Of its own, relative to ``out``.
        info: Of a shard.
    """

    group: str
    number: int
    digest: str
    samples: int
    duration_s: float
    bytes: int
    problems: dict[str, int]
    examples: dict[str, list[str]]
    filtered: int = 0
    not_carried: dict[str, int] = field(default_factory=dict)
    tables: tuple[tuple[str, str, str | None], ...] = ()
    files: tuple[str, ...] = ()
    info: ShardInfo | None = None
    skipped: bool = False


def record_uri(out: str, number: int) -> str:
    """Where the commit of a part lies."""
    return storage.join(out, WORK, f"part-{number:06d}.json")


def lines_uri(out: str, number: int, table: int) -> str:
    """Where the lines of a part wait until the set is finished."""
    return storage.join(out, WORK, f"part-{number:06d}.{table}")


def ids_uri(out: str, number: int) -> str:
    """Where the ids of a part's samples lie, 16 bytes each; the next generation is compared with them."""
    return storage.join(out, WORK, f"part-{number:06d}.ids")


def write_part(job: PartJob) -> PartResult:
    """Write a part unless it is finished. Samples whose sound cannot be had are counted and left out."""
    if (done := finished(job)) is not None:
        return done
    lock.refuse_orphans(job.root, job.lock)
    retire(job.out, job.number)
    result, ids = _write_shard(job) if job.to == SHARDS else _write_layout(job)
    storage.write_bytes(ids_uri(job.out, job.number), bytes.fromhex("".join(ids)))
    checksums.write_json(record_uri(job.out, job.number), _stated(result))
    return result


def retire(out: str, number: int) -> None:
    """Remove what an earlier run wrote as this part: its commit first, then the files in ``out`` that it names."""
    stated = outputs.json_at(record_uri(out, number))
    if not isinstance(stated, dict):
        return
    tables = stated.get("tables", [])
    files = [name for name in stated.get("files", []) if not name.startswith("/") and ".." not in name.split("/")]
    lines = [lines_uri("", number, table).lstrip("/") for table in range(len(tables))]
    shard = layout.shard_name(number)
    fs, root = storage.filesystem(out)
    for name in [
        *(one("", number).lstrip("/") for one in (record_uri, ids_uri)),
        *lines,
        *files,
        layout.sidecar_name(shard),
        shard,
    ]:
        if fs.exists(path := storage.join(root, name)):
            fs.rm_file(path)


def finished(job: PartJob) -> PartResult | None:
    """The part that an earlier run committed under this digest; None where it must be written."""
    try:
        stated = checksums.read_json(record_uri(job.out, job.number), "; remove it")
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(stated, dict) or stated.get("digest") != job.digest:
        return None
    info = None
    if job.to == SHARDS and stated["samples"]:
        info = writer.finished(job.out, layout.shard_name(job.number), digest=job.digest, dataset=job.dataset)
        if info is None:
            return None
    return _read(stated, info)


def committed(out: str, number: int) -> PartResult:
    """A part of an earlier generation, without the shard that it may have become."""
    return _read(checksums.read_json(record_uri(out, number), "; convert everything again"), None)


def _stated(result: PartResult) -> dict[str, Any]:
    names = ("group", "number", "digest", "samples", "duration_s", "bytes", "problems", "examples", "filtered")
    stated = {name: getattr(result, name) for name in (*names, "not_carried")}
    return {**stated, "tables": [list(table) for table in result.tables], "files": list(result.files)}


def _read(stated: Mapping[str, Any], info: ShardInfo | None) -> PartResult:
    values = {name: value for name, value in stated.items() if name in PartResult.__dataclass_fields__}
    values |= {"tables": tuple(map(tuple, stated["tables"])), "files": tuple(stated["files"])}
    return PartResult(**values, info=info, skipped=True)


def _write_shard(job: PartJob) -> tuple[PartResult, list[str]]:
    problems = Problems()
    name = layout.shard_name(job.number)
    form: Literal["flac", "wav", "opus"] = "flac" if job.audio == "keep" else job.audio
    with SoundSpool(form, storage.join(job.out, name), pass_through=job.audio == "keep") as spool:
        filtered = _fill(spool, job.samples, job, problems)
        info = None
        if len(spool):
            info = writer.write(job.out, name, spool.encoded(), digest=job.digest, dataset=job.dataset)
        ids = [job.samples[number].id for number in spool.numbers()]
    result = PartResult(
        group=job.group,
        number=job.number,
        digest=job.digest,
        samples=0 if info is None else info.samples,
        duration_s=0.0 if info is None else info.duration_s,
        bytes=0 if info is None else info.bytes,
        problems=dict(problems.counts),
        examples=problems.examples,
        filtered=filtered,
        info=info,
    )
    return result, ids


def _fill(spool: SoundSpool, samples: tuple[Converted, ...], job: PartJob, problems: Problems) -> int:
    """Give samples their sound. Returns how many the condition lets go."""
    wheres = [one.where for one in samples]
    now = dict(job.moved)
    places = [[(now.get(place[0], place[0]), *place[1:]) for place in one.places] for one in samples]
    for failure in spool.add([one.sample for one in samples], places, wheres):
        problems.add(Failure(failure.reason, _unmoved(failure.detail, job)))
    if job.filter is None or not len(spool):
        return 0
    return spool.select(lambda heard: _holds(job.filter or "", list(heard)))


def _unmoved(detail: str, job: PartJob) -> str:
    """What is said of a file where it is now, with the file's own address."""
    for uri, path in job.moved:
        detail = detail.replace(path, uri)
    return detail


def _holds(condition: str, samples: list[Sample]) -> list[bool]:
    return [bool(known) for known in filtering.mask(filtering.parse(condition), filtering.table(samples))]


def _write_layout(job: PartJob) -> tuple[PartResult, list[str]]:
    chosen = LAYOUTS[job.to]
    assert chosen.writer is not None
    problems, missing = Problems(), Counter[str]()
    part = Part(job.out, job.number)
    totals = _Totals()
    held = _held(job.samples, chosen, problems)
    pointed, others = _pointed(held, chosen.writer, job, problems)
    form: Literal["flac", "wav", "opus"] = "flac" if job.audio == "keep" else job.audio
    with SoundSpool(form, job.out) as spool:
        totals.filtered = _fill(spool, tuple(others), job, problems)
        if job.filter is not None and pointed:
            holds = _holds(job.filter, [one.sample for _, one in pointed])
            totals.filtered += holds.count(False)
            pointed = [one for one, keeps in zip(pointed, holds, strict=True) if keeps]
        ready = _in_order(job.samples, dict(pointed), spool)
        chosen.writer.write(part, _counted(ready, chosen.writer, totals, missing))
    for number, lines in enumerate(part.tables.values()):
        storage.write_bytes(lines_uri(job.out, job.number, number), "\n".join(lines).encode() + b"\n")
    result = PartResult(
        group=job.group,
        number=job.number,
        digest=job.digest,
        samples=len(totals.ids),
        duration_s=round(totals.duration_s, 6),
        bytes=totals.bytes + sum(len(line) for lines in part.tables.values() for line in lines),
        problems=dict(problems.counts),
        examples=problems.examples,
        filtered=totals.filtered,
        not_carried=dict(sorted(missing.items())),
        tables=tuple((name, part.orders[name], part.headers.get(name)) for name in part.tables),
        files=tuple(part.files),
    )
    return result, totals.ids


@dataclass(slots=True)
class _Totals:
    ids: list[str] = field(default_factory=list)
    duration_s: float = 0.0
    bytes: int = 0
    filtered: int = 0


def _held(samples: tuple[Converted, ...], chosen: Layout, problems: Problems) -> list[Converted]:
    """Without the samples that the layout cannot hold."""
    held: list[Converted] = []
    for one in samples:
        assert chosen.writer is not None
        why = chosen.writer.refuses(one.sample)
        if why is None:
            held.append(one)
        else:
            problems.add(Failure(NOT_HELD, f"{shown(one)}: {chosen.title} cannot hold it: {why}"))
    return held


def _counted(
    samples: Iterator[SoundedSample], chosen: LayoutWriter, totals: _Totals, missing: Counter[str]
) -> Iterator[SoundedSample]:
    for one in samples:
        totals.ids.append(one.sample.id)
        totals.duration_s += one.sample.duration_s
        totals.bytes += sum(len(sound.data or b"") for sound in one.sounds)
        missing.update(not_carried(one.sample, chosen.holds))
        yield one


def _in_order(
    samples: tuple[Converted, ...], pointed: Mapping[str, SoundedSample], spool: SoundSpool
) -> Iterator[SoundedSample]:
    """All samples that can be written, in the order of the job."""
    spooled = spool.spooled(sort=False)
    waiting: SpooledSample | None = next(spooled, None)
    for one in samples:
        id = one.sample.id
        if id in pointed:
            yield pointed[id]
        elif waiting is not None and waiting.sample.id == id:
            yield _sounded(waiting)
            waiting = next(spooled, None)


def _sounded(one: SpooledSample) -> SoundedSample:
    sounds = tuple(
        Sound(
            data=data,
            extension=extension(part) or part,
            duration_s=utterance.duration_s or 0.0,
            sampling_rate_hz=audio.SAMPLE_RATE_HZ,
        )
        for (part, data), utterance in zip(one.sounds.items(), one.sample.audios, strict=True)
    )
    return SoundedSample(key=one.sample.id, sample=one.sample, sounds=sounds)


def _pointed(
    samples: list[Converted], chosen: LayoutWriter, job: PartJob, problems: Problems
) -> tuple[list[tuple[str, SoundedSample]], list[Converted]]:
    """Samples whose sounds stay where they are, by id, and those whose sounds are written."""
    if job.audio != "keep" or chosen.inside:
        return [], samples
    pointed: list[tuple[str, SoundedSample]] = []
    others: list[Converted] = []
    for one in samples:
        if not all(_points(place, chosen) for place in one.places):
            others.append(one)
            continue
        try:
            sounds = tuple(
                _pointer(place, dict(job.moved).get(place[0], place[0]), audio, chosen.durations)
                for place, audio in zip(one.places, one.sample.audios, strict=True)
            )
        except AudioError as error:
            problems.add(said_by(one.where, Failure(error.reason, _unmoved(error.detail, job))))
            continue
        audios = tuple(
            replace(audio, duration_s=sound.duration_s) for audio, sound in zip(one.sample.audios, sounds, strict=True)
        )
        sample = replace(one.sample, audios=audios)
        pointed.append((one.sample.id, SoundedSample(key=one.sample.id, sample=sample, sounds=sounds)))
    return pointed, others


def _points(place: Place, chosen: LayoutWriter) -> bool:
    """Whether the layout can say where a sound is: in a file of its own, a span or a channel where it says those."""
    uri, member, start_s, end_s, channels = place
    has_member = chosen.members and (extension(uri) == "tar" or not chosen.tars_only)
    has_span = start_s is not None or end_s is not None
    has_channel = channels is None or (len(channels) == 1 and chosen.channels)
    return (member is None or has_member) and (chosen.spans or not has_span) and has_channel


def _pointer(place: Place, now: str, utterance: records.Utterance, opens: bool) -> Sound:
    """Raises AudioError where the file is not there, is no audio or ends before; opened only where ``opens``."""
    uri, member, start_s, end_s, channels = place
    probe = _probed(now, member) if opens else None
    if probe is not None and probe.duration_s is not None:
        tolerance_s = max(spans.SPAN_TOLERANCE_S, _LENGTH_TOLERANCE * probe.duration_s)
        if (start_s or 0.0) >= probe.duration_s or (end_s or 0.0) > probe.duration_s + tolerance_s:
            raise spans.outside(uri, start_s or 0.0, end_s, probe.duration_s)
    duration_s = utterance.duration_s or 0.0
    if not duration_s and probe is not None:
        end_s = end_s if end_s is not None else probe.duration_s
        if end_s is None:
            pcm, _ = decode_worker.decode_spans(now, member, [place[2:]], stall_s=_STALL_S, memory_mb=_MEMORY_MB)
            if isinstance(pcm[0], AudioError):
                raise pcm[0]
            duration_s = len(pcm[0]) / audio.SAMPLE_RATE_HZ
        else:
            duration_s = round(end_s - (start_s or 0.0), 6)
    return Sound(
        data=None,
        extension=extension(uri),
        duration_s=duration_s,
        sampling_rate_hz=audio.SAMPLE_RATE_HZ if probe is None else probe.sampling_rate_hz,
        uri=uri,
        member=member,
        start_s=start_s,
        channel=channels[0] if channels else None,
    )


def _probed(uri: str, member: str | None) -> audio.Probe:
    """What a file, or a member of one, states of itself; its sound is not decoded."""
    return decode_worker.decode_spans(uri, member, [], stall_s=_STALL_S, memory_mb=_MEMORY_MB)[1]


def refuse_layout(name: str) -> None:
    """Check the name of what is written.

    Raises:
        LLaSOError: It is neither shards nor samples nor a layout that is written.
    """
    written = [SHARDS, *(one for one in LAYOUTS if LAYOUTS[one].writer is not None)]
    if name not in written:
        known = "is only read" if name in LAYOUTS else "is no layout"
        raise LLaSOError(f"--to {name}: it {known}; what is written is {', '.join(written)}")
