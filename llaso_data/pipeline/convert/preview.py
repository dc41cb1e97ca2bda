"""`--dry-run` and `--check`: what a conversion would do, without writing anything."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

from llaso_data import formats
from llaso_data.formats.files.file_tree import open_tree
from llaso_data.formats.rows import head
from llaso_data.io import storage
from llaso_data.pipeline.convert.by_archive.preview import ArchivePreview, first_samples, look_at
from llaso_data.pipeline.convert.by_archive.source import archive_source
from llaso_data.pipeline.convert.carried import not_carried
from llaso_data.pipeline.convert.part import SHARDS
from llaso_data.pipeline.convert.parts import Tally, plan
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.pipeline.convert.run import checked
from llaso_data.pipeline.convert.samples import Converted, OpenSamples, open_samples, samples_of
from llaso_data.recipe import Convert, Recipe, SourceSpec
from llaso_data.records import Sample
from llaso_data.shards.sound_spool import SoundSpool
from llaso_data.uris import extension

ROWS = 200
"""Rows of each source that ``--dry-run`` reads."""
EXAMPLES = 10
_HEAD_BYTES = 1 << 16
_TEXT_TABLES = frozenset(("jsonl", "ndjson", "csv", "tsv"))


@dataclass(slots=True)
class SourcePreview:
    """What one source is.

    Attributes:
        path: As it was named.
        layout: By which it would be read.
        evidence: Why it is taken for that.
        mapping: Target → template, where the source has a map.
        size_bytes: Of all its files.
        rows: That were read.
        seconds: That reading took.
        rows_about: How many rows it has, by its size or its files; None where that cannot be said.
    """

    path: str
    layout: str
    evidence: str
    mapping: dict[str, str]
    size_bytes: int
    rows: int = 0
    seconds: float = 0.0
    rows_about: int | None = None


@dataclass(slots=True)
class Preview:
    """What would become of the sources.

    Attributes:
        whole: Whether all rows were read.
        samples: That would be written, of the rows that were read.
        filtered: That the condition lets go.
        hours: Of audio, as far as the sources say it; None where they do not.
        examples: The first samples.
        estimate: Hours of audio, bytes and CPU seconds of the whole conversion, by what the first samples take; None
            where their sound cannot be had, or it cannot be said how many there are.
        archives: What sources hold that are converted archive by archive.
        not_carried: How many samples say something that the layout cannot hold, by field.
    """

    whole: bool
    to: str
    sources: list[SourcePreview] = field(default_factory=list)
    samples: int = 0
    filtered: int = 0
    hours: float | None = None
    examples: list[Sample] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    not_carried: Counter[str] = field(default_factory=Counter)
    problems: Problems = field(default_factory=Problems)
    estimate: Estimate | None = None
    archives: list[ArchivePreview] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a conversion takes: rows, hours of audio, bytes of FLAC, and CPU seconds."""

    rows: int
    hours: float
    bytes: int
    cpu_s: float


def preview(recipe: Recipe, whole: bool = False) -> Preview:
    """Read the sources as a conversion would, and write nothing.

    Args:
        recipe: As for a conversion; ``out`` may be missing.
        whole: Read every row; else :data:`ROWS` of each source.

    Raises:
        LLaSOError: As a conversion.
    """
    settings = checked(recipe.model_copy(update={"out": recipe.out or "-"}))
    result = Preview(whole, settings.to)
    holds = _holds(settings)
    seconds = 0.0
    known = 0
    heard: list[Converted] = []
    for spec in recipe.sources:
        opened = open_samples(spec, settings, result.notes)
        zipped = None if whole else archive_source(opened)
        source = _source(opened)
        result.sources.append(source)
        started_s = time.monotonic()
        tally = Tally()
        with head.only_first(None if whole else ROWS):
            rows = samples_of(opened, settings) if zipped is None else first_samples(zipped, ROWS)
            for part in plan(islice(rows, None if whole else ROWS), settings, False, result.problems, tally):
                heard += part.samples[: EXAMPLES - len(heard)]
                for one in part.samples:
                    _count(one, result, holds)
                    seconds += one.sample.duration_s
                    known += bool(one.sample.duration_s)
        if zipped is not None:
            result.archives.append(look_at(zipped))
        elif whole or tally.read < ROWS:
            source.rows_about = tally.read
        else:
            source.rows_about = _rows_about(spec)
        source.rows, source.seconds = tally.read, time.monotonic() - started_s
        result.filtered += tally.filtered
    result.estimate = _estimate(result, heard)
    result.hours = seconds / 3600 * result.samples / known if known else None
    return result


def _count(one: Converted, result: Preview, holds: frozenset[str] | None) -> None:
    result.samples += 1
    if len(result.examples) < EXAMPLES:
        result.examples.append(one.sample)
    if holds is not None:
        result.not_carried.update(not_carried(one.sample, holds))


def _holds(settings: Convert) -> frozenset[str] | None:
    writer = None if settings.to == SHARDS else formats.LAYOUTS[settings.to].writer
    return None if writer is None else writer.holds


def _source(opened: OpenSamples) -> SourcePreview:
    spec, kind, evidence = opened.spec, opened.kind, "its manifest.json says so"
    if opened.source is not None:
        layout, evidence = opened.source.recognition
        kind = layout.name
    assert kind is not None
    root = storage.absolute(spec.path)
    if opened.hub is not None:
        size_bytes = sum(file.size_bytes for file in opened.hub.files)
    elif storage.is_file(root):
        size_bytes = storage.stat(root)["size"]
    else:
        size_bytes = sum(row["size"] for row in storage.listing(root)) if storage.exists(root) else 0
    return SourcePreview(spec.path, kind, evidence, dict(spec.map), size_bytes)


def _rows_about(spec: SourceSpec) -> int | None:
    """How many rows a source has: the files of audio in a folder, or a table's size by that of its first lines."""
    root = storage.absolute(spec.path)
    if "{" in root or not storage.exists(root):
        return None
    if not storage.is_file(root):
        return len(open_tree(root, ()).audio_files(spec.pattern)) or None
    if extension(root) not in _TEXT_TABLES:
        return None
    with storage.open_read(root) as file:
        start = file.read(_HEAD_BYTES)
    lines = start.count(b"\n")
    return round(storage.stat(root)["size"] * lines / len(start)) if lines else None


def _estimate(result: Preview, heard: list[Converted]) -> Estimate | None:
    """By decoding and encoding the first samples."""
    counts = [source.rows_about for source in result.sources]
    rows = sum(count for count in counts if count is not None)
    if None in counts or not heard or not result.samples:
        return None
    started_s = time.process_time()
    with SoundSpool("flac", "a preview") as spool:
        spool.add([one.sample for one in heard], [one.places for one in heard])
        seconds = sum(sample.duration_s for sample in spool.samples())
        size_bytes = sum(len(data) for one in spool.spooled() for data in one.sounds.values())
        count = len(spool)
    if not count:
        return None
    read = sum(source.rows for source in result.sources)
    samples_about = rows * result.samples / max(1, read)
    per_sample = samples_about / count
    return Estimate(
        rows=rows,
        hours=seconds * per_sample / 3600,
        bytes=round(size_bytes * per_sample),
        cpu_s=(time.process_time() - started_s) * per_sample,
    )
