"""The bytes of samples: one positioned read each, on a disk or as a range of an object on a store, checked."""

from __future__ import annotations

import os
import random
import time
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llaso_data import storage
from llaso_data.errors import LLaSOError
from llaso_data.shards.tar import ShardError
from llaso_data.storage import StoreError
from llaso_data.stream.columns import Place

ATTEMPTS = 6
FIRST_WAIT_S = 0.25
_OPEN_FILES = 128

Parts = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Bad:
    """A sample whose bytes are not what the index says, or that cannot be decoded."""

    key: str
    shard: str
    reason: str


class Fetcher:
    """Reads samples for one process. Files stay open, the ones used last; close it, or let the process end."""

    def __init__(self, attempts: int = ATTEMPTS) -> None:
        self._attempts = attempts
        self._files: OrderedDict[str, int] = OrderedDict()

    def read(self, wanted: Sequence[tuple[str, Place]]) -> list[Parts | Bad]:
        """For each (tar, place) the parts by name, or why they cannot be used.

        Raises LLaSOError where a tar is missing, and StoreError where a store stays down.
        """
        remote = [number for number, (shard, _) in enumerate(wanted) if not storage.is_local(shard)]
        if not remote:
            return [self._checked(shard, place, self._pread(shard, place)) for shard, place in wanted]
        ranges = dict(zip(remote, self._ranges([wanted[number] for number in remote]), strict=True))
        return [
            self._checked(shard, place, ranges[number] if number in ranges else self._pread(shard, place))
            for number, (shard, place) in enumerate(wanted)
        ]

    def close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])

    def _checked(self, shard: str, place: Place, data: bytes) -> Parts | Bad:
        view = memoryview(data)
        parts: Parts = {}
        for name, offset, size, crc32 in place.parts:
            part = bytes(view[offset - place.start : offset - place.start + size])
            if len(part) != size:
                return Bad(place.key, shard, f"{name} is cut short ({len(part)} of {size} bytes)")
            if zlib.crc32(part) != crc32:
                return Bad(place.key, shard, f"{name} has another CRC-32 than the index")
            parts[name] = part
        return parts

    def _pread(self, shard: str, place: Place) -> bytes:
        descriptor = self._open(shard)
        offset, left = place.start, place.stop - place.start
        data = os.pread(descriptor, left, offset)
        if len(data) == left:
            return data
        pieces = [data]  # a signal, or a network's file system, gave less; nothing at all is the end of the file
        while pieces[-1]:
            offset, left = offset + len(pieces[-1]), left - len(pieces[-1])
            pieces.append(os.pread(descriptor, left, offset))
        return b"".join(pieces)

    def _open(self, shard: str) -> int:
        descriptor = self._files.get(shard)
        if descriptor is not None:
            self._files.move_to_end(shard)
            return descriptor
        try:
            descriptor = os.open(storage.absolute(shard), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ShardError(f"{shard} is missing; fetch or write the shards again") from error
        except OSError as error:
            raise StoreError(f"{shard}: cannot be opened ({storage.reason(error)})") from error
        self._files[shard] = descriptor
        if len(self._files) > _OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return descriptor

    def _ranges(self, wanted: Sequence[tuple[str, Place]]) -> list[bytes]:
        """All ranges at once; what fails or comes short is asked for again, later and later."""
        got = [b""] * len(wanted)
        waiting = [number for number, (_, place) in enumerate(wanted) if place.stop > place.start]
        failure = ""
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
            answers = _ask([(wanted[n][0], wanted[n][1].start + len(got[n]), wanted[n][1].stop) for n in waiting])
            still = []
            for number, answer in zip(waiting, answers, strict=True):
                shard, place = wanted[number]
                if isinstance(answer, FileNotFoundError):
                    raise ShardError(f"{shard} is missing; fetch or write the shards again") from answer
                if isinstance(answer, BaseException):
                    if not isinstance(answer, Exception):
                        raise answer
                    if _past_the_end(answer):
                        continue  # the object is shorter than the index says: the sample is cut short
                    failure = f"{shard}: {storage.reason(answer)}"
                    still.append(number)
                    continue
                left = place.stop - place.start - len(got[number])
                got[number] += answer[:left]
                if len(answer) < left:
                    failure = f"{shard}: {len(answer)} of {left} bytes came"
                    still.append(number)
            if not still:
                return got
            waiting = still
        if all(got[number] or not failure for number in waiting) or failure.endswith("bytes came"):
            return got  # the store answers, and has no more: the samples are cut short
        raise StoreError(f"the store stays down after {self._attempts} attempts ({failure})")


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
        except LLaSOError:
            raise
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
