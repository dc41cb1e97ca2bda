"""Which recordings share a speaker, asked of all blocks, and blocks with the answer.

The voices of a corpus are grouped, and each group is a speaker. A block whose utterances get a speaker is written once
more, named by its observations and their labels; the manifest names that one. So whatever reads a finished run finds
the labels in the records, and a corpus that grows names those blocks anew whose labels change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llaso_data.estimate import voice_groups
from llaso_data.io import storage
from llaso_data.pipeline import commit
from llaso_data.pipeline.observe_voices import SCHEMA
from llaso_data.records import ESTIMATED, UNKNOWN, Attribute, Utterance, digest, rounded

SPEAKER_CONFIDENCE = "speaker_confidence"
"""``scores.extra``: how sure an estimated speaker is, 0 (another one is as likely) to 1."""
LABELLING_VERSION = 1
"""Increased when the same voices get other labels than before."""

_SURE = 0.3  # of the difference to the next voice


class Label(NamedTuple):
    """The speaker of an utterance, and how sure that is."""

    speaker: str
    confidence: float


def label_speakers(out: str, blocks: Sequence[str], similarity: float) -> list[str]:
    """Writes the blocks with the estimated speakers of their utterances.

    Args:
        out: The run's output.
        blocks: The names of its observed blocks, in order.
        similarity: From which the voices of two recordings are one speaker.

    Returns:
        The names of the blocks that have the labels, in the same order.

    Raises:
        LLaSOError: A file of a block's voices is missing or damaged.
    """
    voices = [commit.read_voices(out, block) for block in blocks]
    labels = labels_of(pa.concat_tables(voices) if voices else SCHEMA.empty_table(), similarity)
    names = []
    for block, table in zip(blocks, voices, strict=True):
        of_block = {id: labels[id] for id in table["id"].to_pylist() if id in labels}
        names.append(_labelled(out, block, of_block) if of_block else block)
    return names


def labels_of(voices: pa.Table, similarity: float) -> dict[str, Label]:
    """The speaker of each utterance by its id.

    Args:
        voices: Rows of :data:`~.observe_voices.SCHEMA`, of all blocks.
        similarity: From which the voices of two recordings are one speaker.
    """
    labels: dict[str, Label] = {}
    corpora = np.array(voices["corpus"].to_pylist(), object)
    for corpus in sorted(set(corpora.tolist())):
        labels.update(_of_corpus(corpus, voices.filter(pa.array(corpora == corpus)), similarity))
    return labels


def _of_corpus(corpus: str, voices: pa.Table, similarity: float) -> Iterator[tuple[str, Label]]:
    vectors = _vectors(voices)
    sizes = voices["windows"].to_numpy().astype(np.float64)
    recordings = voices["recording"].to_pylist()
    keys = list(zip(recordings, voices["speaker"].to_pylist(), strict=True))
    distinct = sorted(set(keys))  # whatever order the blocks have
    number_of = {key: number for number, key in enumerate(distinct)}
    local = np.array([number_of[key] for key in keys], np.int64)
    means = voice_groups.mean_vectors(vectors, local, sizes)
    groups = voice_groups.same_voices(means, np.bincount(local, weights=sizes), similarity)
    named: list[str] = []
    for (recording, speaker), group in zip(distinct, groups.tolist(), strict=True):
        if group == len(named):  # groups are numbered in the order of their first members
            named.append(f"voice-{digest('speaker', corpus, recording, speaker, length=12)}")
    speakers = groups[local]
    margins = voice_groups.margins(vectors, sizes, speakers)
    for id, speaker, margin in zip(voices["id"].to_pylist(), speakers.tolist(), margins.tolist(), strict=True):
        yield id, Label(named[speaker], round(min(max(margin / _SURE, 0.0), 1.0), 3))


def _vectors(voices: pa.Table) -> npt.NDArray[np.float64]:
    data = b"".join(voices["vector"].to_pylist())
    return voice_groups.of_length_one(np.frombuffer(data, "<f2").reshape(len(voices), -1).astype(np.float64))


def _labelled(out: str, block: str, labels: Mapping[str, Label]) -> str:
    """The name of the block with its labels, which is written where it is not there."""
    stated = (value for id in sorted(labels) for value in (id, *labels[id]))
    name = digest("labelled", LABELLING_VERSION, block, *stated)
    if not storage.exists(commit.block_uri(out, name)):
        commit.write_block(out, name, [_with_label(one, labels) for one in commit.read_block(out, block)])
    return name


def _with_label(utterance: Utterance, labels: Mapping[str, Label]) -> Utterance:
    label = labels.get(utterance.id)
    if label is None or utterance.speaker.id.origin != UNKNOWN:
        return utterance
    speaker = dataclasses.replace(utterance.speaker, id=Attribute(label.speaker, ESTIMATED))
    extra = {**utterance.scores.extra, SPEAKER_CONFIDENCE: label.confidence}
    scores = dataclasses.replace(utterance.scores, extra=extra)
    return rounded(dataclasses.replace(utterance, speaker=speaker, scores=scores))
