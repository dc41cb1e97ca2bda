"""The stage ``observe.speakers``: the voices of a block, recording by recording.

The speakers of one recording are told apart here, because a recording is never in two blocks. Which recordings share a
speaker is asked later, of all blocks together (:mod:`.label_speakers`). For that a block has a second file, with a
vector for each utterance. Vectors identify people: they stay in the output's folder ``voices`` and go into no shard.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa

from llaso_data.audio import Pcm
from llaso_data.audio.voice_activity import speech_probabilities
from llaso_data.estimate.diarisation import Diarisation, diarise
from llaso_data.estimate.voice_encoder import SIZE, unit
from llaso_data.records import UNKNOWN, Utterance

SPEAKER_OVERLAP = "speaker_overlap"
"""``scores.extra``: the share of an utterance's windows in which another speaker of the recording is heard."""

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("recording", pa.string(), nullable=False),
        pa.field("corpus", pa.string(), nullable=False),
        pa.field("speaker", pa.int32(), nullable=False),  # within the recording
        pa.field("windows", pa.int32(), nullable=False),  # that the vector is the mean of
        pa.field("vector", pa.binary(2 * SIZE), nullable=False),  # float16, little endian
    ]
)
"""A row for each utterance whose speaker nobody names."""


class VoiceStage:
    """The stage; it keeps the vectors of the last block until they are taken."""

    def __init__(self) -> None:
        self._rows: list[dict[str, object]] = []

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[Pcm | None]) -> list[Utterance]:
        """The utterances whose speaker nobody names with ``speaker_overlap`` in ``scores.extra``."""
        self._rows = []
        results: list[Utterance] = list(utterances)
        unnamed = [
            number
            for number, (utterance, samples) in enumerate(zip(utterances, pcm, strict=True))
            if samples is not None and utterance.speaker.id.origin == UNKNOWN
        ]
        for _, group in groupby(unnamed, key=lambda number: utterances[number].recording):
            numbers = list(group)
            parts = [samples for number in numbers if (samples := pcm[number]) is not None]
            found = diarise(parts, [speech_probabilities(part) for part in parts])
            for part, number in enumerate(numbers):
                results[number] = self._with_voice(utterances[number], part, found)
        return results

    def taken(self) -> pa.Table:
        """The vectors of the last block, a table of :data:`SCHEMA`."""
        return pa.Table.from_pylist(self._rows, schema=SCHEMA)

    def _with_voice(self, utterance: Utterance, part: int, found: Diarisation) -> Utterance:
        own = np.array([found.regions[window.region].part == part for window in found.windows], bool)
        if not own.any():
            return utterance
        speakers = found.speakers[own]
        counts = np.bincount(speakers)
        speaker = int(counts.argmax())
        vector = unit(found.embeddings[own][speakers == speaker].mean(axis=0)).astype("<f2")
        self._rows.append(
            {
                "id": utterance.id,
                "recording": utterance.recording,
                "corpus": utterance.source.corpus,
                "speaker": speaker,
                "windows": int(counts[speaker]),
                "vector": vector.tobytes(),
            }
        )
        others = found.mixed[own] | (speakers != speaker)
        extra = {**utterance.scores.extra, SPEAKER_OVERLAP: float(others.mean())}
        return dataclasses.replace(utterance, scores=dataclasses.replace(utterance.scores, extra=extra))
