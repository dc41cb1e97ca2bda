"""Shards as a lazy ``CutSet`` of Lhotse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from llaso_data import audio
from llaso_data.interop.shard_reader import OnBad, Shards, described, needed, reader_of, text_of
from llaso_data.io.prng import shuffled
from llaso_data.records import UNKNOWN
from llaso_data.stream.batch import StreamSample, audio_names, content_of, plain_frames
from llaso_data.stream.batching import key_of
from llaso_data.stream.loader import placed

if TYPE_CHECKING:
    from lhotse import CutSet, MonoCut, Recording, SupervisionSegment


def cut_set(
    uri: str,
    *,
    shuffle_shards: bool = False,
    seed: int = 0,
    split_for_dataloading: bool = False,
    rank: int | None = None,
    world_size: int | None = None,
    on_bad: OnBad | None = None,
) -> CutSet:
    """A folder of shards as a lazy ``CutSet``: a ``MonoCut`` for each audio, with one supervision.

    The sound stays in memory as it is encoded, and is decoded by ``load_audio``. What is no 16 kHz mono of 16 bits is
    decoded by us and held as WAV, so ``load_audio`` gives our samples in any case.

    Args:
        uri: Folder or URI of shards, or of the index of tars made elsewhere.
        shuffle_shards: Tars come in a random order, in another one after each whole iteration. ``CutSet.shuffle``
            mixes the cuts.
        seed: Of that order.
        split_for_dataloading: Tars are divided over ranks and workers, as ``CutSet.from_shar`` does it. Without it
            every process reads all, and Lhotse's samplers divide the cuts.
        rank: Of this process; default: what torchrun or Ray Train say, else 0 of 1.
        world_size: Number of ranks, to be given with ``rank``.
        on_bad: Is told of each sample that cannot be used, which is left out; without it that is an error.

    Returns:
        Cuts whose id is the sample's key, and ``KEY-0``, ``KEY-1`` where a sample has several audios. Their
        supervision has text, language, speaker, gender, the words with their times as the alignment ``word``, and in
        ``custom`` what else the record says. The cut's ``custom`` has ``key``, ``part``, ``task`` and ``messages``.

    Raises:
        LLaSOError: Lhotse is not installed, there is no index, or it is damaged; while reading, see ``on_bad``.
    """
    library = needed("lhotse")
    place = placed(rank, world_size) if split_for_dataloading else None
    cuts: CutSet = library.CutSet(_LazyShards(Shards.open(uri, on_bad), seed if shuffle_shards else None, place))
    return cuts


class _LazyShards:
    """What Lhotse iterates. ``seed`` shuffles the tars; ``place`` (rank, world size) divides them."""

    def __init__(self, shards: Shards, seed: int | None, place: tuple[int, int] | None) -> None:
        self._shards = shards
        self._seed = seed
        self._place = place
        self._epoch = 0

    def __iter__(self) -> Iterator[MonoCut]:
        count = len(self._shards)
        tars = np.arange(count) if self._seed is None else shuffled(key_of("lhotse", self._seed, self._epoch), count)
        reader, readers = (0, 1) if self._place is None else reader_of(*self._place)
        for tar in tars[reader::readers].tolist():
            for cuts in self._shards.read(self._shards.rows(tar), _cuts):
                yield from cuts
        self._epoch += 1


def _cuts(sample: StreamSample) -> list[MonoCut]:
    from lhotse import MonoCut

    content = content_of(sample)
    names = audio_names(sample, content)
    cuts = []
    for number, name in enumerate(names):
        key = sample.key if len(names) == 1 else f"{sample.key}-{number}"
        recording = _recording(key, sample.parts[name], name)
        text = text_of(sample, content, name, len(names) == 1)
        supervision = _supervision(recording, text, described(content, name), sample.language)
        custom = {"key": sample.key, "part": name, "task": sample.task, "messages": content.get("messages", [])}
        cuts.append(
            MonoCut(
                id=key,
                start=0.0,
                duration=recording.duration,
                channel=0,
                supervisions=[supervision],
                recording=recording,
                custom=custom,
            )
        )
    return cuts


def _recording(key: str, data: bytes, part: str) -> Recording:
    from lhotse import AudioSource, Recording

    frames = plain_frames(data)
    if frames is None:
        pcm = audio.decode_bytes(data, f"{key}.{part}")
        data, frames = audio.encode(pcm, "wav"), len(pcm)
    return Recording(
        id=key,
        sources=[AudioSource(type="memory", channels=[0], source=data)],
        sampling_rate=audio.SAMPLE_RATE_HZ,
        num_samples=frames,
        duration=frames / audio.SAMPLE_RATE_HZ,
    )


def _supervision(
    recording: Recording, text: str | None, record: dict[str, Any], language: str | None
) -> SupervisionSegment:
    """``record`` is what the sample's JSON says of the audio; ``language`` the index's, where it does not say."""
    from lhotse import SupervisionSegment

    stated_language = record.get("language")
    speaker = _known(record.get("speaker"))
    copied_fields = {"utterance": "id", "recording": "recording", "text_origin": "text_origin", "scores": "scores"}
    custom = {name: record[field] for name, field in copied_fields.items() if field in record}
    custom |= _known({"environment": record.get("environment")})
    words = _words(record.get("words"))
    return SupervisionSegment(
        id=recording.id,
        recording_id=recording.id,
        start=0.0,
        duration=recording.duration,
        channel=0,
        text=text,
        language=stated_language if isinstance(stated_language, str) else language,
        speaker=speaker.pop("id", None),
        gender=speaker.pop("gender", None),
        custom={**custom, **speaker} or None,
        alignment={"word": words} if words else None,
    )


def _known(attributes: Any) -> dict[str, str]:
    """The values of attributes, of a speaker for instance, that somebody stated or found."""
    values = {
        name: attribute.get("value")
        for name, attribute in (attributes.items() if isinstance(attributes, dict) else ())
        if isinstance(attribute, dict)
    }
    return {name: value for name, value in values.items() if isinstance(value, str) and value != UNKNOWN}


def _words(words: Any) -> list[Any]:
    """The words with their times; none where another program's field of that name is something else."""
    from lhotse.supervision import AlignmentItem

    try:
        return [
            AlignmentItem(
                str(word["text"]),
                start=float(word["start_s"]),
                duration=round(word["end_s"] - word["start_s"], 6),
                score=word.get("logprob"),
            )
            for word in words or ()
        ]
    except (AttributeError, KeyError, TypeError, ValueError):
        return []
