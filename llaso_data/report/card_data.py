"""What the dataset card says, counted in one pass over a finished run, a few blocks in memory at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llaso_data.errors import LLaSOError
from llaso_data.filters import columns
from llaso_data.filters.rules import Columns
from llaso_data.pipeline import commit
from llaso_data.pipeline.judge import REPEATED_ID, rules
from llaso_data.recipe import Recipe
from llaso_data.records import ACCEPTED, DUPLICATE, FAILED, REJECTED, UNKNOWN
from llaso_data.report.clips import Choice, RowLocation
from llaso_data.report.effect import Curve, Effects, Threshold, shared
from llaso_data.report.reasons import MEASURES

_BLOCKS_AT_ONCE = 32
_FIRST_PLACES = 3
ATTRIBUTES = ("speaker.id", "speaker.gender", "speaker.age_range", "speaker.accent", "environment")


@dataclass(slots=True)
class Sum:
    """Utterances and seconds of one name, of all and of the accepted."""

    inputs: int = 0
    accepted: int = 0
    seconds: float = 0.0
    accepted_s: float = 0.0

    def add(self, inputs: int, accepted: int, seconds: float, accepted_s: float) -> None:
        self.inputs += inputs
        self.accepted += accepted
        self.seconds += seconds
        self.accepted_s += accepted_s


@dataclass(slots=True)
class Histogram:
    """How often a score falls between neighbouring borders; ``missing``: those that were observed but lack it."""

    borders: npt.NDArray[np.float64]
    accepted: npt.NDArray[np.int64]
    beyond: npt.NDArray[np.int64]  # a threshold on this very score is violated
    others: npt.NDArray[np.int64]  # left out for another reason
    missing: int = 0
    below: int = 0  # counted in the first bar, but less than its border
    above: int = 0  # counted in the last bar, but more than its border

    @classmethod
    def of(cls, borders: npt.NDArray[np.float64]) -> Histogram:
        none = np.zeros(len(borders) - 1, np.int64)
        return cls(borders, none, none.copy(), none.copy())

    def add(
        self, values: npt.NDArray[np.float64], accepted: npt.NDArray[np.bool_], beyond: npt.NDArray[np.bool_]
    ) -> None:
        known = ~np.isnan(values)
        self.missing += int((~known).sum())
        values, accepted, beyond = values[known], accepted[known], beyond[known]
        self.below += int((values < self.borders[0]).sum())
        self.above += int((values > self.borders[-1]).sum())
        bar = np.clip(np.searchsorted(self.borders, values, side="right") - 1, 0, len(self.accepted) - 1)
        for counts, mask in (
            (self.accepted, accepted),
            (self.beyond, beyond & ~accepted),
            (self.others, ~beyond & ~accepted),
        ):
            counts += np.bincount(bar[mask], minlength=len(counts))


@dataclass(slots=True)
class Survey:
    """Everything counted. Names map to sums in the order in which they were seen."""

    recipe: Recipe
    manifest: dict[str, Any]
    languages: dict[str, Sum] = field(default_factory=dict)
    corpora: dict[str, Sum] = field(default_factory=dict)
    speakers: dict[tuple[str, str], Sum] = field(default_factory=dict)  # (corpus, id); unknown ones under ""
    by_rule: dict[str, Sum] = field(default_factory=dict)
    origins: dict[str, dict[str, int]] = field(default_factory=dict)  # of the accepted, by attribute
    values: dict[str, dict[str, int]] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    examples: Choice = field(default_factory=Choice)
    failures: dict[str, list[RowLocation]] = field(default_factory=dict)  # by rule, the first places in order
    duplicates: list[tuple[RowLocation, str]] = field(default_factory=list)  # a copy, and the id of what stays


def survey(align: str, examples: int) -> Survey:
    """Counts a finished run. Raises LLaSOError where there is none, or where its files do not belong together."""
    manifest = commit.manifest(align)
    recipe = Recipe.model_validate(manifest["recipe"])
    found = Survey(recipe, manifest, examples=Choice(examples))
    section = recipe.judge
    twice = _shared_audio(align, manifest["blocks"]) if section.duplicates.exact else shared([])
    effects = Effects(section, twice)
    seen = {t.rule.column for t in effects.thresholds} | {"duration_s", "chars_per_s"}
    found.histograms = {name: Histogram.of(m.borders()) for name, m in MEASURES.items() if name in seen}
    for batch in _batches(align, manifest, recipe, effects.thresholds):
        _count(found, batch, effects)
    found.curves = effects.curves()
    _check(align, found)
    return found


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some blocks: their rows, the judge's view of them, their verdicts, and where each row lies."""

    table: pa.Table
    scores: Columns
    verdict: pa.Table
    block: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]


def _shared_audio(align: str, blocks: list[str]) -> npt.NDArray[np.uint64]:
    halves = []
    for block in blocks:
        ids = columns.read(commit.block_uri(align, block), ["audio_id"])["audio_id"]
        halves.append(columns.hashes(ids, "audio_id")[:, 0].copy())
    return shared(halves)


def _batches(align: str, manifest: Mapping[str, Any], recipe: Recipe, moving: list[Threshold]) -> Iterator[_Batch]:
    blocks = manifest["blocks"]
    needed = sorted({"duration_s", *(name for rule in rules(recipe.judge) for name in rule.needs())})
    drawn = sorted(({t.rule.column for t in moving} | {"chars_per_s"}) - set(needed))
    wanted = sorted({*columns.stored([*needed, *drawn]), *_attribute_columns()})
    limits = {(corpus, language): level for corpus, language, level in manifest["border_limits"]}
    with columns.reading(commit.verdicts_uri(align, manifest["verdicts"])) as file:
        verdicts = pq.ParquetFile(file).iter_batches(
            1 << 16, columns=["id", "verdict", "rule", "duplicate_of"], use_threads=False
        )
        rest = pa.table({})
        for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
            tables = [columns.read(commit.block_uri(align, b), wanted) for b in blocks[start : start + _BLOCKS_AT_ONCE]]
            table = pa.concat_tables(tables)
            while len(rest) < len(table):
                more = next(verdicts, None)
                if more is None:
                    break
                piece = pa.Table.from_batches([more])
                rest = pa.concat_tables([rest, piece]) if len(rest) else piece
            verdict, rest = rest.slice(0, len(table)), rest.slice(len(table))
            if len(verdict) != len(table) or not verdict["id"].equals(table["id"]):
                raise LLaSOError(f"{align}: the verdicts do not belong to the observations; run build-align again")
            scores = dict(columns.derive(table, needed, recipe.judge.consistency.phrases, limits))
            scores.update({name: columns.floats(table[f"scores.{name}"]) for name in drawn})
            sizes = [len(t) for t in tables]
            yield _Batch(
                table,
                scores,
                verdict,
                np.repeat(np.arange(start, start + len(tables)), sizes),
                np.concatenate([np.arange(size) for size in sizes]),
            )


def _attribute_columns() -> list[str]:
    return [name for name in ATTRIBUTES if name.startswith("speaker.")] + [
        "environment.value",
        "environment.origin",
        "language_origin",
    ]


def _count(found: Survey, batch: _Batch, effects: Effects) -> None:
    table, verdict = batch.table, batch.verdict
    accepted = columns.flags(pc.equal(verdict["verdict"], ACCEPTED))
    failed = columns.flags(pc.equal(verdict["verdict"], FAILED))
    repeated = columns.flags(pc.equal(verdict["rule"], REPEATED_ID))
    seconds = np.nan_to_num(batch.scores["duration_s"])
    rows = pa.table(
        {
            "language": pc.fill_null(table["language"], UNKNOWN),
            "corpus": table["source.corpus"],
            "speaker": _part(table, "speaker.id", "value"),
            "rule": pc.fill_null(verdict["rule"], ""),
            "inputs": pa.array(np.ones(len(table), np.int64)),
            "accepted": pa.array(accepted.astype(np.int64)),
            "seconds": pa.array(seconds),
            "accepted_s": pa.array(np.where(accepted, seconds, 0.0)),
        }
    )
    _sum(found.languages, rows, "language")
    _sum(found.corpora, rows, "corpus")
    _sum(found.by_rule, rows.filter(pc.not_equal(rows["rule"], "")), "rule")
    _sum_speakers(found, rows.filter(pa.array(accepted)))
    _count_attributes(found, table.filter(pa.array(accepted)))
    _, beyond = effects.violations(batch.scores)
    for name, histogram in found.histograms.items():
        over = beyond.get(name, np.zeros(len(table), bool))
        histogram.add(batch.scores[name][~failed], accepted[~failed], over[~failed])
    effects.add(batch.scores, columns.hashes(table["audio_id"], "audio_id"), ~failed & ~repeated)
    _choose(found, batch)


def _sum(into: dict[str, Sum], rows: pa.Table, key: str) -> None:
    parts = ("inputs", "accepted", "seconds", "accepted_s")
    grouped = rows.group_by(key, use_threads=False).aggregate([(part, "sum") for part in parts])
    for row in grouped.to_pylist():
        into.setdefault(row[key], Sum()).add(*(row[f"{part}_sum"] for part in parts))


def _sum_speakers(found: Survey, rows: pa.Table) -> None:
    grouped = rows.group_by(["corpus", "speaker"], use_threads=False).aggregate(
        [("inputs", "sum"), ("accepted_s", "sum")]
    )
    for row in grouped.to_pylist():
        key = ("", "") if row["speaker"] == UNKNOWN else (row["corpus"], row["speaker"])
        number, span_s = row["inputs_sum"], row["accepted_s_sum"]
        found.speakers.setdefault(key, Sum()).add(number, number, span_s, span_s)


def _count_attributes(found: Survey, table: pa.Table) -> None:
    """Where the accepted records' attributes come from, and for all but speakers what they are."""
    for name in ATTRIBUTES:
        _tally(found.origins.setdefault(name, {}), _part(table, name, "origin"))
        if name != "speaker.id":
            _tally(found.values.setdefault(name, {}), _part(table, name, "value"))
    _tally(found.origins.setdefault("language", {}), table["language_origin"])


def _part(table: pa.Table, name: str, part: str) -> pa.ChunkedArray:
    """The value or the origin of an attribute, however deep the table was flattened."""
    if f"{name}.{part}" in table.column_names:
        return table[f"{name}.{part}"]
    return pc.struct_field(table[name], part)


def _tally(into: dict[str, int], names: pa.ChunkedArray) -> None:
    for row in pc.value_counts(names).to_pylist():
        into[row["values"]] = into.get(row["values"], 0) + row["counts"]


def _choose(found: Survey, batch: _Batch) -> None:
    """Which rows may become examples: accepted, rejected by rule; of failures and duplicates the first."""
    verdict = batch.verdict
    ids = columns.hashes(batch.table["id"], "id")
    languages = pc.fill_null(batch.table["language"], UNKNOWN)
    listened = columns.flags(pc.is_in(verdict["verdict"], value_set=pa.array([ACCEPTED, REJECTED])))
    group = pc.if_else(pc.equal(verdict["verdict"], ACCEPTED), "", pc.fill_null(verdict["rule"], ""))
    rows = np.flatnonzero(listened)
    found.examples.offer(
        group.take(pa.array(rows)), languages.take(pa.array(rows)), ids[rows], batch.block[rows], batch.row[rows]
    )
    for row in np.flatnonzero(columns.flags(pc.equal(verdict["verdict"], FAILED))).tolist():
        places = found.failures.setdefault(verdict["rule"][row].as_py(), [])
        if len(places) < _FIRST_PLACES:
            places.append(RowLocation(int(batch.block[row]), int(batch.row[row])))
    for row in np.flatnonzero(columns.flags(pc.equal(verdict["verdict"], DUPLICATE))).tolist():
        if len(found.duplicates) >= _FIRST_PLACES:
            break
        place = RowLocation(int(batch.block[row]), int(batch.row[row]))
        found.duplicates.append((place, verdict["duplicate_of"][row].as_py()))


def numbers_of(uri: str, ids: Collection[str]) -> dict[str, tuple[float, float]]:
    """(value, threshold) of those utterances in a verdict table, NaN where it has none; a batch in memory."""
    wanted = pa.array(sorted(ids), pa.string())
    numbers: dict[str, tuple[float, float]] = {}
    with columns.reading(uri) as file:
        batches = pq.ParquetFile(file).iter_batches(1 << 16, columns=["id", "value", "threshold"], use_threads=False)
        for batch in batches:
            for row in batch.filter(pc.is_in(batch["id"], value_set=wanted)).to_pylist():
                value, threshold = (np.nan if n is None else n for n in (row["value"], row["threshold"]))
                numbers.setdefault(row["id"], (value, threshold))
    return numbers


def _check(align: str, found: Survey) -> None:
    """The effect of not moving a threshold must be what the judge decided."""
    accepted = found.manifest["counts"]["accepted"]
    for curve in found.curves:
        moving = curve.threshold
        if moving.current is None:
            continue
        at = int(np.searchsorted(moving.positions, moving.current))
        if curve.accepted[at] != accepted:
            raise LLaSOError(
                f"{align}: {moving.key} = {moving.current:g} accepts {curve.accepted[at]} utterances, but the verdicts "
                f"say {accepted}; they were judged by another version, run build-align again"
            )
