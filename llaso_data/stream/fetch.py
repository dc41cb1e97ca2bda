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
    """Reads samples for one process. The files used last stay open until :meth:`close`.

    Of a shard on a store, samples are read from the cache where the shard is there, else by ranges.
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
        results: list[Parts | BadSample | None] = [None] * len(wanted)
        far = []
        for number, (shard, location) in enumerate(wanted):
            if not shard.endswith(".tar"):  # a zip or a table, whose members no offset leads to
                results[number] = {}
                continue
            descriptor = self._open(shard, version)
            if descriptor is None:
                far.append(number)
                continue
            try:
                pieces = [pread(descriptor, offset, size) for _, offset, size, _ in location.parts]
            except OSError as error:
                raise StoreError(f"{shard}: cannot be read ({storage.reason(error)})") from error
            results[number] = _checked(shard, location, pieces)
            if isinstance(results[number], BadSample) and not storage.is_local(shard):
                self._forget(shard, version)  # the cached copy may be damaged, and not the shard
                far.append(number)
        if far:
            ranges = [(number, *stretch) for number in far for stretch in _stretches(wanted[number][1])]
            answers = self._ranges([(wanted[number][0], start, stop) for number, start, stop in ranges])
            stretches: dict[int, list[tuple[int, bytes]]] = {number: [] for number in far}
            for (number, start, _), data in zip(ranges, answers, strict=True):
                stretches[number].append((start, data))
            for number in far:
                shard, location = wanted[number]
                pieces = [_cut(stretches[number], offset, size) for _, offset, size, _ in location.parts]
                results[number] = _checked(shard, location, pieces)
        return [result for result in results if result is not None]

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

    def _ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Reads all ranges (tar, start, stop) at once. A range that fails or is short is tried again, with backoff.

        A range stays short where the object ends within it.
        """
        received = [b""] * len(ranges)
        waiting = [number for number, (_, start, stop) in enumerate(ranges) if stop > start]
        empty_rounds = 0  # successive rounds in which no byte came
        while waiting:
            unfinished, failure, progressed = [], "", False
            remaining = [(ranges[n][0], ranges[n][1] + len(received[n]), ranges[n][2]) for n in waiting]
            for number, (shard, start, stop), answer in zip(waiting, remaining, _ask(remaining), strict=True):
                if isinstance(answer, FileNotFoundError):
                    raise ShardError(f"{shard} is missing; fetch or write the shards again") from answer
                if isinstance(answer, Exception):
                    if not _past_the_end(answer):
                        failure = f"{shard}: {storage.reason(answer)}"
                        unfinished.append(number)
                    continue
                received[number] += answer
                progressed = progressed or bool(answer)
                if len(answer) < stop - start:
                    unfinished.append(number)
            waiting, empty_rounds = unfinished, 0 if progressed else empty_rounds + 1
            if empty_rounds == ATTEMPTS:
                if failure:
                    raise StoreError(f"the store stays down after {ATTEMPTS} attempts ({failure})")
                break  # it answers, and has no more
            if waiting:
                time.sleep(FIRST_WAIT_S * 2**empty_rounds * random.uniform(0.5, 1.5))
        return received


def _stretches(location: SampleLocation) -> list[tuple[int, int]]:
    """The byte ranges that hold a sample's parts: one, or several where a foreign tar has the parts far apart."""
    stretches: list[tuple[int, int]] = []
    for start, stop in sorted((offset, offset + size) for _, offset, size, _ in location.parts):
        if stretches and start <= stretches[-1][1] + NEAR_BYTES:
            stretches[-1] = (stretches[-1][0], max(stretches[-1][1], stop))
        else:
            stretches.append((start, stop))
    return stretches


def _cut(stretches: Sequence[tuple[int, bytes]], offset: int, size: int) -> bytes:
    """A part of the stretch that holds it; ``held`` are (first byte, data), ascending."""
    start, data = max((stretch for stretch in stretches if stretch[0] <= offset), key=lambda stretch: stretch[0])
    return data[offset - start : offset - start + size]


def _opened(shard: str) -> int:
    try:
        return os.open(storage.absolute(shard), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ShardError(f"{shard} is missing; fetch or write the shards again") from error
    except OSError as error:
        raise StoreError(f"{shard}: cannot be opened ({storage.reason(error)})") from error


def _checked(shard: str, location: SampleLocation, pieces: Sequence[bytes]) -> Parts | BadSample:
    """The parts by name, each compared with its size and its CRC-32."""
    parts: Parts = {}
    for (name, _, size, crc), data in zip(location.parts, pieces, strict=True):
        if (reason := fault(data, size, crc)) is not None:
            return BadSample(location.key, shard, f"{name} {reason}")
        parts[name] = data
    return parts


def _ask(ranges: Sequence[tuple[str, int, int]]) -> list[Any]:
    """The stores' answer to each range (URI, start, stop): bytes, or an exception."""
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
            store_answers = fs.cat_ranges(paths, starts, stops, on_error="return")
        except Exception as error:
            store_answers = [error] * len(numbers)
        for number, start, stop, answer in zip(numbers, starts, stops, store_answers, strict=True):
            answers[number] = _as_asked(answer, start, stop)
    return answers


def _as_asked(answer: Any, start: int, stop: int) -> Any:
    """The bytes of a range. A server without ranges sends the whole object, of which the range is cut."""
    if isinstance(answer, bytes) and len(answer) > stop - start:
        return answer[start:stop]
    return answer


def _past_the_end(error: Exception) -> bool:
    """Whether the object ends before the range. A message may name an address, and that may hold the digits 416."""
    status = getattr(error, "status", None) or getattr(error, "code", None)  # aiohttp's and gcsfs's
    text = str(error)
    return status == 416 or text.startswith("416") or "InvalidRange" in text or "not satisfiable" in text
