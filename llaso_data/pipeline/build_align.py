"""``llaso-data build-align``: sources → blocks → observations → verdicts → manifest."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import llaso_data
from llaso_data import formats
from llaso_data.errors import LLaSOError
from llaso_data.filters import columns
from llaso_data.filters.calibration import MIN_RIGHT
from llaso_data.filters.group_thresholds import NO_FITS, GroupThresholds
from llaso_data.io import checksums, interrupts, lock, outputs, storage
from llaso_data.pipeline import calibrated, commit, engines, memory, precision, recipe_file
from llaso_data.pipeline.blocks import PlannedBlock, plan
from llaso_data.pipeline.calibrate import CLIPS, FAULTS_EACH, Draw, NothingToPlantError, Observed, measure
from llaso_data.pipeline.calibrated import Calibration
from llaso_data.pipeline.judge import judge
from llaso_data.pipeline.load_recipe import judging_digest
from llaso_data.pipeline.models_digests import models_digests
from llaso_data.pipeline.observe import check_stages, observing_digest
from llaso_data.pipeline.progress_listener import ProgressListener
from llaso_data.recipe import Recipe
from llaso_data.records import FORMAT_VERSION, UNKNOWN, Input
from llaso_data.whisper.engine import Statistics

_AHEAD_INPUTS = 100_000  # about 100 MB of planned inputs


@dataclass(frozen=True)
class BuildSummary:
    """What a run did.

    Attributes:
        out: Folder or URI of the output.
        counts: As in :class:`llaso_data.pipeline.judge.JudgeResult`, as are ``rules``, ``hours``, ``languages`` and
            ``border_limits``.
        blocks: All blocks of the output.
        blocks_observed: Blocks that this run observed; the others were there already.
        model_calls: Calls of the models in this run, by kind; all zero where every block was already there.
        verdicts: Digest that names the verdict table.
        judged: False where the same verdict table was already there.
        wall_s: Seconds of wall time.
        max_failures: The share of failed inputs above which the exit code is 1.
        transcripts: Inputs that came with a transcript.
        notes: What the readers and the judge count besides the verdicts, by sentence.
        calibration: What the manifest says of the calibration that the run is judged by; None: it is judged without.
        uncalibrated: Then the reason.
    """

    out: str
    counts: dict[str, int]
    rules: dict[str, int]
    hours: dict[str, float]
    languages: dict[str, dict[str, float]]
    border_limits: list[tuple[str, str, float]]
    blocks: int
    blocks_observed: int
    model_calls: dict[str, int]
    verdicts: str
    judged: bool
    wall_s: float
    max_failures: float = field(default=1.0)
    transcripts: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    calibration: dict[str, Any] | None = None
    uncalibrated: str | None = None

    @property
    def failed_share(self) -> float:
        """Failed inputs over all inputs."""
        return self.counts["failed"] / max(1, self.counts["inputs"])

    @property
    def exit_code(self) -> int:
        """1 where more inputs failed than ``max_failures`` allows, else 0."""
        return 1 if self.failed_share > self.max_failures else 0

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON."""
        return dataclasses.asdict(self)


def build_align(recipe: Recipe, progress: ProgressListener | None = None) -> BuildSummary:
    """Observes what is not yet observed, judges everything, and writes the manifest.

    Args:
        recipe: What to read, how to observe and judge it, and where to write.
        progress: Is told of every block.

    Raises:
        LLaSOError: The recipe names no source or no output; a source, model or stage cannot be read or loaded; the
            output holds files that this command did not write; or another run holds the lock.
    """
    started_s = time.monotonic()
    if not recipe.sources:
        raise LLaSOError("nothing to read: name at least one source")
    if recipe.out is None:
        raise LLaSOError("nowhere to write: pass --out, or set `out` in the recipe")
    with lock.exclusive(recipe.out, "build-align") as held:
        return _build(recipe, held, progress, started_s)


def _build(recipe: Recipe, held: lock.Held, progress: ProgressListener | None, started_s: float) -> BuildSummary:
    out = held.uri
    _refuse_foreign(out, recipe)
    notes: Counter[str] = Counter()
    readers = [formats.read(spec, notes) for spec in recipe.sources]  # a bad source is an error before the work starts
    for folder in (out, *(storage.join(out, name) for name in ("observations", "voices", "verdicts"))):
        storage.sweep(folder)
    storage.sweep_scratch()
    weights = models_digests(recipe)
    check_stages(recipe.observe)
    transcripts: Counter[bool] = Counter()
    with ExitStack() as open_until_end:
        settled, is_new = precision.settle(recipe, out, open_until_end)
        observing = observing_digest(precision.named(recipe.observe, settled), weights)
        if is_new:
            precision.write_down(recipe.observe, settled, out)
        obeyed = recipe.model_copy(update={"observe": precision.obeyed(recipe.observe, settled)})
        stored = calibrated.stored(out, recipe, observing)
        inputs = _counted(_chained(readers), transcripts)
        names, totals = _observe(obeyed, inputs, held, observing, stored.fitted, progress)
        if recipe.observe.speakers.enabled:
            from llaso_data.pipeline.label_speakers import label_speakers

            names = label_speakers(out, names, recipe.observe.speakers.similarity)
        calibration, judgement = _calibrate_and_judge(recipe, settled, observing, names, held, stored, progress)
    judged, summary, verdicts = judgement.keep(out), judgement.summary, judgement.verdicts
    held.confirm()
    notes.update(summary.get("notes", {}))
    storage.write_bytes(storage.join(out, recipe_file.NAME), recipe_file.text_of(recipe).encode())
    manifest = _manifest(recipe, settled, names, observing, verdicts, {**summary, **calibration.stated()})
    checksums.write_json(commit.manifest_uri(out), manifest)
    return BuildSummary(
        out=out,
        **{name: value for name, value in summary.items() if name != "notes"},
        blocks=len(names),
        blocks_observed=totals.blocks,
        model_calls=dataclasses.asdict(totals.statistics),
        verdicts=verdicts,
        judged=judged,
        wall_s=time.monotonic() - started_s,
        max_failures=recipe.judge.max_failures,
        notes=dict(sorted(notes.items())),
        transcripts=transcripts[True],
        **calibration.stated(),
    )


def _refuse_foreign(out: str, recipe: Recipe) -> None:
    """Raises LLaSOError where this run would replace a file that build-align did not write."""
    uri = commit.manifest_uri(out)
    outputs.refuse(uri, "llaso-data build-align", lambda uri: commit.is_manifest(outputs.json_at(uri)))
    recipe_file.refuse(out, recipe, outputs.json_at(uri))
    precision.refuse_foreign(out)


@dataclass(slots=True)
class _ObservedTotals:
    """Blocks that this run observed, and the model calls that they took."""

    blocks: int = 0
    statistics: Statistics = field(default_factory=Statistics)


def _observe(
    recipe: Recipe,
    inputs: Iterator[Input],
    held: lock.Held,
    observing: str,
    fitted: GroupThresholds,
    progress: ProgressListener | None,
) -> tuple[list[str], _ObservedTotals]:
    """Observes the blocks that are missing; gives the names of all planned blocks in order, and this run's totals."""
    out = held.uri
    committed = commit.committed(out)
    names: list[str] = []
    totals = _ObservedTotals()
    blocks, ahead = _look_ahead(plan(inputs, recipe.blocks, observing))
    if progress and ahead is not None:
        progress.planned(*ahead)

    def missing() -> Iterator[PlannedBlock]:
        for block in blocks:
            names.append(block.name)
            if block.name not in committed:
                committed.add(block.name)  # a source may be named twice
                yield block
            elif progress:
                progress.block_done(inputs=len(block.inputs), failed=0, audio_s=0.0, skipped=True, verdicts={})

    for result in engines.observe(missing(), recipe.observe, recipe.run, out):
        interrupts.check()
        held.check()
        totals.blocks += 1
        totals.statistics.add(result.statistics)
        if progress:
            progress.block_done(
                inputs=result.inputs,
                failed=result.failed,
                audio_s=result.audio_s,
                skipped=False,
                verdicts=_provisional(recipe, out, result.name, fitted),
            )
        memory.release()
    if not names:
        raise LLaSOError("the sources hold no audio")
    return names, totals


def _look_ahead(planned: Iterator[PlannedBlock]) -> tuple[Iterator[PlannedBlock], tuple[int, int] | None]:
    """The same blocks, and the totals (blocks, inputs) that an ETA needs; None where too many to hold in memory."""
    head: list[PlannedBlock] = []
    inputs = 0
    for block in planned:
        head.append(block)
        inputs += len(block.inputs)
        if inputs > _AHEAD_INPUTS:
            return chain(head, planned), None
    return iter(head), (len(head), inputs)


def _provisional(recipe: Recipe, out: str, block: str, fitted: GroupThresholds) -> dict[str, int]:
    """Accepted, and rejected by rule, in one block. Duplicates in other blocks are known only at the end."""
    result = judge([commit.block_uri(out, block)], recipe.judge, fitted)
    return {"accepted": result.counts["accepted"], **result.rules}


def _chained(readers: list[Iterator[Input]]) -> Iterator[Input]:
    """The inputs of all sources. A reader is dropped at its end, and the file listing that it holds with it."""
    while readers:
        yield from readers.pop(0)


def _counted(inputs: Iterator[Input], transcripts: Counter[bool]) -> Iterator[Input]:
    """The same inputs; counts those with a transcript under True, those without under False."""
    for item in inputs:
        transcripts[item.utterance.text is not None] += 1
        yield item


@dataclass(frozen=True, slots=True)
class _Judgement:
    """Verdicts: their name, what they add up to, and the table; None where it lies in the output already."""

    verdicts: str
    summary: dict[str, Any]
    table: pa.Table | None

    def keep(self, out: str) -> bool:
        """Writes the table where it is new, with the summary in its metadata. Returns whether it was."""
        if self.table is None:
            return False
        metadata = {"llaso.summary": json.dumps(self.summary, sort_keys=True)}
        commit.write_table(commit.verdicts_uri(out, self.verdicts), self.table.replace_schema_metadata(metadata))
        return True


def _judge(recipe: Recipe, out: str, names: list[str], fitted: GroupThresholds) -> _Judgement:
    """The verdicts by the recipe's thresholds and those that were fitted."""
    verdicts = judging_digest(recipe, names, fitted.to_json())
    uri = commit.verdicts_uri(out, verdicts)
    if storage.exists(uri):
        with columns.reading(uri) as file:
            return _Judgement(verdicts, json.loads((pq.read_schema(file).metadata or {})[b"llaso.summary"]), None)
    result = judge([commit.block_uri(out, name) for name in names], recipe.judge, fitted)
    return _Judgement(verdicts, result.summary(), result.table)


@dataclass(frozen=True, slots=True)
class _After:
    """Tells of a calibration as of more blocks of the run, which has so many already."""

    progress: ProgressListener
    blocks: int
    inputs: int

    def planned(self, blocks: int, inputs: int) -> None:
        self.progress.planned(self.blocks + blocks, self.inputs + inputs)

    def block_done(self, **done: Any) -> None:
        self.progress.block_done(**done)


def _calibrate_and_judge(
    recipe: Recipe,
    settled: precision.Precision,
    observing: str,
    names: list[str],
    held: lock.Held,
    stored: Calibration,
    progress: ProgressListener | None,
) -> tuple[Calibration, _Judgement]:
    """What the run is judged by, and the verdicts.

    A calibration that lies in the output stays; where the recipe's rules or share have changed since, it is made again
    of the same pairs. Without one the run calibrates itself where that takes a small part of its time.
    """
    out, report = held.uri, stored.report
    if report is not None and calibrated.follows(report, recipe.judge):
        return stored, _judge(recipe, out, names, stored.fitted)
    plain = _judge(recipe, out, names, NO_FITS)
    if not stored.renewable:
        return stored, plain
    languages = {name: of["accepted"] for name, of in plain.summary["languages"].items() if name != UNKNOWN}
    observed = plain.summary["counts"]["inputs"] - plain.summary["counts"]["failed"]
    if report is not None:
        draw = Draw.of_report(report)
    else:
        mean_s = 3600 * plain.summary["hours"]["observed"] / max(1, observed)
        clips = calibrated.affordable_clips(languages, observed, mean_s, 1 + FAULTS_EACH, 2 * MIN_RIGHT, CLIPS)
        if not clips:
            return Calibration(None, calibrated.too_small(observed, stored.why)), plain
        draw = Draw(clips)
    run = Observed(recipe, out, settled, observing, names, languages, plain.summary["border_limits"])
    after = _After(progress, len(names), plain.summary["counts"]["inputs"]) if progress else None
    try:
        calibration = Calibration(measure(run, draw, held, after))
    except NothingToPlantError:
        return Calibration(None, "no clip is heard as its text says, so there is nothing to plant faults into"), plain
    del plain  # the table of a large run
    return calibration, _judge(recipe, out, names, calibration.fitted)


def _manifest(
    recipe: Recipe,
    settled: precision.Precision,
    names: list[str],
    observing: str,
    verdicts: str,
    summary: dict[str, Any],
) -> dict[str, Any]:
    plain = recipe.model_dump(mode="json", exclude={"run", "out"})
    return {
        "format_version": FORMAT_VERSION,
        "llaso": llaso_data.__version__,
        "blocks": names,
        "verdicts": verdicts,
        "observing": observing,
        "precision": settled,
        "recipe": plain,
        **summary,
    }
