"""What the modules of this package share: reading samples by their rows of the index, and the text of an audio."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from llaso_data.extras import needed_for
from llaso_data.shards.foreign_rows import TEXT_FIELDS, TEXT_PARTS
from llaso_data.shards.tar import ShardError
from llaso_data.stream.batch import StreamSample, objects, samples_of, tried
from llaso_data.stream.fetch import BadSample, Fetcher
from llaso_data.stream.index_columns import IndexColumns, Rows

OnBad = Callable[[BadSample], None]
"""Called with each sample that cannot be used, which is then left out."""

AT_ONCE = 32
"""How many samples are read together; from a store their ranges are requested at the same time."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shards:
    """A folder of shards, open for reading. Another process that gets it maps the index itself."""

    columns: IndexColumns
    on_bad: OnBad | None

    @classmethod
    def open(cls, uri: str, on_bad: OnBad | None) -> Shards:
        """Of a folder or URI; raises LLaSOError where it has no index, or a damaged one."""
        return cls(IndexColumns.open(uri), on_bad)

    def __len__(self) -> int:
        return len(self.columns.index.shards)

    def rows(self, shard: int) -> Rows:
        """The rows of the index that one tar has."""
        first, last = self.columns.first_rows[shard : shard + 2].tolist()
        return np.arange(first, last, dtype=np.int64)

    def read(self, rows: Rows, use: Callable[[StreamSample], T]) -> Iterator[T]:
        """What ``use`` makes of each of these samples, in order; it gets their parts as bytes.

        A sample with other bytes than the index says, or of which ``use`` makes nothing, goes to ``on_bad``. Raises
        ShardError where there is none, or a tar is missing, and StoreError where a store stays down.
        """
        with closing(Fetcher()) as fetch:
            for start in range(0, len(rows), AT_ONCE):
                for sample in samples_of(self.columns, rows[start : start + AT_ONCE], fetch):
                    result = sample if isinstance(sample, BadSample) else tried(sample, use)
                    if not isinstance(result, BadSample):
                        yield result
                    elif self.on_bad is not None:
                        self.on_bad(result)
                    else:
                        raise ShardError(
                            f"{result.shard}: the sample {result.key} cannot be used: {result.reason}. Mend it, or "
                            "give on_bad to leave such samples out; `llaso-data validate` names what is damaged"
                        )


def reader_of(rank: int, world_size: int) -> tuple[int, int]:
    """Which of how many readers this process is: the workers of torch's DataLoader on each rank."""
    from torch.utils.data import get_worker_info

    info = get_worker_info()
    worker, workers = (info.id, info.num_workers) if info else (0, 1)
    return rank * workers + worker, world_size * workers


def described(content: Mapping[str, Any], part: str) -> dict[str, Any]:
    """What a sample's JSON says of one audio: its record (shards/SPEC.md, ``audios``); empty where it says nothing."""
    audios = objects(content.get("audios"))
    return next((record for record in audios if record.get("part") == part), {})


def text_of(sample: StreamSample, content: Mapping[str, Any], part: str, alone: bool) -> str | None:
    """What is said in one audio of an undecoded sample; None where nobody says it.

    ``content`` is the sample's JSON. In tars made elsewhere it is a text or a JSON with the audio's own name, or, where
    the audio is ``alone``, with the sample's. Raises ValueError where that is no UTF-8 or no JSON.
    """
    if isinstance(text := described(content, part).get("text"), str):
        return text
    stem = part.rpartition(".")[0]
    for name in ([f"{stem}."] if stem else []) + ([""] if alone else []):
        for ending in sorted(TEXT_PARTS):
            if (data := sample.parts.get(name + ending)) is not None:
                return data.decode("utf-8-sig").strip()
        metadata = json.loads(sample.parts.get(f"{name}json", b"{}"))
        texts = (metadata.get(field) for field in TEXT_FIELDS) if isinstance(metadata, dict) else ()
        if (text := next((text for text in texts if isinstance(text, str)), None)) is not None:
            return text
    return None


def needed(package: str) -> Any:
    """A package that the extra ``interop`` brings; raises LLaSOError where it is not installed."""
    with needed_for(f"llaso_data.interop.{package}"):
        return importlib.import_module(package)
