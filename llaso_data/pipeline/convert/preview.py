"""`--dry-run` and `--check`: what a conversion would do, without writing anything."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

from llaso_data import formats
from llaso_data.formats.rows import head
from llaso_data.io import storage
from llaso_data.pipeline.convert.carried import not_carried
from llaso_data.pipeline.convert.part import SHARDS
from llaso_data.pipeline.convert.parts import Tally, plan
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.pipeline.convert.run import checked
from llaso_data.pipeline.convert.samples import ALIGN, Converted, kind_of, samples
from llaso_data.recipe import Convert, Recipe, SourceSpec
from llaso_data.records import Sample

ROWS = 200
"""Rows of each source that ``--dry-run`` reads."""
EXAMPLES = 10


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
    """

    path: str
    layout: str
    evidence: str
    mapping: dict[str, str]
    size_bytes: int
    rows: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Preview:
    """What would become of the sources.

    Attributes:
        whole: Whether all rows were read.
        samples: That would be written, of the rows that were read.
        filtered: That the condition lets go.
        hours: Of audio, as far as the sources say it; None where they do not.
        examples: The first samples.
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
    for spec in recipe.sources:
        source = _source(spec)
        result.sources.append(source)
        started_s = time.monotonic()
        tally = Tally()
        with head.only_first(None if whole else ROWS):
            stream = islice(samples(spec, settings, result.notes), None if whole else ROWS)
            for part in plan(stream, settings, False, result.problems, tally):
                for one in part.samples:
                    _count(one, result, holds)
                    seconds += one.sample.duration_s
                    known += bool(one.sample.duration_s)
        source.rows, source.seconds = tally.read, time.monotonic() - started_s
        result.filtered += tally.filtered
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


def _source(spec: SourceSpec) -> SourcePreview:
    kind = kind_of(spec)
    evidence = "its manifest.json says so" if kind in (ALIGN, SHARDS) else formats.recognise(spec).evidence
    root = storage.absolute(spec.path)
    if storage.is_file(root):
        size_bytes = storage.stat(root)["size"]
    else:
        size_bytes = sum(row["size"] for row in storage.listing(root)) if storage.exists(root) else 0
    return SourcePreview(spec.path, kind, evidence, dict(spec.map), size_bytes)
