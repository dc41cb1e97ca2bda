"""Distinct requests for speech in a temporary file, in one order whatever order they came in."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from types import TracebackType

import numpy as np
import numpy.typing as npt

from llaso_data.pipeline.instruct.spoken import SpeechRequest


class RequestStore:
    """Requests without repetitions, sorted by (language, key). Memory holds 32 bytes of each, not its text.

    Attributes:
        keys: uint64 of shape (requests, 2), the halves of each key, in the order of the store.
    """

    def __init__(self, requests: Iterable[SpeechRequest]) -> None:
        """Take all requests in. While they come, memory holds 150 bytes of each."""
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        starts, lengths, languages = array("Q"), array("L"), array("L")
        keys: dict[bytes, None] = {}
        codes: dict[str, int] = {}
        for request in requests:
            key = bytes.fromhex(request.key)
            if key in keys:
                continue
            keys[key] = None
            data = json.dumps([request.text, request.language, request.take]).encode()
            starts.append(self._file.tell())
            lengths.append(len(data))
            languages.append(codes.setdefault(request.language, len(codes)))
            self._file.write(data)
        halves = np.frombuffer(b"".join(keys), ">u8").reshape(-1, 2).astype(np.uint64)
        self._codes = sorted(codes)
        ranks = np.array([self._codes.index(code) for code in codes], np.int64)
        of_each = ranks[np.frombuffer(languages, f"u{languages.itemsize}").astype(np.int64)] if codes else ranks
        order = np.lexsort((halves[:, 1], halves[:, 0], of_each))
        self.keys: npt.NDArray[np.uint64] = halves[order]
        self._languages = of_each[order]
        self._starts = np.array(starts, np.uint64)[order]
        self._lengths = np.array(lengths, np.uint32)[order]

    def __enter__(self) -> RequestStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> SpeechRequest:
        """The request of a number, from 0."""
        self._file.seek(int(self._starts[number]))
        return SpeechRequest(*json.loads(self._file.read(int(self._lengths[number]))))

    @property
    def languages(self) -> list[str]:
        """The languages of all requests, sorted."""
        return self._codes

    def groups(self, most: int) -> Iterator[tuple[int, int]]:
        """Neighbours of one language, at most so many: the first number, and the number after the last."""
        ends = np.searchsorted(self._languages, np.arange(len(self._codes)), side="right")
        first = 0
        for end in map(int, ends):
            for start in range(first, end, most):
                yield start, min(start + most, end)
            first = end
