"""Shards as a ready pipeline of the library ``webdataset``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.interop.shard_reader import OnBad, Shards
from llaso_data.shards.foreign_rows import TEXT_PARTS
from llaso_data.shards.layout import JSON_PART
from llaso_data.stream.batch import StreamSample, content_of, sound

if TYPE_CHECKING:
    from webdataset import FluidWrapper


def pipeline(
    uri: str, *, shuffle: int = 0, seed: int = 0, decode: bool = True, on_bad: OnBad | None = None
) -> FluidWrapper:
    """A pipeline over a folder of shards that goes on as any other: ``.map``, ``.select``, ``.batched``, ``WebLoader``.

    Tars are split over ranks and workers by webdataset's own ``split_by_node`` and ``split_by_worker``. They are read
    by their index, through our storage: nothing is unpickled, and no address is taken for a command.

    Args:
        uri: Folder or URI of shards, or of the index of tars made elsewhere.
        shuffle: Samples of the buffer that samples are drawn from; the order of tars is then shuffled too. 0 keeps
            the order of the index.
        seed: Of the shuffling; each pass of a pipeline has another order, the first always the same.
        decode: False leaves all parts as bytes, for ``.decode(...)`` of one's own.
        on_bad: Is told of each sample that cannot be used, which is left out; without it that is an error.

    Returns:
        A pipeline of dictionaries: ``__key__``; ``__url__``, the tar; ``__task__`` and ``__language__`` of the index;
        and the parts by name. Decoded, audio is 16 kHz mono float32 in -1 to 1, shape (samples,), ``json`` is parsed,
        texts are str, anything else stays bytes.

    Raises:
        LLaSOError: There is no index, or it is damaged; and while reading, see ``on_bad``.
    """
    import webdataset

    shards = Shards.open(uri, on_bad)
    tars = [{"url": name, "number": number} for number, name in enumerate(shards.columns.index.shards)]
    mixed = [webdataset.detshuffle(len(tars), len(tars), seed)] if shuffle else []
    mixed_samples = [webdataset.detshuffle(shuffle, shuffle, seed)] if shuffle else []
    read = partial(_samples, shards, _decoded if decode else _bytes)
    return webdataset.FluidWrapper(tars).compose(
        *mixed, webdataset.split_by_node, webdataset.split_by_worker, read, *mixed_samples
    )


def _samples(shards: Shards, use: Any, tars: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for tar in tars:
        yield from shards.read(shards.rows(tar["number"]), use)


def _bytes(sample: StreamSample) -> dict[str, Any]:
    return {**_named(sample), **sample.parts}


def _decoded(sample: StreamSample) -> dict[str, Any]:
    content = content_of(sample)
    parts = {name: _value(f"{sample.key}.{name}", data) for name, data in sample.parts.items() if name != JSON_PART}
    own = {JSON_PART: content} if JSON_PART in sample.parts else {}
    return {**_named(sample), **parts, **own}


def _named(sample: StreamSample) -> dict[str, Any]:
    return {
        "__key__": sample.key,
        "__url__": sample.shard,
        "__task__": sample.task,
        "__language__": sample.language,
    }


def _value(name: str, data: bytes) -> Any:
    """A part decoded by the ending of its name."""
    ending = name.rpartition(".")[2]
    if ending in AUDIO_EXTENSIONS:
        return sound(data, name)
    if ending == JSON_PART:
        return json.loads(data)
    return data.decode("utf-8-sig") if ending in TEXT_PARTS else data
