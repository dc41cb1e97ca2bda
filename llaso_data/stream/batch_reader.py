"""Reads, decodes and collates a micro-batch of the plan. The plan decides which sample replaces a bad one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from llaso_data.errors import LLaSOError
from llaso_data.stream.augment import Augment
from llaso_data.stream.batch import (
    NO_SAMPLES_FAULT,
    Batch,
    Replaced,
    Samples,
    StreamSample,
    collate,
    decoded,
    new_samples,
    samples_of,
    tried,
)
from llaso_data.stream.batching import key_of
from llaso_data.stream.fetch import BadSample, Fetcher
from llaso_data.stream.planner import Planner, PlanningBlock, Step, StreamPosition
from llaso_data.stream.shard_cache import FileCache, Prefetch
from llaso_data.stream.shared_memory import keep_pages


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """How samples are read."""

    decode: bool  # false: batches hold bytes
    augment: Augment | None
    cache: FileCache | None  # of shards on a store
    max_bad: int  # samples that may be bad
    transform: Callable[[Batch], Any] | None = None  # applied to every batch


class BatchReader:
    """Reads micro-batches of a plan, in one process. ``new`` gives the memory for a batch's sound."""

    def __init__(self, plan: Planner, reading: ReadSettings, new: Callable[[int], Samples]) -> None:
        keep_pages()
        self._plan = plan
        self._reading = reading
        self._new = new
        self._fetch = Fetcher(reading.cache)
        self._prefetch = None if reading.cache is None else Prefetch(reading.cache)
        self._window = -1

    def close(self) -> None:
        """Closes the files and ends the threads that fetch shards."""
        self._fetch.close()
        if self._prefetch is not None:
            self._prefetch.close()

    def batch(self, step: Step, turn: int, after: StreamPosition | None) -> Batch:
        """Reads one micro-batch of a step.

        Args:
            step: The step.
            turn: The number of the micro-batch within the step.
            after: Where the stream stands when this was the rank's last of the step; it is passed on in the batch.

        Returns:
            The batch. The plan decides which sample replaces a bad one; ``replaced`` names both.

        Raises:
            LLaSOError: More than ``max_bad`` samples in a row cannot stand in for a bad one, or a tar is missing.
            StoreError: A store stays down.
        """
        if self._prefetch is not None and self._window != step.window.number:
            self._window = step.window.number
            self._prefetch.want(self._plan.shards(step.cursor))
        numbers = step.batches[turn].tolist()
        samples: list[StreamSample] = []
        bad: dict[int, BadSample] = {}
        for position, (number, read) in enumerate(zip(numbers, self._read(step.window, numbers), strict=True)):
            sample = self._augmented(read, step.window, number)
            if isinstance(sample, BadSample):
                bad[position] = sample
                sample = self._instead(step.window, number, sample)
            samples.append(sample)
        if self._reading.transform is None:
            batch = self._collated(step, turn, samples)
        else:
            batch = self._made(step, turn, samples, bad, self._reading.transform)
        replaced = tuple(Replaced(bad[position], samples[position].key) for position in sorted(bad))
        return replace(batch, replaced=replaced, after=after)

    def _made(
        self,
        step: Step,
        turn: int,
        samples: list[StreamSample],
        bad: dict[int, BadSample],
        transform: Callable[[Batch], Any],
    ) -> Batch:
        """The transformed batch. Samples on which the transform fails are replaced and added to ``bad``."""
        try:
            return self._collated(step, turn, samples).transformed(transform)
        except NO_SAMPLES_FAULT:
            raise
        except Exception:  # the transform is the user's function; the sample that it fails on is found below
            outcomes = [self._alone(step, turn, sample, transform) for sample in samples]
            if not any(isinstance(outcome, BadSample) for outcome in outcomes):
                raise
        numbers = step.batches[turn].tolist()
        for position, outcome in enumerate(outcomes):
            if isinstance(outcome, BadSample):
                bad.setdefault(position, outcome)
                samples[position] = self._instead(
                    step.window, numbers[position], outcome, lambda other: self._alone(step, turn, other, transform)
                )
        return self._collated(step, turn, samples).transformed(transform)

    def _alone(
        self, step: Step, turn: int, sample: StreamSample, transform: Callable[[Batch], Any]
    ) -> StreamSample | BadSample:
        """The sample where the transform of a batch of this sample alone succeeds; else why it fails."""
        outcome = tried(sample, lambda single: transform(self._collated(step, turn, [single], new_samples)))
        return outcome if isinstance(outcome, BadSample) else sample

    def _collated(
        self, step: Step, turn: int, samples: Sequence[StreamSample], new: Callable[[int], Samples] | None = None
    ) -> Batch:
        if not self._reading.decode:
            return Batch(step.number, turn, tuple(samples))
        return Batch(step.number, turn, **collate(samples, self._plan.pack, new or self._new))

    def _read(self, window: PlanningBlock, numbers: Sequence[int]) -> list[StreamSample | BadSample]:
        """The samples with these numbers in the window, or what is wrong with them."""
        chosen = np.asarray(numbers, np.int64)
        samples: list[StreamSample | BadSample | None] = [None] * len(chosen)
        sources = window.source[chosen]
        for source in sorted(set(sources.tolist())):
            positions = np.flatnonzero(sources == source)
            rows = window.row[chosen[positions]]
            name, columns = self._plan.samplers[source].name, self._plan.samplers[source].columns
            read = samples_of(columns, rows, self._fetch, name)
            for position, sample in zip(positions.tolist(), read, strict=True):
                if self._reading.decode and isinstance(sample, StreamSample):
                    samples[position] = decoded(sample)
                else:
                    samples[position] = sample
        return [sample for sample in samples if sample is not None]

    def _augmented(
        self, sample: StreamSample | BadSample, window: PlanningBlock, number: int
    ) -> StreamSample | BadSample:
        """The sample after the augmentation that sample ``number`` of the window has."""
        augment = self._reading.augment
        if isinstance(sample, BadSample) or not self._reading.decode or augment is None:
            return sample
        key = key_of("augment", self._plan.digest, window.number, number)
        return tried(sample, lambda unchanged: augment(unchanged, key))

    def _instead(
        self,
        window: PlanningBlock,
        number: int,
        bad: BadSample,
        usable: Callable[[StreamSample], StreamSample | BadSample] = lambda sample: sample,
    ) -> StreamSample:
        """The sample that replaces a bad one: the next cheaper usable one of the window, else the next dearer one.

        Raises LLaSOError where ``max_bad`` + 1 samples in a row are unusable: the fault then lies elsewhere.
        """
        tries = 0
        last = bad
        for other in _neighbours(window, number):
            (candidate,) = self._read(window, [other])
            candidate = self._augmented(candidate, window, number)
            candidate = candidate if isinstance(candidate, BadSample) else usable(candidate)
            if not isinstance(candidate, BadSample):
                return candidate
            tries, last = tries + 1, candidate
            if tries > self._reading.max_bad:
                break
        example = "" if last is bad else f"; the last of them: {last.key} in {last.shard}: {last.reason}"
        raise LLaSOError(
            f"the sample {bad.key} in {bad.shard} cannot be used: {bad.reason}. None of the {tries} samples "
            f"that could replace it can be used either (max_bad={self._reading.max_bad}){example}. "
            "`llaso-data validate` names what is damaged"
        )


def _neighbours(window: PlanningBlock, number: int) -> Iterator[int]:
    """The other samples of the window: the cheaper ones, dearest first, then the dearer ones."""
    by_cost = np.argsort(window.cost, kind="stable")
    rank = int(np.flatnonzero(by_cost == number)[0])
    yield from by_cost[:rank][::-1].tolist()
    yield from by_cost[rank + 1 :].tolist()
