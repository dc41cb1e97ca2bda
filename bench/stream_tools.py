"""Loaders that people stream speech with, and ours, each behind the same functions, for ``bench/stream.py``.

A tool is made for a folder of tars (`prepare`: what it has to convert first), and gives batches of samples as
(key, bytes of the FLAC, bytes of the JSON), or padded float32 batches decoded by :func:`decode` and :func:`pad`.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch

BATCH = 32
SHUFFLE = 1000
SEED = 7

Sample = tuple[str, bytes, bytes]
Padded = tuple[list[str], torch.Tensor, torch.Tensor]


def decode(flac: bytes) -> npt.NDArray[np.float32]:
    sound: npt.NDArray[np.float32] = soundfile.read(io.BytesIO(flac), dtype="float32")[0]
    return sound


def pad(samples: Sequence[Sample]) -> Padded:
    """Keys, sounds (B, T) and their lengths (B,); the JSON is parsed as a trainer would."""
    sounds = [decode(flac) for _, flac, _ in samples]
    for _, _, text in samples:
        json.loads(text)
    lengths = torch.tensor([len(sound) for sound in sounds])
    joined = np.zeros((len(sounds), int(lengths.max())), np.float32)
    for row, sound in zip(joined, sounds, strict=True):
        row[: len(sound)] = sound
    return [key for key, _, _ in samples], torch.from_numpy(joined), lengths


def raw(samples: Sequence[Sample]) -> list[Sample]:
    return list(samples)


def loaded(dataset: Any, workers: int) -> Iterator[Any]:
    """torch's DataLoader around a dataset that gives batches."""
    return iter(torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=workers))


class Llaso:
    """Ours; micro-batches of a number of samples, which is what most others can do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.budget: str | int = BATCH

    def batches(self, padded: bool, workers: int) -> Iterator[Any]:
        from llaso_data.stream import Mixture, StreamingLoader

        loader = StreamingLoader(
            Mixture.of(str(self.folder)), self.budget, seed=SEED, decode=padded, num_workers=workers, window=20
        )
        for batch in loader:
            if padded:
                yield batch.ids, batch.audio, batch.lengths
            else:
                yield [(one.key, one.parts["flac"], one.parts["json"]) for one in batch.samples]


class LlasoSeconds(Llaso):
    """Ours; micro-batches of as many seconds as 32 samples have on the average."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.budget = f"{mean_s(folder) * BATCH:.0f}s"


class WebDataset:
    def __init__(self, folder: Path) -> None:
        self.tars = [str(path) for path in sorted(folder.glob("*.tar"))]

    def batches(self, padded: bool, workers: int) -> Iterator[Any]:
        import webdataset

        data = webdataset.WebDataset(self.tars, shardshuffle=len(self.tars), seed=SEED, empty_check=False)
        data = data.shuffle(SHUFFLE).to_tuple("__key__", "flac", "json")
        data = data.batched(BATCH, collation_fn=pad if padded else raw)
        return loaded(data, workers)


class Mosaic:
    """MosaicML Streaming."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.parent / "mosaic"

    def prepare(self, folder: Path) -> None:
        from streaming import MDSWriter

        columns = {"key": "str", "flac": "bytes", "json": "bytes"}
        with MDSWriter(out=str(self.folder), columns=columns) as writer:
            for key, flac, text in read_all(folder):
                writer.write({"key": key, "flac": flac, "json": text})

    def batches(self, padded: bool, workers: int) -> Iterator[Any]:
        from streaming import StreamingDataset

        data = StreamingDataset(local=str(self.folder), shuffle=True, shuffle_seed=SEED, batch_size=BATCH)
        collate = _Dicts(pad if padded else raw)
        return iter(torch.utils.data.DataLoader(data, batch_size=BATCH, num_workers=workers, collate_fn=collate))


class LitData:
    def __init__(self, folder: Path) -> None:
        self.folder = folder.parent / "litdata"

    def prepare(self, folder: Path) -> None:
        from litdata.streaming.writer import BinaryWriter

        self.folder.mkdir(exist_ok=True)
        writer = BinaryWriter(str(self.folder), chunk_bytes="64MB")
        for number, (key, flac, text) in enumerate(read_all(folder)):
            writer.add_item(number, {"key": key, "flac": flac, "json": text})
        writer.done()
        writer.merge()

    def batches(self, padded: bool, workers: int) -> Iterator[Any]:
        from litdata import StreamingDataLoader, StreamingDataset

        data = StreamingDataset(str(self.folder), shuffle=True, seed=SEED)
        collate = _Dicts(pad if padded else raw)
        return iter(StreamingDataLoader(data, batch_size=BATCH, num_workers=workers, collate_fn=collate))


class Lhotse:
    """Shar, with dynamic bucketing where batches are padded: so much sound as 32 samples have on the average."""

    def __init__(self, folder: Path) -> None:
        self.tars = folder
        self.folder = folder.parent / "lhotse"

    def prepare(self, folder: Path) -> None:
        from lhotse import MonoCut, Recording
        from lhotse.shar import SharWriter

        self.folder.mkdir(exist_ok=True)
        with SharWriter(str(self.folder), fields={"recording": "original"}, shard_size=200) as writer:
            for key, flac, text in read_all(folder):
                recording = Recording.from_bytes(flac, recording_id=key)
                cut = MonoCut(id=key, start=0, duration=recording.duration, channel=0, recording=recording)
                cut.custom = {"json": text.decode()}
                writer.write(cut)

    def batches(self, padded: bool, workers: int) -> Iterator[Any]:
        from lhotse import CutSet
        from lhotse.dataset import DynamicBucketingSampler, IterableDatasetWrapper

        cuts = CutSet.from_shar(in_dir=str(self.folder), shuffle_shards=True, seed=SEED, split_for_dataloading=True)
        if padded:
            seconds = mean_s(self.tars) * BATCH
            sampler = DynamicBucketingSampler(cuts, max_duration=seconds, shuffle=True, num_buckets=20, seed=SEED)
            return loaded(IterableDatasetWrapper(_Cuts(pad), sampler), workers)
        from lhotse.dataset import DynamicCutSampler

        sampler = DynamicCutSampler(cuts, max_cuts=BATCH, shuffle=True, seed=SEED)
        return loaded(IterableDatasetWrapper(_Cuts(raw), sampler), workers)


class _Cuts(torch.utils.data.Dataset[Any]):
    def __init__(self, collate: Callable[[Sequence[Sample]], Any]) -> None:
        self._collate = collate

    def __getitem__(self, cuts: Any) -> Any:
        return self._collate([(cut.id, cut.recording.sources[0].source, cut.custom["json"].encode()) for cut in cuts])


class Energon:
    """Megatron-Energon, after its `prepare`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.parent / "energon"

    def prepare(self, folder: Path) -> None:
        from megatron.energon.flavors import BaseWebdatasetFactory

        self.folder.mkdir(exist_ok=True)
        names = []
        for path in sorted(folder.glob("*.tar")):
            shutil.copy(path, self.folder / path.name)
            names.append(path.name)
        BaseWebdatasetFactory.prepare_dataset(
            self.folder, names, split_parts_ratio=[("train", 1.0)], progress_fn=lambda items, total: items, workers=2
        )
        (self.folder / ".nv-meta" / "dataset.yaml").write_text(
            "__module__: megatron.energon\n__class__: CrudeWebdataset\nsubflavors: {}\n"
        )

    def batches(self, padded: bool, workers: int) -> Iterator[Any]:
        from megatron.energon import WorkerConfig, get_loader, get_train_dataset

        config = WorkerConfig(rank=0, world_size=1, num_workers=workers)
        data = get_train_dataset(
            str(self.folder),
            worker_config=config,
            batch_size=BATCH,
            shuffle_buffer_size=SHUFFLE,
            max_samples_per_sequence=100,
            task_encoder=energon_encoder(pad if padded else raw),
            repeat=False,
        )
        return iter(get_loader(data))


def energon_encoder(collate: Callable[[Sequence[Sample]], Any]) -> Any:
    from megatron.energon import DefaultTaskEncoder, stateless
    from megatron.energon.task_encoder.cooking import Cooker, basic_sample_keys

    @stateless
    def cook(sample: dict[str, Any]) -> Any:
        return {**basic_sample_keys(sample), "flac": sample["flac"], "json": sample["json"]}

    class Encoder(DefaultTaskEncoder):  # type: ignore[misc]
        cookers = (Cooker(cook),)
        decoder = None

        def batch(self, samples: list[Any]) -> Any:
            return collate([(one["__key__"].rpartition("/")[2], one["flac"], one["json"]) for one in samples])

        def encode_batch(self, batch: Any) -> Any:
            return batch

        def encode_sample(self, sample: Any) -> Any:
            return sample

    return Encoder()


class Loop:
    """Not a loader: the tars' parts read in their order by a bare loop. What reading and decoding alone cost."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def batches(self, padded: bool, workers: int) -> Iterator[Any]:
        waiting: list[Sample] = []
        for sample in read_all(self.folder):
            waiting.append(sample)
            if len(waiting) == BATCH:
                yield (pad if padded else raw)(waiting)
                waiting = []
        if waiting:
            yield (pad if padded else raw)(waiting)


def mean_s(folder: Path) -> float:
    """The mean length of a sample."""
    from llaso_data.shards.index import open_arrow

    return float(np.mean(open_arrow(str(folder / "index.arrow"))["duration_s"].to_numpy()))


def read_all(folder: Path) -> Iterator[Sample]:
    from llaso_data.shards.reader import iterate

    for key, parts in iterate(str(folder)):
        yield key, parts["flac"], parts["json"]


@dataclass(frozen=True)
class _Dicts:
    """For tools whose samples are dictionaries; a class, so that it reaches workers."""

    collate: Callable[[Sequence[Sample]], Any]

    def __call__(self, samples: Sequence[dict[str, Any]]) -> Any:
        return self.collate([(one["key"], one["flac"], one["json"]) for one in samples])


@dataclass(frozen=True)
class Tool:
    name: str
    make: Callable[[Path], Any]
    needs: str
    workers: tuple[int, ...] = (0, 2)


TOOLS = (
    Tool("LLaSO", Llaso, "llaso_data"),
    Tool("LLaSO, batches by seconds", LlasoSeconds, "llaso_data"),
    Tool("webdataset", WebDataset, "webdataset"),
    Tool("Megatron-Energon", Energon, "megatron.energon"),
    Tool("MosaicML Streaming", Mosaic, "streaming"),
    Tool("LitData", LitData, "litdata"),
    Tool("Lhotse Shar", Lhotse, "lhotse"),
    Tool("bare loop, in order", Loop, "llaso_data", (0,)),
)
