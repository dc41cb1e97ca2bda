"""Count what the dataset card shows, in one pass over a finished run with a few blocks in memory."""

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
from llaso_data.filters.group_thresholds import GroupThresholds
from llaso_data.filters.rules import Columns
from llaso_data.pipeline import commit
from llaso_data.pipeline.calibrated import fitted_of
from llaso_data.pipeline.judge import REPEATED_ID
from llaso_data.recipe import Recipe
from llaso_data.records import ACCEPTED, DUPLICATE, FAILED, REJECTED, UNKNOWN
from llaso_data.report.clips import ExampleSampler, RowLocation
from llaso_data.report.effect import Curve, Effects, Threshold, repeated_values
from llaso_data.report.reasons import MEASURES, QUALITY

_BLOCKS_AT_ONCE = 32
_FIRST_PLACES = 3
ATTRIBUTES = ("speaker.id", "speaker.gender", "speaker.age_range", "speaker.accent", "environment")


@dataclass(slots=True)
class Totals:
    """Utterances and their seconds, of all and of the accepted."""

    inputs: int = 0
    accepted: int = 0
    seconds: float = 0.0
    accepted_s: float = 0.0

    def add(self, inputs: int, accepted: int, seconds: float, accepted_s: float) -> None:
        """Add utterances and seconds to each field."""
        self.inputs += inputs
        self.accepted += accepted
        self.seconds += seconds
        self.accepted_s += accepted_s


@dataclass(slots=True)
class Histogram:
    """How many utterances have a score between neighbouring bin edges.

    Attributes:
        edges: of the bins, ascending, shape (bins + 1,).
        accepted: utterances in each bin, shape (bins,).
        beyond: those that violate a threshold on this score, shape (bins,).
        others: those that were left out for another reason, shape (bins,).
        missing: observed utterances without the score.
        below: utterances in the first bin that are less than its edge.
        above: utterances in the last bin that are more than its edge.
    """

    edges: npt.NDArray[np.float64]
    accepted: npt.NDArray[np.int64]
    beyond: npt.NDArray[np.int64]
    others: npt.NDArray[np.int64]
    missing: int = 0
    below: int = 0
    above: int = 0

    @classmethod
    def of(cls, edges: npt.NDArray[np.float64]) -> Histogram:
        """One without counts."""
        none = np.zeros(len(edges) - 1, np.int64)
        return cls(edges, none, none.copy(), none.copy())

    def add(
        self, values: npt.NDArray[np.float64], accepted: npt.NDArray[np.bool_], beyond: npt.NDArray[np.bool_]
    ) -> None:
        """Add utterances, all arrays of shape (utterances,).

        Args:
            values: their scores; NaN where one is missing.
            accepted: whether it is accepted.
            beyond: whether it violates a threshold on this score.
        """
        known = ~np.isnan(values)
        self.missing += int((~known).sum())
        values, accepted, beyond = values[known], accepted[known], beyond[known]
        self.below += int((values < self.edges[0]).sum())
        self.above += int((values > self.edges[-1]).sum())
        bar = np.clip(np.searchsorted(self.edges, values, side="right") - 1, 0, len(self.accepted) - 1)
        for counts, mask in (
            (self.accepted, accepted),
            (self.beyond, beyond & ~accepted),
            (self.others, ~beyond & ~accepted),
        ):
            counts += np.bincount(bar[mask], minlength=len(counts))


@dataclass(slots=True)
class CardData:
    """What was counted of a run. Names map to totals in the order of the records."""

    recipe: Recipe
    manifest: dict[str, Any]
    languages: dict[str, Totals] = field(default_factory=dict)
    corpora: dict[str, Totals] = field(default_factory=dict)
    licenses: dict[str, dict[str, int]] = field(default_factory=dict)  # of each corpus, where a record names one
    speakers: dict[tuple[str, str], Totals] = field(default_factory=dict)  # (corpus, id); unknown ones under ""
    by_rule: dict[str, Totals] = field(default_factory=dict)
    origins: dict[str, dict[str, int]] = field(default_factory=dict)  # of the accepted, by attribute
    values: dict[str, dict[str, int]] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    examples: ExampleSampler = field(default_factory=ExampleSampler)
    failures: dict[str, list[RowLocation]] = field(default_factory=dict)  # by rule, the first places in order
    duplicates: list[tuple[RowLocation, str]] = field(default_factory=list)  # a copy, and the id of what stays


def collect(align: str, examples: int) -> CardData:
    """Count a finished run.

    Args:
        align: build-align's output.
        examples: the most examples to choose for each group.

    Raises:
        LLaSOError: where there is no finished run, or its files do not belong together.
    """
    manifest = commit.manifest(align)
    recipe = Recipe.model_validate(manifest["recipe"])
    data = CardData(recipe, manifest, examples=ExampleSampler(examples))
    judge_section = recipe.judge
    shared_audio = _shared_audio(align, manifest["blocks"]) if judge_section.duplicates.exact else repeated_values([])
    fitted = fitted_of(manifest)
    effects = Effects(judge_section, shared_audio, fitted)
    score_names = {t.rule.column for t in effects.thresholds} | {"duration_s", "chars_per_s"}
    data.histograms = {name: Histogram.of(m.edges()) for name, m in MEASURES.items() if name in score_names}
    if recipe.observe.quality.enabled:
        data.histograms |= {name: Histogram.of(measure.edges()) for name, measure in QUALITY.items()}
    for batch in _batches(align, manifest, recipe, fitted, effects.thresholds):
        _count(data, batch, effects)
    data.curves = effects.curves(manifest["counts"]["accepted"])
    _check(align, data)
    return data


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
    return repeated_values(halves)


def _batches(
    align: str, manifest: Mapping[str, Any], recipe: Recipe, fitted: GroupThresholds, thresholds: list[Threshold]
) -> Iterator[_Batch]:
    blocks = manifest["blocks"]
    needed = sorted({"duration_s", *(name for rule in fitted.rules(recipe.judge) for name in rule.needs())})
    drawn_scores = sorted(({t.rule.column for t in thresholds} | {"chars_per_s"}) - set(needed))
    read_columns = sorted({*columns.stored([*needed, *drawn_scores]), *_attribute_columns(), "source.license"})
    limits = {(corpus, language): level for corpus, language, level in manifest["border_limits"]}
    with columns.reading(commit.verdicts_uri(align, manifest["verdicts"])) as file:
        verdicts = pq.ParquetFile(file).iter_batches(
            1 << 16, columns=["id", "verdict", "rule", "duplicate_of"], use_threads=False
        )
        rest = pa.table({})
        for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
            tables = [
                columns.read(commit.block_uri(align, b), read_columns) for b in blocks[start : start + _BLOCKS_AT_ONCE]
            ]
            table = pa.concat_tables(tables)
            while len(rest) < len(table):
                batch = next(verdicts, None)
                if batch is None:
                    break
                piece = pa.Table.from_batches([batch])
                rest = pa.concat_tables([rest, piece]) if len(rest) else piece
            verdict, rest = rest.slice(0, len(table)), rest.slice(len(table))
            if len(verdict) != len(table) or not verdict["id"].equals(table["id"]):
                raise LLaSOError(f"{align}: the verdicts do not belong to the observations; run build-align again")
            scores = dict(columns.derive(table, needed, recipe.judge.consistency.phrases, limits, fitted))
            scores.update({name: columns.floats(table[f"scores.{name}"]) for name in drawn_scores})
            scores.update({name: columns.extra(table["scores.extra"], name) for name in QUALITY})
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


def _count(data: CardData, batch: _Batch, effects: Effects) -> None:
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
    _sum(data.languages, rows, "language")
    _sum(data.corpora, rows, "corpus")
    _count_licenses(data, table)
    _sum(data.by_rule, rows.filter(pc.not_equal(rows["rule"], "")), "rule")
    _sum_speakers(data, rows.filter(pa.array(accepted)))
    _count_attributes(data, table.filter(pa.array(accepted)))
    _, beyond = effects.violations(batch.scores)
    for name, histogram in data.histograms.items():
        over = beyond.get(name, np.zeros(len(table), bool))
        histogram.add(batch.scores[name][~failed], accepted[~failed], over[~failed])
    effects.add(batch.scores, columns.hashes(table["audio_id"], "audio_id"), ~failed & ~repeated)
    _sample_examples(data, batch)


def _count_licenses(data: CardData, table: pa.Table) -> None:
    named = table.filter(pc.is_valid(table["source.license"])).select(["source.corpus", "source.license"])
    for row in named.group_by(named.schema.names, use_threads=False).aggregate([([], "count_all")]).to_pylist():
        of_corpus = data.licenses.setdefault(row["source.corpus"], {})
        of_corpus[row["source.license"]] = of_corpus.get(row["source.license"], 0) + row["count_all"]


def _sum(into: dict[str, Totals], rows: pa.Table, key: str) -> None:
    parts = ("inputs", "accepted", "seconds", "accepted_s")
    grouped = rows.group_by(key, use_threads=False).aggregate([(part, "sum") for part in parts])
    for row in grouped.to_pylist():
        into.setdefault(row[key], Totals()).add(*(row[f"{part}_sum"] for part in parts))


def _sum_speakers(data: CardData, rows: pa.Table) -> None:
    grouped = rows.group_by(["corpus", "speaker"], use_threads=False).aggregate(
        [("inputs", "sum"), ("accepted_s", "sum")]
    )
    for row in grouped.to_pylist():
        key = ("", "") if row["speaker"] == UNKNOWN else (row["corpus"], row["speaker"])
        number, span_s = row["inputs_sum"], row["accepted_s_sum"]
        data.speakers.setdefault(key, Totals()).add(number, number, span_s, span_s)


def _count_attributes(data: CardData, table: pa.Table) -> None:
    """Count the origins of the accepted records' attributes, and for all but speakers their values."""
    for name in ATTRIBUTES:
        _tally(data.origins.setdefault(name, {}), _part(table, name, "origin"))
        if name != "speaker.id":
            _tally(data.values.setdefault(name, {}), _part(table, name, "value"))
    _tally(data.origins.setdefault("language", {}), table["language_origin"])


def _part(table: pa.Table, name: str, part: str) -> pa.ChunkedArray:
    """The value or the origin of an attribute, however deep the table was flattened."""
    if f"{name}.{part}" in table.column_names:
        return table[f"{name}.{part}"]
    return pc.struct_field(table[name], part)


def _tally(into: dict[str, int], names: pa.ChunkedArray) -> None:
    for row in pc.value_counts(names).to_pylist():
        into[row["values"]] = into.get(row["values"], 0) + row["counts"]


def _sample_examples(data: CardData, batch: _Batch) -> None:
    """Offer accepted and rejected rows as examples, and keep the first failures and duplicates."""
    verdict = batch.verdict
    ids = columns.hashes(batch.table["id"], "id")
    languages = pc.fill_null(batch.table["language"], UNKNOWN)
    decided = columns.flags(pc.is_in(verdict["verdict"], value_set=pa.array([ACCEPTED, REJECTED])))
    group = pc.if_else(pc.equal(verdict["verdict"], ACCEPTED), "", pc.fill_null(verdict["rule"], ""))
    rows = np.flatnonzero(decided)
    data.examples.offer(
        group.take(pa.array(rows)), languages.take(pa.array(rows)), ids[rows], batch.block[rows], batch.row[rows]
    )
    for row in np.flatnonzero(columns.flags(pc.equal(verdict["verdict"], FAILED))).tolist():
        places = data.failures.setdefault(verdict["rule"][row].as_py(), [])
        if len(places) < _FIRST_PLACES:
            places.append(RowLocation(int(batch.block[row]), int(batch.row[row])))
    for row in np.flatnonzero(columns.flags(pc.equal(verdict["verdict"], DUPLICATE))).tolist():
        if len(data.duplicates) >= _FIRST_PLACES:
            break
        place = RowLocation(int(batch.block[row]), int(batch.row[row]))
        data.duplicates.append((place, verdict["duplicate_of"][row].as_py()))


def verdict_numbers(uri: str, ids: Collection[str]) -> dict[str, tuple[float, float]]:
    """Read the numbers behind verdicts.

    Args:
        uri: the table of verdicts.
        ids: of the utterances.

    Returns:
        Id → value and threshold, NaN where the verdict has none.
    """
    wanted_ids = pa.array(sorted(ids), pa.string())
    numbers: dict[str, tuple[float, float]] = {}
    with columns.reading(uri) as file:
        batches = pq.ParquetFile(file).iter_batches(1 << 16, columns=["id", "value", "threshold"], use_threads=False)
        for batch in batches:
            for row in batch.filter(pc.is_in(batch["id"], value_set=wanted_ids)).to_pylist():
                value, threshold = (np.nan if n is None else n for n in (row["value"], row["threshold"]))
                numbers.setdefault(row["id"], (value, threshold))
    return numbers


def _check(align: str, data: CardData) -> None:
    """Check that each threshold at its present value accepts what the judge accepted."""
    accepted = data.manifest["counts"]["accepted"]
    for curve in data.curves:
        threshold = curve.threshold
        if threshold.current is None:
            continue
        at = int(np.searchsorted(threshold.positions, threshold.current))
        if curve.accepted[at] != accepted:
            raise LLaSOError(
                f"{align}: {threshold.key} = {threshold.current:g} accepts {curve.accepted[at]} utterances, but the "
                f"verdicts say {accepted}; they were judged by another version, run build-align again"
            )
