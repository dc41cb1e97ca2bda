"""`llaso-data build-instruct`: sources in, samples of many tasks out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, interrupts, lock, storage
from llaso_data.pipeline import engines
from llaso_data.pipeline.convert import folder
from llaso_data.pipeline.convert.part import SHARDS
from llaso_data.pipeline.convert.run import ConvertSummary, GivenSamples, checked, dataset_digest, write_given
from llaso_data.pipeline.hearing import Workplace
from llaso_data.pipeline.instruct import blocks, finish, leaks, splits, tasks
from llaso_data.pipeline.instruct.blocks import Block, BlockOutline, BlockResult
from llaso_data.pipeline.instruct.candidates import Candidates
from llaso_data.pipeline.instruct.counterpart import with_counterparts
from llaso_data.pipeline.instruct.items import item_of, plan_of, settings_of_blocks
from llaso_data.pipeline.instruct.plan import FoundLeaks, Plan
from llaso_data.pipeline.instruct.progress import Progress
from llaso_data.pipeline.instruct.reading import Reading, asking_of, read_rows
from llaso_data.pipeline.instruct.row_store import RequestsOfBlocks, RowStore
from llaso_data.pipeline.instruct.speech import (
    Refusal,
    SpeechRequest,
    SpokenLine,
    check_voices,
    speak_all,
)
from llaso_data.pipeline.instruct.spoken import Spoken
from llaso_data.pipeline.instruct.summary import SUMMARY, InstructSummary, summarised
from llaso_data.recipe import Convert, Instruct, Recipe
from llaso_data.records import SPLITS, digest

MOST_ROUNDS = 20
Numbers = npt.NDArray[np.int64]


def build_instruct(recipe: Recipe, *, overwrite: bool = False, progress: Progress | None = None) -> InstructSummary:
    """Build instruction data. A rerun goes on where a killed run was.

    Args:
        recipe: ``sources``, ``out``, ``instruct``, ``voices``, ``run``; ``observe`` says which Whisper listens back.
        overwrite: Replace other data of this command in ``out``.
        progress: Told what is done.

    Raises:
        LLaSOError: A setting is wrong; ``out`` holds something else; leaks are refused; there is nothing to build.
    """
    own = tasks.own_tasks(recipe.instruct.task_files)
    recipe = with_counterparts(recipe)
    settings = converting(recipe)
    if recipe.voices.engines:
        check_voices(recipe.voices)
    assert recipe.out is not None
    with ExitStack() as stack:
        held = stack.enter_context(lock.exclusive(recipe.out, "build-instruct"))
        if recipe.run.engine == "ray":
            from llaso_data.pipeline.ray_cluster import cluster

            stack.enter_context(cluster(recipe.run))
        return _Run(recipe, settings, tasks.carried(own), held, overwrite, progress or Progress())()


def converting(recipe: Recipe) -> Convert:
    """What is written, as a conversion's settings.

    Raises:
        LLaSOError: A setting is wrong, or one that is needed is missing.
    """
    instruct = recipe.instruct
    if not recipe.sources:
        raise LLaSOError("nothing to build of: name a SOURCE, or sources in a recipe")
    if not sum(_shares(recipe).values()) or any(share < 0 for share in _shares(recipe).values()):
        raise LLaSOError("instruct.modalities: shares are numbers of at least 0, and one of them is more")
    if unknown := [name for name in instruct.modalities if name not in ("text_audio", "audio_text", "audio", "text")]:
        raise LLaSOError(
            f"instruct.modalities: {unknown[0]!r} is none; there are text_audio, audio_text, audio and text"
        )
    low, high = instruct.pause_s
    if not 0 <= low <= high <= 10:
        raise LLaSOError(f"instruct.pause_s: seconds from 0 to 10, lowest first, not {instruct.pause_s}")
    settings = Convert(
        to=instruct.to,
        audio=instruct.audio,
        split=instruct.split,
        samples_per_part=instruct.samples_per_part,
        seed=instruct.seed,
    )
    settings = checked(recipe.model_copy(update={"convert": settings}))
    return settings.model_copy(update={"split": {}, "group_by_split": True})


class _Run:
    """One run of the command; its call does all of it."""

    def __init__(
        self, recipe: Recipe, settings: Convert, own: str, held: lock.Held, overwrite: bool, progress: Progress
    ) -> None:
        self._recipe, self._settings, self._own, self._held = recipe, settings, own, held
        self._overwrite, self._progress = overwrite, progress
        self._instruct = recipe.instruct
        self._out = held.uri
        self._work = storage.join(self._out, folder.INSTRUCT)
        # A layout that points needs clips that stay in sight; shards have them inside.
        points = settings.to != SHARDS and settings.audio == "keep"
        self._clips = storage.join(self._out if points else self._work, blocks.CLIPS)
        self._points = points
        self._results: list[BlockResult] = []
        self._requests = RequestsOfBlocks()
        self._spoken: list[Spoken] = []

    def __call__(self) -> InstructSummary:
        all_tasks = tasks.tasks_of(self._own)
        names = tasks.chosen(self._instruct, all_tasks)
        if not names:
            raise LLaSOError("instruct.tasks: no task is left to ask")
        self._asking = asking_of(self._recipe)
        self._dataset = self._named(tasks.templates_digest(all_tasks, names))
        with RowStore() as rows:
            reading = read_rows(self._recipe, self._own, names, self._asking, rows, self._progress)
            plan = self._plan(reading, names)
            self._block_settings = settings_of_blocks(
                self._recipe,
                self._own,
                names,
                self._asking,
                root=self._out,
                work=self._work,
                clips=self._clips,
                dataset=self._dataset,
                lock=self._held.token,
            )
            count = self._build(rows, plan)
            rows_count = len(rows)
        blocks.remove_after(self._work, count)
        converted = self._write(count)
        results = sorted(self._results, key=lambda one: one.number)
        told = reading.told(rows_count)
        summary = summarised(self._recipe, all_tasks, told, plan.told(), results, self._spoken, converted)
        checksums.write_json(storage.join(self._out, SUMMARY), summary.stored())
        return summary

    def _named(self, templates: str) -> str:
        """The digest of the sources and of all settings that decide what is built."""
        recipe = self._recipe
        sources = [
            source.model_dump(mode="json", exclude_defaults=True) | {"path": storage.absolute(source.path)}
            for source in recipe.sources
        ]
        stated = {
            "sources": sources,
            "instruct": recipe.instruct.model_dump(mode="json", exclude={"task_files"}),
            "voices": recipe.voices.model_dump(mode="json", exclude={"cache"}),
            "asr": recipe.observe.asr.model_dump(mode="json", exclude_none=True),
            "voiced": list(self._asking.voiced),
        }
        return digest("build-instruct", templates, json.dumps(stated, sort_keys=True, ensure_ascii=False))

    def _plan(self, reading: Reading, names: tuple[str, ...]) -> Plan:
        candidates = reading.scan.done()
        if not len(candidates.row):
            raise LLaSOError(_nothing_fed(reading, candidates))
        if (why := _nothing_tested(candidates, self._instruct)) is not None:
            raise LLaSOError(why)
        # Not before: a source that is not there, or feeds nothing, shall leave no mark of a run in the folder.
        folder.prepare(self._out, dataset_digest(self._dataset), self._settings.to, overwrite=self._overwrite)
        find_leaks = partial(self._leaks, reading.rows)
        plan = plan_of(self._recipe, self._own, names, candidates, reading.rows, find_leaks)
        for note in splits.empty_splits(plan.splits, self._instruct):
            reading.notes[note] += 1
        if not (wanted := int(plan.selection.wanted.sum())):
            raise LLaSOError(_nothing_left(plan))
        self._progress.planned(wanted)
        return plan

    def _leaks(
        self, rows: RowStore, split: npt.NDArray[np.int8], text_counts: npt.NDArray[np.bool_]
    ) -> FoundLeaks | None:
        check = self._instruct.leakage
        if not check.kinds or not (check.against or self._instruct.split):
            return None
        place = Workplace(self._recipe.run, self._work, self._held, self._progress.heard)
        looked_up = leaks.splits_to_look_up(split, for_test=self._instruct.eval is not None)
        # One task may not have a row's sound, another not its text: the two are asked for apart.
        of_texts = frozenset(("text", "near_text"))
        found: list[leaks.RowLeaks | None] = []
        for kinds in (
            [one for one in check.kinds if one not in of_texts],
            [one for one in check.kinds if one in of_texts],
        ):
            wanted = check.model_copy(update={"kinds": tuple(kinds)})
            found.append(leaks.find_leaks_of_rows(rows, looked_up, text_counts, wanted, place) if kinds else None)
        return FoundLeaks(*found)

    def _build(self, rows: RowStore, plan: Plan) -> int:
        """Make blocks, round by round. Returns how many there are."""
        count = 0
        for _ in range(MOST_ROUNDS):
            chosen = plan.selection.next()
            if not len(chosen):
                break
            starts = range(0, len(chosen), blocks.BLOCK_SAMPLES)
            of_block = {count + number: chosen[at : at + blocks.BLOCK_SAMPLES] for number, at in enumerate(starts)}
            self._speak(rows, plan, of_block)
            for result in self._mapped(blocks.write_block, self._blocks(rows, plan, of_block, spoken=True)):
                self._results.append(result)
                plan.selection.fail(of_block[result.number][list(result.failed)])
                self._progress.block(result.samples, len(result.failed))
            count += len(of_block)
        return count

    def _speak(self, rows: RowStore, plan: Plan, of_block: dict[int, Numbers]) -> None:
        """Let voices speak what the blocks need and is not spoken yet."""
        self._requests.clear()
        one: BlockOutline
        for one in self._mapped(blocks.outline_block, self._blocks(rows, plan, of_block, spoken=False)):
            self._requests.put(one.number, one.requests)
        if not self._recipe.voices.engines:
            return
        waiting = (request for number in self._requests for request in self._requests.of(number))
        new = (request for request in waiting if self._line(request) is None)
        spoken = speak_all(new, self._recipe, self._work, self._held.token, self._progress.spoken)
        if len(spoken):
            self._spoken.append(spoken)

    def _line(self, request: SpeechRequest) -> SpokenLine | Refusal | None:
        for spoken in self._spoken:
            try:
                return spoken[request]
            except KeyError:
                continue
        return None

    def _mapped(self, function: Callable[[Block], Any], jobs: Iterator[Block]) -> Iterator[Any]:
        for result in engines.map_unordered(function, jobs, self._recipe.run):
            interrupts.check()
            self._held.check()
            yield result

    def _blocks(self, rows: RowStore, plan: Plan, of_block: dict[int, Numbers], spoken: bool) -> Iterator[Block]:
        is_test = self._instruct.eval is not None
        for number, chosen in of_block.items():
            items = tuple(item_of(rows, plan, int(candidate), is_test) for candidate in chosen)
            lines: dict[SpeechRequest, SpokenLine | Refusal] = {}
            if spoken:
                for request in self._requests.of(number):
                    if (line := self._line(request)) is not None:
                        lines[request] = line
            yield Block(number=number, items=items, settings=self._block_settings, lines=lines)

    def _write(self, count: int) -> ConvertSummary:
        recipe = self._recipe.model_copy(update={"convert": self._settings})
        samples = finish.samples(self._work, count, self._clips if self._points else None)
        given = GivenSamples(lambda: samples, self._dataset, finish.moved_to(self._clips))
        return write_given(recipe, given, self._held, overwrite=self._overwrite, progress=self._progress.part)


def _shares(recipe: Recipe) -> dict[str, float]:
    return recipe.instruct.modalities


def _nothing_tested(candidates: Candidates, instruct: Instruct) -> str | None:
    """Why a test set would have no row; None: it has, or training data is built."""
    if instruct.eval is None or not instruct.split:
        return None
    split = splits.assign(candidates, instruct.split, instruct.by, instruct.given_splits)
    if (split == SPLITS.index("test")).any():
        return None
    why = splits.empty_splits(split, instruct) or ["instruct.split has no share of test"]
    return f"nothing can be tested of {len(split)} rows: {why[-1]}"


def _nothing_left(plan: Plan) -> str:
    """Why nothing is chosen of what rows feed."""
    leaked = sum(sum(found["leaked"].values()) for found in plan.leaks.values())
    return (
        f"nothing is left of {len(plan.splits)} rows: {leaked} leaks and {plan.texts_shared} texts of other splits are "
        "left out, and instruct.samples, mix and the shares of eval give nothing to the rest"
    )


def _nothing_fed(reading: Reading, candidates: Candidates) -> str:
    reasons = "; ".join(
        f"{name}: {', '.join(f'{why} in {rows} rows' for why, rows in counts.items())}"
        for name, counts in list(candidates.not_fed.items())[:8]
        if counts
    )
    problems = ", ".join(f"{count} {reason}" for reason, count in reading.problems.counts.items())
    return (
        f"nothing can be built of {reading.read} rows"
        + (f" ({problems})" if problems else "")
        + (f": {reasons}" if reasons else "")
        + "; `llaso-data tasks` says what each task needs, --map gives labels of columns"
    )
