"""Shards as a plain torch ``IterableDataset``, sample by sample, in the order of the stream's plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import IterableDataset

from llaso_data.errors import LLaSOError
from llaso_data.interop.shard_reader import AT_ONCE, OnBad, Shards, reader_of
from llaso_data.shards.layout import JSON_PART
from llaso_data.stream.batch import StreamSample, decoded
from llaso_data.stream.batching import key_of
from llaso_data.stream.budget import Budget
from llaso_data.stream.fetch import BadSample
from llaso_data.stream.index_columns import Rows
from llaso_data.stream.loader import placed
from llaso_data.stream.source_sampler import SourceSampler, source_statistics


def dataset(
    uri: str,
    *,
    shuffle: bool = False,
    seed: int = 0,
    window: int = 20,
    rank: int | None = None,
    world_size: int | None = None,
    on_bad: OnBad | None = None,
) -> SampleDataset:
    """A folder of shards as an ``IterableDataset`` for one's own ``DataLoader``.

    Every iteration gives each sample once, over all ranks and workers. How many a rank gets differs by one at most.

    Args:
        uri: Folder or URI of shards, or of the index of tars decoded_sample elsewhere.
        shuffle: False keeps the order of the index.
        seed: Of the shuffling; :meth:`SampleDataset.set_epoch` gives another order for each epoch.
        window: Shards that are shuffled together.
        rank: Of this process; default: what torchrun or Ray Train say, else 0 of 1.
        world_size: Number of ranks, to be given with ``rank``.
        on_bad: Is told of each sample that cannot be used, which is left out; without it that is an error.

    Raises:
        LLaSOError: There is no index, or it is damaged; and while reading, see ``on_bad``.
    """
    shards = Shards.open(uri, on_bad)
    own_rank, ranks = placed(rank, world_size)
    return SampleDataset(shards, _order(shards, seed, window) if shuffle else None, own_rank, ranks)


class SampleDataset(IterableDataset[StreamSample]):
    """The samples of one rank, each :class:`~llaso_data.stream.batch.StreamSample` decoded.

    ``sounds`` are its audios, 16 kHz mono float32 in -1 to 1, shape (samples,); ``content`` is its JSON. ``parts`` has
    the bytes of what is neither. Without shuffling there is no ``order``.
    """

    def __init__(self, shards: Shards, order: SourceSampler | None, rank: int, world_size: int) -> None:
        super().__init__()
        self._shards = shards
        self._order = order
        self._rank = rank
        self._world_size = world_size
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that stay see it change

    def set_epoch(self, epoch: int) -> None:
        """Which order the next iterations have, alike on all ranks; the one of before comes again with its number."""
        if epoch < 0:
            raise LLaSOError(f"epoch {epoch}: epochs are counted from 0")
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[StreamSample]:
        reader, readers = reader_of(self._rank, self._world_size)
        for rows in self._stretches(AT_ONCE * readers):
            yield from self._shards.read(rows[reader::readers], _opened)

    def _stretches(self, count: int) -> Iterator[Rows]:
        """The rows of all samples in the order of the epoch, so many at a time."""
        size = len(self._shards.columns)
        first = int(self._epoch) * size
        for start in range(0, size, count):
            stop = min(start + count, size)
            yield np.arange(start, stop) if self._order is None else self._order.rows(first + start, first + stop)


def _order(shards: Shards, seed: int, window: int) -> SourceSampler:
    statistics = source_statistics(shards.columns, {}, Budget.of(1))[None]
    return SourceSampler("", shards.columns, {}, statistics, key_of("interop", seed), window)


def _opened(sample: StreamSample) -> StreamSample:
    """The sample decoded, with what is neither audio nor JSON as it is."""
    decoded_sample = decoded(sample)
    if isinstance(decoded_sample, BadSample):
        raise LLaSOError(decoded_sample.reason)
    rest = {name: data for name, data in sample.parts.items() if name not in {*decoded_sample.audio_parts, JSON_PART}}
    return replace(decoded_sample, parts=rest)
