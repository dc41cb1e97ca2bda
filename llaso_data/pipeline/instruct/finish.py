"""The samples of all blocks, as conversions take them.

Clips that were made are read where they are, and called by an address that does not depend on where the output is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pyarrow.parquet as pq

from llaso_data.io import outputs, sealed, storage
from llaso_data.pipeline.convert.parts import PlannedPart
from llaso_data.pipeline.convert.samples import Converted
from llaso_data.pipeline.instruct import blocks
from llaso_data.records import Failure, Sample, Utterance, from_table
from llaso_data.shards.sound_spool import place_of

_PREFIX = f"{blocks.CLIPS}/"


def samples(work: str, count: int, clips: str | None) -> Iterator[Converted | Failure]:
    """The samples of blocks, in their order.

    Args:
        work: The folder of what the run keeps.
        count: How many blocks there are.
        clips: The folder that records name for made clips, where a layout points to them; None: they keep their
            address.
    """
    for number in range(count):
        stated = outputs.json_at(blocks.stats_uri(work, number))
        if not isinstance(stated, dict) or not stated["has_samples"]:
            continue
        with sealed.read_parquet(blocks.samples_uri(work, number)) as file:
            table = pq.read_table(file)
        for sample in from_table(table, Sample):
            if clips is not None:
                sample = replace(sample, audios=tuple(_placed(audio, clips) for audio in sample.audios))
            source = sample.provenance
            where = "" if source is None or source.file is None else f"{source.file}:{source.row}"
            yield Converted(
                sample=sample,
                places=tuple(map(place_of, sample.audios)),
                version=str(stated["digest"]),
                stated_s=tuple(audio.duration_s for audio in sample.audios),
                where=where,
            )


def moved_to(clips: str) -> Callable[[PlannedPart], tuple[tuple[str, str], ...]]:
    """Where the made clips of a part are now, as a function of the part."""

    def moved(part: PlannedPart) -> tuple[tuple[str, str], ...]:
        uris = dict.fromkeys(place[0] for one in part.samples for place in one.places if place[0].startswith(_PREFIX))
        return tuple((uri, storage.join(clips, uri[len(_PREFIX) :])) for uri in uris)

    return moved


def _placed(audio: Utterance, clips: str) -> Utterance:
    uri = audio.source.uri
    if not uri.startswith(_PREFIX):
        return audio
    return replace(audio, source=replace(audio.source, uri=storage.join(clips, uri[len(_PREFIX) :])))
