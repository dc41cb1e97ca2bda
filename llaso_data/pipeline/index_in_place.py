"""`llaso-data index --layout`: sets in tars, zips and tables are streamed where they lie; no byte of audio is copied.

The reader of the layout says what each sample is. Its JSON goes into the index, with the place of its audio: an offset
into a tar; of a zip and a table, the member. Where the layout says how long the audio is, no audio is read at all.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from llaso_data import audio, formats, records
from llaso_data.audio import limited
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.formats import hf_parquet
from llaso_data.formats.files.file_tree import escaped_glob, open_tree
from llaso_data.io import archive, lock, outputs, storage
from llaso_data.pipeline.convert.parts import DUPLICATE, shown
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.pipeline.convert.samples import Converted, samples
from llaso_data.recipe import Convert, Run, SourceSpec
from llaso_data.records import Failure, Sample
from llaso_data.shards import index, layout, manifest, reader
from llaso_data.shards.in_place import SPAN
from llaso_data.shards.index import IndexRow, PartRow, ShardInfo
from llaso_data.shards.sound_spool import Place
from llaso_data.uris import extension

_DirectoryOf = Callable[[str], archive.Directory]
_BY = "llaso-data index"
_TARS_AT_ONCE = 8
_MOST_JOBS = 512  # of tars: each lists the folder
_CONTAINERS = tuple(ending.removeprefix(".") for ending in reader.CONTAINERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class InPlaceJob:
    """Containers to index: what to read, and where the indices go."""

    spec: SourceSpec
    root: str
    out: str
    plan: str
    checksums: bool
    settings: Convert


@dataclass(frozen=True, slots=True)
class InPlaceResult:
    """What was indexed of a job: each container's sidecar and line of the manifest, and what was not."""

    shards: tuple[tuple[str, ShardInfo], ...]
    rows: int
    problems: dict[str, int]
    examples: dict[str, list[str]]
    notes: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class InPlaceSummary:
    """What was indexed. ``rows`` = ``samples`` + all ``problems``."""

    out: str
    layout: str
    shards: int
    rows: int
    samples: int
    hours: float
    problems: dict[str, int]
    notes: dict[str, int]
    examples: dict[str, list[str]] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python, for JSON."""
        return asdict(self)


def index_in_place(
    spec: SourceSpec,
    out: str | None = None,
    *,
    run: Run | None = None,
    sums: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> InPlaceSummary:
    """Write the index of a set whose audio lies in tars, zips or tables; nothing else is written.

    Args:
        spec: The set: a folder, a tar or a pattern of tars, with its layout.
        out: Folder for the index; None: the folder of the set.
        run: Engine and workers.
        sums: Read all audio, and store its checksums. Else the stream finds damage only where decoding does.
        progress: Called with (jobs done, jobs).

    Raises:
        LLaSOError: The set holds no such container, nothing in it can be indexed, or ``out`` holds something else.
    """
    from llaso_data.pipeline import engines

    root = storage.absolute(spec.path)
    root = root.partition("{")[0].rpartition("/")[0] if "{" in root or storage.is_file(root) else root
    with lock.exclusive(root if out is None else out, "index") as held:
        _refuse(held.uri)
        plan = records.digest("in_place", root, spec.model_dump_json(exclude_defaults=True), sums)
        problems, notes, shards = Problems(), Counter[str](), list[tuple[str, ShardInfo]]()
        job = InPlaceJob(
            spec=spec.model_copy(update={"corpus": spec.corpus or root.rpartition("/")[2]}),
            root=root, out=held.uri, plan=plan, checksums=sums, settings=Convert(),
        )  # fmt: skip
        jobs = list(_parts(job, notes))
        rows = 0
        for done, result in enumerate(engines.map_unordered(index_part, jobs, run or Run(engine="local")), 1):
            held.check()
            problems.join(result.problems, result.examples)
            notes.update(result.notes)
            shards += result.shards
            rows += result.rows
            if progress is not None:
                progress(done, len(jobs))
        if not shards:
            first = next((details[0] for details in problems.examples.values() if details), "it names no audio")
            raise LLaSOError(f"{spec.path}: nothing in it can be indexed in place; {first}")
        shards.sort(key=lambda shard: shard[1].path)
        held.confirm()
        stated = manifest.finish(
            held.uri,
            shards,
            profile=manifest.IN_PLACE,
            plan=records.digest(plan, *(info.sha256 for _, info in shards)),
            options={"layout": spec.type, "checksums": sums},
            source=None,
        )
        return InPlaceSummary(
            out=held.uri,
            layout=spec.type,
            shards=len(shards),
            rows=rows,
            samples=stated["samples"],
            hours=stated["hours"],
            problems=dict(sorted(problems.counts.items())),
            notes=dict(notes),
            examples=problems.examples,
        )


def index_part(job: InPlaceJob) -> InPlaceResult:
    """Index the containers of a job."""
    problems, notes = Problems(), Counter[str]()
    rows: dict[str, dict[str, tuple[int, IndexRow]]] = {}
    written: list[tuple[str, ShardInfo]] = []
    in_order = not formats.holds_conversations(job.spec)  # a corpus is sorted, so that a container's rows come together
    directory = lru_cache(maxsize=2)(archive.directory)  # which else asks the disk at every row
    read = 0
    for one in samples(job.spec, job.settings, notes):
        read += 1
        row = one if isinstance(one, Failure) else _row(one, job.checksums, directory)
        if isinstance(row, Failure):
            problems.add(row)
            continue
        uri, offset, made = row
        if in_order and rows and uri not in rows:
            written += (_write(job, *container) for container in rows.items())
            rows.clear()
        in_container = rows.setdefault(uri, {})
        if made.key in in_container:
            assert isinstance(one, Converted)
            problems.add(Failure(DUPLICATE, f"{shown(one)}: the same audio and messages as an earlier sample"))
            continue
        in_container[made.key] = offset, made
    written += (_write(job, *container) for container in sorted(rows.items()))
    return InPlaceResult(tuple(written), read, dict(problems.counts), problems.examples, dict(notes))


def _parts(job: InPlaceJob, notes: Counter[str]) -> Iterator[InPlaceJob]:
    """Tars a few at a time, and tables one by one, where a pattern can name them; else the whole set at once."""
    spec, changes = job.spec, list[dict[str, str]]()
    if spec.limit is None and spec.type in _BY_TARS:
        tree = open_tree(spec.path, ())
        tars = [file.path for file in tree.files if extension(file.path) == "tar"]
        changes = [{"path": path} for path in _patterns(job.root, tars)]
    elif spec.limit is None and spec.type == hf_parquet.LAYOUT.name:
        tables = hf_parquet.separate_tables(spec, replace(open_tree(spec.path, ()), notes=notes))
        changes = [{"pattern": escaped_glob(path)} for path in tables]
    yield from (replace(job, spec=spec.model_copy(update=change)) for change in changes or [{}])


def _patterns(root: str, tars: Sequence[str]) -> list[str]:
    """Names of a few tars each; nothing where they are few already, or cannot stand in a pattern."""
    if len(tars) <= _TARS_AT_ONCE or any(character in path for path in (root, *tars) for character in "{},"):
        return []
    at_once = max(_TARS_AT_ONCE, -(-len(tars) // _MOST_JOBS))
    names = (",".join(tars[start : start + at_once]) for start in range(0, len(tars), at_once))
    return [storage.join(root, f"{{{several}}}") for several in names]


_BY_TARS = frozenset(("nemo_tarred", "shar"))
"""Layouts whose reader takes a pattern of tars, and reads no more than what belongs to them."""


def _row(one: Converted, sums: bool, directory: _DirectoryOf) -> tuple[str, int, IndexRow] | Failure:
    """Container, offset of the first audio, and row of a sample."""
    uri = one.places[0][0] if one.places else ""
    if extension(uri) not in _CONTAINERS or any(place[0] != uri or place[1] is None for place in one.places):
        return Failure("not_in_place", f"{shown(one)}: its audio does not lie in one tar, zip or table")
    try:
        stated = _stated(one)
        sounds = [_sound(place, stated_s, sums, directory) for place, stated_s in zip(one.places, stated, strict=True)]
    except AudioError as error:
        return Failure(error.reason, error.detail)
    count = len(sounds)
    names = [layout.audio_parts(count, _ending(sound.name))[number] for number, sound in enumerate(sounds)]
    sample = one.sample
    content = _content(sample, names, sounds, one.places)
    row = IndexRow(
        key=content["key"],
        parts=tuple(
            PartRow(name, sound.offset, sound.size, sound.crc32) for name, sound in zip(names, sounds, strict=True)
        ),
        duration_s=content["duration_s"],
        text_bytes=layout.text_bytes(content["messages"]),
        task=sample.task,
        language=sample.language,
        modality=sample.modality,
        split=sample.split,
        license=layout.joined(utterance.source.license for utterance in sample.audios),
        consent=layout.joined(utterance.source.consent for utterance in sample.audios),
        content=layout.canonical(content).decode(),
    )
    return uri, min(sound.offset for sound in sounds), row


def _ending(name: str) -> str:
    """The ending of a part's name, by which the stream knows audio. A cell has none; its bytes say what they are."""
    ending = extension(name)
    return ending if ending in audio.AUDIO_EXTENSIONS else "wav"


def _stated(one: Converted) -> Sequence[float | None]:
    stated = one.stated_s or (None,) * len(one.places)
    return [utterance.duration_s or seconds for utterance, seconds in zip(one.sample.audios, stated, strict=True)]


@dataclass(frozen=True, slots=True)
class _Sound:
    name: str
    offset: int
    size: int
    crc32: int
    duration_s: float


def _sound(place: Place, stated_s: float | None, sums: bool, directory: _DirectoryOf) -> _Sound:
    """Where an audio lies, and how long it is. Raises AudioError where it is not there, or is none."""
    uri, member, start_s, end_s, _ = place
    assert member is not None
    offset = size = 0
    if extension(uri) == "tar":
        known = directory(uri)
        found = known.members.get(member)
        if found is None:
            why = known.broken.get(member) or known.problem or "no such member"
            raise AudioError("missing", f"{uri}!{member}: {why}")
        offset, size = found
    seconds = None if end_s is None else end_s - (start_s or 0.0)
    seconds = seconds or stated_s
    crc = reader.NOT_SUMMED
    if sums or seconds is None:
        data = _read(uri, member)
        crc = zlib.crc32(data)
        name = audio.name_of(uri, member)
        if seconds is None:
            whole_s = limited.probe(name, data=data).duration_s
            whole_s = len(limited.decode_bytes(data, name)) / audio.SAMPLE_RATE_HZ if whole_s is None else whole_s
            seconds = whole_s - (start_s or 0.0)
    return _Sound(member, offset, size, crc if extension(uri) == "tar" else reader.NOT_SUMMED, round(seconds, 6))


def _read(uri: str, member: str) -> bytes:
    with audio.open_audio(uri, member) as file:
        return file.read()


def _content(sample: Sample, names: Sequence[str], sounds: Sequence[_Sound], places: Sequence[Place]) -> dict[str, Any]:
    """The JSON of a sample of which no byte is copied; how long its audios are, the sounds say."""
    content = layout.content_of(sample, names)
    for entry, sound, (_, member, start_s, end_s, channels) in zip(content["audios"], sounds, places, strict=True):
        entry["duration_s"] = sound.duration_s
        entry["source"]["member"] = member
        if start_s is not None or end_s is not None or channels is not None:
            entry[SPAN] = [start_s, end_s, None if channels is None else list(channels)]
    content["duration_s"] = round(sum(sound.duration_s for sound in sounds), 6)
    return content


def _write(job: InPlaceJob, uri: str, rows: Mapping[str, tuple[int, IndexRow]]) -> tuple[str, ShardInfo]:
    """Write the sidecar of a container: its rows in the order in which their audio lies there."""
    ordered = [row for _, row in sorted(rows.values(), key=lambda row: (row[0], row[1].key))]
    inside = uri.startswith(f"{job.root}/")
    path = uri[len(job.root) + 1 :] if inside and job.out == job.root else uri
    name = uri[len(job.root) + 1 :] if inside else uri.rpartition("/")[2]
    sidecar = storage.join(job.out, layout.sidecar_name(name) if name.endswith(".tar") else f"{name}.index.arrow")
    state = storage.stat(uri)
    table = index.to_table(ordered)
    digest = records.digest("rows", state["version"], *(row.content for row in ordered))
    info = ShardInfo(
        path=path,
        sha256=records.digest("in_place", digest, length=64),
        bytes=state["size"],
        samples=len(ordered),
        duration_s=round(sum(row.duration_s for row in ordered), 6),
        digest=digest,
        dataset="",
        columns=index.later_columns(ordered),
    )
    outputs.refuse(sidecar, _BY, _is_sidecar)
    index.write_sidecar(sidecar, table, info)
    return sidecar, info


def _is_sidecar(uri: str) -> bool:
    info = index.sidecar_info(uri)
    return info is not None and not info.dataset


def _refuse(out: str) -> None:
    path = storage.join(out, layout.MANIFEST)
    outputs.refuse(path, _BY, lambda uri: manifest.is_manifest(outputs.json_at(uri), manifest.IN_PLACE))
    if not outputs.is_there(path):
        outputs.refuse(storage.join(out, layout.INDEX), _BY, index.is_index)
