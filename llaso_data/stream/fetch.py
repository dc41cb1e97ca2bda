"""The bytes of samples: one positioned read each, on a disk or as a range of an object on a store, checked."""

from __future__ import annotations

import os
import random
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llaso_data.io import storage
from llaso_data.io.storage import StoreError
from llaso_data.shards.reader import fault, pread
from llaso_data.shards.tar import ShardError
from llaso_data.stream.index_columns import NEAR_BYTES, SampleLocation
from llaso_data.stream.shard_cache import FileCache

ATTEMPTS = 6
FIRST_WAIT_S = 0.25
_OPEN_FILES = 128

Parts = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class BadSample:
    """A sample whose bytes are not what the index says, or that cannot be decoded."""

    key: str
    shard: str
    reason: str


class Fetcher:
    """Reads samples for one process. Files stay open, the ones used last; close it, or let the process end.

    Of a store whole shards are read from the cache where they are there, else the ranges that are wanted.
    """

    def __init__(self, cache: FileCache | None = None) -> None:
        self._cache = cache
        self._files: OrderedDict[str, int] = OrderedDict()

    def read(self, wanted: Sequence[tuple[str, SampleLocation]], version: str) -> list[Parts | BadSample]:
        """Reads the parts of samples of one dataset.

        Args:
            wanted: (URI of the tar, location in it) of each sample.
            version: The dataset's digest, which names copies in the cache.

        Returns:
            For each sample its parts by name, or why they cannot be used.

        Raises:
            LLaSOError: A tar is missing.
            StoreError: A store stays down.
        """
        found: list[Parts | BadSample | None] = [None] * len(wanted)
        far = []
        for number, (shard, place) in enumerate(wanted):
            descriptor = self._open(shard, version)
            if descriptor is None:
                far.append(number)
                continue
            try:
                pieces = [pread(descriptor, offset, size) for _, offset, size, _ in place.parts]
            except OSError as error:
                raise StoreError(f"{shard}: cannot be read ({storage.reason(error)})") from error
            found[number] = _checked(shard, place, pieces)
            if isinstance(found[number], BadSample) and not storage.is_local(shard):
                self._forget(shard, version)  # the copy may be what is damaged
                far.append(number)
        if far:
            asked = [(number, *stretch) for number in far for stretch in _stretches(wanted[number][1])]
            answers = self._ranges([(wanted[number][0], start, stop) for number, start, stop in asked])
            held: dict[int, list[tuple[int, bytes]]] = {number: [] for number in far}
            for (number, start, _), data in zip(asked, answers, strict=True):
                held[number].append((start, data))
            for number in far:
                shard, place = wanted[number]
                pieces = [_cut(held[number], offset, size) for _, offset, size, _ in place.parts]
                found[number] = _checked(shard, place, pieces)
        return [one for one in found if one is not None]

    def close(self) -> None:
        """Closes all files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _open(self, shard: str, version: str) -> int | None:
        """The tar or its copy; None where it is on a store and not in the cache."""
        descriptor = self._files.get(shard)
        if descriptor is not None:
            self._files.move_to_end(shard)
            return descriptor
        if storage.is_local(shard):
            descriptor = _opened(shard)
        elif self._cache is not None:
            descriptor = self._cache.open(shard, version)
        if descriptor is not None:
            self._files[shard] = descriptor
        if len(self._files) > _OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return descriptor

    def _forget(self, shard: str, version: str) -> None:
        if self._cache is not None:
            self._cache.drop(shard, version)
        os.close(self._files.pop(shard))

    def _ranges(self, wanted: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """All ranges (tar, first byte, last byte and one) at once; what fails or comes short is asked for again, later
        and later.

        A range stays short where the object ends before it.
        """
        got = [b""] * len(wanted)
        waiting = [number for number, (_, start, stop) in enumerate(wanted) if stop > start]
        barren = 0  # rounds in a row that brought nothing
        while waiting:
            still, failure, came = [], "", False
            asked = [(wanted[n][0], wanted[n][1] + len(got[n]), wanted[n][2]) for n in waiting]
            for number, (shard, start, stop), answer in zip(waiting, asked, _ask(asked), strict=True):
                if isinstance(answer, FileNotFoundError):
                    raise ShardError(f"{shard} is missing; fetch or write the shards again") from answer
                if isinstance(answer, Exception):
                    if not _past_the_end(answer):
                        failure = f"{shard}: {storage.reason(answer)}"
                        still.append(number)
                    continue
                got[number] += answer
                came = came or bool(answer)
                if len(answer) < stop - start:
                    still.append(number)
            waiting, barren = still, 0 if came else barren + 1
            if barren == ATTEMPTS:
                if failure:
                    raise StoreError(f"the store stays down after {ATTEMPTS} attempts ({failure})")
                break  # it answers, and has no more
            if waiting:
                time.sleep(FIRST_WAIT_S * 2**barren * random.uniform(0.5, 1.5))
        return got


def _stretches(place: SampleLocation) -> list[tuple[int, int]]:
    """The bytes to ask for: one stretch of neighbours, more where a tar made elsewhere has the parts far apart."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted((offset, offset + size) for _, offset, size, _ in place.parts):
        if found and start <= found[-1][1] + NEAR_BYTES:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found


def _cut(held: Sequence[tuple[int, bytes]], offset: int, size: int) -> bytes:
    """A part of the stretch that holds it; ``held`` are (first byte, data), ascending."""
    start, data = max((one for one in held if one[0] <= offset), key=lambda one: one[0])
    return data[offset - start : offset - start + size]


def _opened(shard: str) -> int:
    try:
        return os.open(storage.absolute(shard), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ShardError(f"{shard} is missing; fetch or write the shards again") from error
    except OSError as error:
        raise StoreError(f"{shard}: cannot be opened ({storage.reason(error)})") from error


def _checked(shard: str, place: SampleLocation, pieces: Sequence[bytes]) -> Parts | BadSample:
    """The parts by name, each compared with its size and its CRC-32."""
    parts: Parts = {}
    for (name, _, size, crc), data in zip(place.parts, pieces, strict=True):
        if (said := fault(data, size, crc)) is not None:
            return BadSample(place.key, shard, f"{name} {said}")
        parts[name] = data
    return parts


def _ask(ranges: Sequence[tuple[str, int, int]]) -> list[Any]:
    """What the stores say to each (URI, first byte, last byte and one): bytes, or an exception."""
    answers: list[Any] = [None] * len(ranges)
    by_store: dict[int, tuple[Any, list[int], list[str]]] = {}
    for number, (uri, _, _) in enumerate(ranges):
        fs, path = storage.filesystem(uri)
        _, numbers, paths = by_store.setdefault(id(fs), (fs, [], []))
        numbers.append(number)
        paths.append(path)
    for fs, numbers, paths in by_store.values():
        starts, stops = [ranges[n][1] for n in numbers], [ranges[n][2] for n in numbers]
        try:
            found = fs.cat_ranges(paths, starts, stops, on_error="return")
        except Exception as error:
            found = [error] * len(numbers)
        for number, start, stop, answer in zip(numbers, starts, stops, found, strict=True):
            answers[number] = _as_asked(answer, start, stop)
    return answers


def _as_asked(answer: Any, start: int, stop: int) -> Any:
    """A server that knows no ranges sends the whole: the range of that."""
    if isinstance(answer, bytes) and len(answer) > stop - start:
        return answer[start:stop]
    return answer


def _past_the_end(error: Exception) -> bool:
    return "416" in str(error) or "InvalidRange" in str(error) or "not satisfiable" in str(error)
