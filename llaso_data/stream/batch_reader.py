"""A micro-batch of the plan: read, decoded, made. A bad sample is replaced by a function of its place."""

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
    """How samples are read: decoded or as bytes, with what other sound, through which cache; what is made of them.

    ``max_bad`` is how many samples may be bad.
    """

    decode: bool
    augment: Augment | None
    cache: FileCache | None
    max_bad: int
    transform: Callable[[Batch], Any] | None = None


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
            The batch, in which a bad sample is replaced by a function of its place, and named in ``replaced``.

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
        for place, (number, found) in enumerate(zip(numbers, self._read(step.window, numbers), strict=True)):
            one = self._augmented(found, step.window, number)
            if isinstance(one, BadSample):
                bad[place] = one
                one = self._instead(step.window, number, one)
            samples.append(one)
        if self._reading.transform is None:
            batch = self._collated(step, turn, samples)
        else:
            batch = self._made(step, turn, samples, bad, self._reading.transform)
        replaced = tuple(Replaced(bad[place], samples[place].key) for place in sorted(bad))
        return replace(batch, replaced=replaced, after=after)

    def _made(
        self,
        step: Step,
        turn: int,
        samples: list[StreamSample],
        bad: dict[int, BadSample],
        transform: Callable[[Batch], Any],
    ) -> Batch:
        """What the transform makes of these samples; those of which it makes nothing are replaced, and join ``bad``."""
        try:
            return self._collated(step, turn, samples).transformed(transform)
        except NO_SAMPLES_FAULT:
            raise
        except Exception:  # of a user's own function, perhaps: whose sample it was is found out below
            alone = [self._alone(step, turn, sample, transform) for sample in samples]
            if not any(isinstance(one, BadSample) for one in alone):
                raise
        numbers = step.batches[turn].tolist()
        for place, one in enumerate(alone):
            if isinstance(one, BadSample):
                bad.setdefault(place, one)
                samples[place] = self._instead(
                    step.window, numbers[place], one, lambda other: self._alone(step, turn, other, transform)
                )
        return self._collated(step, turn, samples).transformed(transform)

    def _alone(
        self, step: Step, turn: int, sample: StreamSample, transform: Callable[[Batch], Any]
    ) -> StreamSample | BadSample:
        """The sample, if the transform makes something of a batch of it alone."""
        made = tried(sample, lambda one: transform(self._collated(step, turn, [one], new_samples)))
        return made if isinstance(made, BadSample) else sample

    def _collated(
        self, step: Step, turn: int, samples: Sequence[StreamSample], new: Callable[[int], Samples] | None = None
    ) -> Batch:
        if not self._reading.decode:
            return Batch(step.number, turn, tuple(samples))
        return Batch(step.number, turn, **collate(samples, self._plan.pack, new or self._new))

    def _read(self, window: PlanningBlock, numbers: Sequence[int]) -> list[StreamSample | BadSample]:
        """The samples with these numbers in the window, or what is wrong with them."""
        chosen = np.asarray(numbers, np.int64)
        found: list[StreamSample | BadSample | None] = [None] * len(chosen)
        of = window.source[chosen]
        for source in sorted(set(of.tolist())):
            here = np.flatnonzero(of == source)
            rows = window.row[chosen[here]]
            name, columns = self._plan.samplers[source].name, self._plan.samplers[source].columns
            read = samples_of(columns, rows, self._fetch, name)
            for position, one in zip(here.tolist(), read, strict=True):
                found[position] = decoded(one) if self._reading.decode and isinstance(one, StreamSample) else one
        return [one for one in found if one is not None]

    def _augmented(
        self, sample: StreamSample | BadSample, window: PlanningBlock, number: int
    ) -> StreamSample | BadSample:
        """The sample with the other sound that place ``number`` of the window has."""
        augment = self._reading.augment
        if isinstance(sample, BadSample) or not self._reading.decode or augment is None:
            return sample
        key = key_of("augment", self._plan.digest, window.number, number)
        return tried(sample, lambda one: augment(one, key))

    def _instead(
        self,
        window: PlanningBlock,
        number: int,
        bad: BadSample,
        usable: Callable[[StreamSample], StreamSample | BadSample] = lambda sample: sample,
    ) -> StreamSample:
        """The sample that stands in for a bad one: the next cheaper of the window that is usable, else a dearer one.

        Raises LLaSOError where there is none among the next ``max_bad`` and one: then the fault lies elsewhere.
        """
        tries = 0
        last = bad
        for other in _neighbours(window, number):
            (found,) = self._read(window, [other])
            found = self._augmented(found, window, number)
            found = found if isinstance(found, BadSample) else usable(found)
            if not isinstance(found, BadSample):
                return found
            tries, last = tries + 1, found
            if tries > self._reading.max_bad:
                break
        known = "" if last is bad else f"; the last of them: {last.key} in {last.shard}: {last.reason}"
        raise LLaSOError(
            f"the sample {bad.key} in {bad.shard} cannot be used: {bad.reason}. Nor can any of the {tries} that might "
            f"stand in for it be (max_bad={self._reading.max_bad}){known}. `llaso-data validate` names what is damaged"
        )


def _neighbours(window: PlanningBlock, number: int) -> Iterator[int]:
    """The other samples of the window: the cheaper ones, dearest first, then the dearer ones."""
    by_cost = np.argsort(window.cost, kind="stable")
    place = int(np.flatnonzero(by_cost == number)[0])
    yield from by_cost[:place][::-1].tolist()
    yield from by_cost[place + 1 :].tolist()
