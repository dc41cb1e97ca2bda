"""``llaso-data build-align``: sources → blocks → observations → verdicts → manifest."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

import llaso_data
from llaso_data import formats
from llaso_data.errors import LLaSOError
from llaso_data.filters import columns
from llaso_data.io import checksums, interrupts, lock, outputs, storage
from llaso_data.io.hub import weights_digest
from llaso_data.pipeline import commit, engines, memory, recipe_file
from llaso_data.pipeline.blocks import PlannedBlock, plan
from llaso_data.pipeline.judge import JudgeResult, judge
from llaso_data.pipeline.load_recipe import judging_digest
from llaso_data.pipeline.observe import observing_digest
from llaso_data.recipe import Recipe
from llaso_data.records import FORMAT_VERSION, Input
from llaso_data.whisper.engine import Statistics
from llaso_data.whisper.load import checkpoint_folder

_AHEAD_INPUTS = 100_000  # about 100 MB of planned inputs


class Listener(Protocol):
    """What wants to know of progress (:class:`llaso_data.pipeline.progress.Progress` is one)."""

    def planned(self, blocks: int, inputs: int) -> None: ...

    def block_done(
        self, *, inputs: int, failed: int, audio_s: float, skipped: bool, verdicts: Mapping[str, int]
    ) -> None: ...


@dataclass(frozen=True)
class BuildSummary:
    """What a run did. ``model_calls`` are this run's own: all zero where every block was already there."""

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
    judged: bool  # false where the same verdict table was already there
    wall_s: float
    max_failures: float = field(default=1.0)
    transcripts: int = 0  # inputs that came with one
    notes: dict[str, int] = field(default_factory=dict)  # what the readers say of the sources besides the inputs

    @property
    def failed_share(self) -> float:
        return self.counts["failed"] / max(1, self.counts["inputs"])

    @property
    def exit_code(self) -> int:
        return 1 if self.failed_share > self.max_failures else 0

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def build_align(recipe: Recipe, progress: Listener | None = None) -> BuildSummary:
    """Observe what is not yet observed, judge everything, and write the manifest.

    Raises LLaSOError for what the user can mend: no source, no output, a model that cannot be had.
    """
    started = time.monotonic()
    if not recipe.sources:
        raise LLaSOError("nothing to read: name at least one source")
    if recipe.out is None:
        raise LLaSOError("nowhere to write: pass --out, or set `out` in the recipe")
    with lock.exclusive(recipe.out, "build-align") as held:
        return _build(recipe, held, progress, started)


def _build(recipe: Recipe, held: lock.Held, progress: Listener | None, started: float) -> BuildSummary:
    out = held.uri
    _refuse_foreign(out, recipe)
    notes: Counter[str] = Counter()
    readers = [
        formats.read(spec, notes) for spec in recipe.sources
    ]  # what is wrong with any is said before the work starts
    for folder in (out, storage.join(out, "observations"), storage.join(out, "verdicts")):
        storage.sweep(folder)
    storage.sweep_scratch()
    observing = observing_digest(recipe.observe, _weights(recipe))
    transcripts: Counter[bool] = Counter()
    names, result = _observe(recipe, _counted(_drained(readers), transcripts), held, observing, progress)
    verdicts = judging_digest(recipe, names)
    judged, made = _judge(recipe, out, names, verdicts)
    held.confirm()
    notes.update(judged.get("notes", {}))
    storage.write_bytes(storage.join(out, recipe_file.NAME), recipe_file.text_of(recipe).encode())
    checksums.write_json(commit.manifest_uri(out), _manifest(recipe, names, observing, verdicts, judged))
    return BuildSummary(
        out=out,
        **{name: value for name, value in judged.items() if name != "notes"},
        blocks=len(names),
        blocks_observed=result.blocks,
        model_calls=dataclasses.asdict(result.statistics),
        verdicts=verdicts,
        judged=made,
        wall_s=time.monotonic() - started,
        max_failures=recipe.judge.max_failures,
        notes=dict(sorted(notes.items())),
        transcripts=transcripts[True],
    )


def _refuse_foreign(out: str, recipe: Recipe) -> None:
    """What this run would replace is build-align's, before anything is read or written. Raises LLaSOError."""
    uri = commit.manifest_uri(out)
    outputs.refuse(uri, "llaso-data build-align", lambda uri: commit.is_manifest(outputs.json_at(uri)))
    recipe_file.refuse(out, recipe, outputs.json_at(uri))


@dataclass(slots=True)
class _Observed:
    blocks: int = 0
    statistics: Statistics = field(default_factory=Statistics)


def _observe(
    recipe: Recipe, inputs: Iterator[Input], held: lock.Held, observing: str, progress: Listener | None
) -> tuple[list[str], _Observed]:
    """The names of all planned blocks in order, and what it took to have them all."""
    out = held.uri
    done = commit.committed(out)
    names: list[str] = []
    total = _Observed()
    blocks, ahead = _look_ahead(plan(inputs, recipe.blocks, observing))
    if progress and ahead is not None:
        progress.planned(*ahead)

    def missing() -> Iterator[PlannedBlock]:
        for block in blocks:
            names.append(block.name)
            if block.name not in done:
                done.add(block.name)  # a source that is named twice
                yield block
            elif progress:
                progress.block_done(inputs=len(block.inputs), failed=0, audio_s=0.0, skipped=True, verdicts={})

    for result in engines.observe(missing(), recipe.observe, recipe.run, out):
        interrupts.check()
        held.check()
        total.blocks += 1
        total.statistics.add(result.statistics)
        if progress:
            progress.block_done(
                inputs=result.inputs,
                failed=result.failed,
                audio_s=result.audio_s,
                skipped=False,
                verdicts=_provisional(recipe, out, result.name),
            )
        memory.release()
    if not names:
        raise LLaSOError("the sources hold no audio")
    return names, total


def _look_ahead(planned: Iterator[PlannedBlock]) -> tuple[Iterator[PlannedBlock], tuple[int, int] | None]:
    """The same blocks, and (blocks, inputs) in all where that many fit in memory: what an ETA needs."""
    head: list[PlannedBlock] = []
    inputs = 0
    for block in planned:
        head.append(block)
        inputs += len(block.inputs)
        if inputs > _AHEAD_INPUTS:
            return chain(head, planned), None
    return iter(head), (len(head), inputs)


def _provisional(recipe: Recipe, out: str, block: str) -> dict[str, int]:
    """Accepted, and rejected by rule, of one block: the verdicts but for duplicates, which need all blocks."""
    found = judge([commit.block_uri(out, block)], recipe.judge)
    return {"accepted": found.counts["accepted"], **found.rules}


def _drained(readers: list[Iterator[Input]]) -> Iterator[Input]:
    """The inputs of all sources; each reader, with the listing that it holds, is let go at its end."""
    while readers:
        yield from readers.pop(0)


def _counted(inputs: Iterator[Input], transcripts: Counter[bool]) -> Iterator[Input]:
    """The inputs; counts those that come with a transcript, and those that do not."""
    for item in inputs:
        transcripts[item.utterance.text is not None] += 1
        yield item


def _weights(recipe: Recipe) -> list[str]:
    """Digests of the models that observe: what they are called does not matter, what they weigh does."""
    asr, model = recipe.observe.asr, recipe.observe.language_model
    found = [weights_digest(checkpoint_folder(asr.model, asr.revision))]
    if model.model is not None:
        from llaso_data.filters.language_model import language_model_digest

        found.append(language_model_digest(model.model, model.revision))
    return found


def _judge(recipe: Recipe, out: str, names: list[str], verdicts: str) -> tuple[dict[str, Any], bool]:
    """The verdict table's summary, and whether it was made now; it is kept in the table's own metadata."""
    import json

    uri = commit.verdicts_uri(out, verdicts)
    if storage.exists(uri):
        with columns.reading(uri) as file:
            return json.loads((pq.read_schema(file).metadata or {})[b"llaso.summary"]), False
    result: JudgeResult = judge([commit.block_uri(out, name) for name in names], recipe.judge)
    summary = result.summary()
    table: pa.Table = result.table.replace_schema_metadata({"llaso.summary": json.dumps(summary, sort_keys=True)})
    commit.write_table(uri, table)
    return summary, True


def _manifest(
    recipe: Recipe, names: list[str], observing: str, verdicts: str, summary: dict[str, Any]
) -> dict[str, Any]:
    plain = recipe.model_dump(mode="json", exclude={"run", "out"})
    return {
        "format_version": FORMAT_VERSION,
        "llaso": llaso_data.__version__,
        "blocks": names,
        "verdicts": verdicts,
        "observing": observing,
        "recipe": plain,
        **summary,
    }
