"""Shards as an ``IterableDataset`` of Hugging Face ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.interop.shard_reader import OnBad, Shards, described, needed, text_of
from llaso_data.shards import layout
from llaso_data.shards.layout import JSON_PART
from llaso_data.stream.batch import StreamSample, audio_names, content_of, sound

if TYPE_CHECKING:
    from datasets import Features, IterableDataset


def dataset(uri: str, *, on_bad: OnBad | None = None) -> IterableDataset:
    """A folder of shards as a dataset that is streamed: ``shuffle``, ``split_dataset_by_node``, ``map`` and workers.

    A tar is a shard of the dataset. Audio is given as arrays, since the feature ``Audio`` needs the package torchcodec;
    ``audios[0]["array"]`` and ``["sampling_rate"]`` are what an ``Audio`` gives.

    Args:
        uri: Folder or URI of shards, or of the index of tars made elsewhere.
        on_bad: Is told of each sample that cannot be used, which is left out; without it that is an error.

    Returns:
        A dataset with the columns ``key``, ``shard`` (the tar), ``task``, ``language``, ``duration_s`` of all audios;
        ``messages``, the conversation, where ``audio`` names the ``part`` of an audio; ``audios``, each with ``part``,
        ``array`` (16 kHz mono float32 in -1 to 1), ``sampling_rate``, ``text`` and ``language``; ``json``, the
        sample's JSON as text, null where there is none.

    Raises:
        LLaSOError: ``datasets`` is not installed, there is no index, or it is damaged; while reading, see ``on_bad``.
    """
    library = needed("datasets")
    shards = Shards.open(uri, on_bad)
    stream: IterableDataset = library.IterableDataset.from_generator(
        _rows, features=_features(library), gen_kwargs={"shards": shards, "tars": list(range(len(shards)))}
    )
    return stream


def _rows(shards: Shards, tars: Sequence[int]) -> Iterator[dict[str, Any]]:
    for tar in tars:
        yield from shards.read(shards.rows(tar), _row)


def _features(library: Any) -> Features:
    text, number = library.Value("string"), library.Value("float32")
    content = {"type": text, "text": text, "audio": text}
    audio = {
        "part": text,
        "array": library.List(number),
        "sampling_rate": library.Value("int32"),
        "text": text,
        "language": text,
    }
    return library.Features(
        {
            "key": text,
            "shard": text,
            "task": text,
            "language": text,
            "duration_s": library.Value("float64"),
            "messages": library.List({"role": text, "content": library.List(content)}),
            "audios": library.List(audio),
            "json": text,
        }
    )


def _row(sample: StreamSample) -> dict[str, Any]:
    content = content_of(sample)
    names = audio_names(sample, content)
    audios = [_audio(sample, content, name, len(names) == 1) for name in names]
    json_bytes = sample.parts.get(JSON_PART)
    return {
        "key": sample.key,
        "shard": sample.shard,
        "task": sample.task,
        "language": sample.language,
        "duration_s": sum(len(audio["array"]) for audio in audios) / SAMPLE_RATE_HZ,
        "messages": _messages(content.get("messages")),
        "audios": audios,
        "json": None if json_bytes is None else json_bytes.decode("utf-8-sig"),
    }


def _audio(sample: StreamSample, content: dict[str, Any], part: str, alone: bool) -> dict[str, Any]:
    language = described(content, part).get("language")
    return {
        "part": part,
        "array": sound(sample.parts[part], f"{sample.key}.{part}"),
        "sampling_rate": SAMPLE_RATE_HZ,
        "text": text_of(sample, content, part, alone),
        "language": language if isinstance(language, str) else sample.language,
    }


def _messages(messages: Any) -> list[dict[str, Any]]:
    """The conversation in the columns' types; none where another program's field of that name is something else."""
    try:
        contents = [(message, layout.content_parts(message["content"])) for message in messages or ()]
        return [{"role": _text(message, "role"), "content": list(map(_part, parts))} for message, parts in contents]
    except (AttributeError, KeyError, TypeError):
        return []


def _part(part: dict[str, Any]) -> dict[str, str | None]:
    return {name: _text(part, name) for name in ("type", "text", "audio")}


def _text(of: dict[str, Any], name: str) -> str | None:
    value = of.get(name)
    return value if isinstance(value, str) else None
