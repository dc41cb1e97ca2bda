"""Who speaks when in a recording: windows of speech are embedded, clustered, and decoded.

The number of speakers is not known. Overlap is not taken apart: where two speak at once, one of them is named.
``bench/diarisation.py`` prints the diarisation error on conversations that are made of known voices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llaso_data.audio import Pcm
from llaso_data.estimate import voice_groups
from llaso_data.estimate.voice_encoder import WINDOW, window_embeddings
from llaso_data.estimate.voice_groups import Labels, Vectors

STEP = 6_400
"""Samples between windows, 0.4 s."""
DISTANCE = 0.35
"""The mean cosine distance of windows up to which they are one speaker's."""
MIXED = 0.12
"""What a window's similarity to its own speaker is above that to another, at least, where one speaks alone."""
SIMILARITY = 0.82
"""The corrected similarity from which the speakers of two parts of a recording, or of two recordings, are one."""

_FRAME = 512  # of the probabilities of speech: 32 ms
_SPEECH = 0.5
_PAUSE_FRAMES = 8  # a shorter pause, up to 0.25 s, is within the speech around it
_LEAST_FRAMES = 3
_LEAST_WINDOWS = 5  # 2 s of speech: what has less is no speaker, but part of another
_AT_ONCE = 2_000  # windows that are clustered together: 13 minutes of speech
_CHANGE, _CHANGE_IN_PAUSE = 6.0, 2.0  # what it costs that the speaker changes from a window to the next
_SHARPNESS = 30.0  # how much a window's similarity counts against that
_ROUNDS = 3


class Region(NamedTuple):
    """Speech without a pause: ``start`` to ``end`` in samples of the part (a recording, or a cut of it)."""

    part: int
    start: int
    end: int


class Window(NamedTuple):
    """A window of speech: samples ``start`` to ``end`` of a region's part."""

    region: int
    start: int
    end: int


class Turn(NamedTuple):
    """One speaker's speech: samples ``start`` to ``end`` of a part; speakers are numbered from 0."""

    part: int
    start: int
    end: int
    speaker: int


@dataclass(frozen=True, slots=True)
class Diarisation:
    """Who speaks when.

    Attributes:
        turns: In order; speech that is nobody's is not in them.
        windows: What was listened to.
        regions: What the windows are of.
        embeddings: (windows, 256).
        speakers: (windows,) the speaker of each, numbered in the order of speaking.
        mixed: (windows,) whether another speaker of the recording is heard in it, too.
    """

    turns: list[Turn]
    windows: list[Window]
    regions: list[Region]
    embeddings: npt.NDArray[np.float32]
    speakers: Labels
    mixed: npt.NDArray[np.bool_]


def diarise(parts: Sequence[Pcm], speech: Sequence[npt.NDArray[np.float32]]) -> Diarisation:
    """Finds the speakers of a recording.

    Args:
        parts: int16 at 16 kHz mono: the recording, or what it was cut into, in order.
        speech: The probability of speech in every 32 ms of each part, (frames,).

    Raises:
        LLaSOError: Resemblyzer is not installed.
    """
    regions = [
        Region(number, start, end)
        for number, (pcm, probabilities) in enumerate(zip(parts, speech, strict=True))
        for start, end in speech_regions(probabilities, len(pcm))
    ]
    windows = [window for number, region in enumerate(regions) for window in _windows(number, region)]
    sounds = [parts[regions[one.region].part][one.start : one.end] for one in windows]
    embeddings = window_embeddings(sounds)
    speakers = speakers_of(embeddings, [window.region for window in windows])
    mixed = mixed_windows(embeddings, speakers)
    return Diarisation(_turns(regions, windows, speakers), windows, regions, embeddings, speakers, mixed)


def speech_regions(probabilities: npt.NDArray[np.float32], length: int) -> list[tuple[int, int]]:
    """Spans of speech in samples, with the short pauses in them.

    Args:
        probabilities: The probability of speech in every 32 ms, (frames,).
        length: Samples; no span ends after them.
    """
    found: list[list[int]] = []
    for frame in np.flatnonzero(probabilities > _SPEECH).tolist():
        if found and frame - found[-1][1] < _PAUSE_FRAMES:
            found[-1][1] = frame + 1
        else:
            found.append([frame, frame + 1])
    return [(first * _FRAME, min(last * _FRAME, length)) for first, last in found if last - first >= _LEAST_FRAMES]


def speakers_of(embeddings: npt.NDArray[np.float32], regions: Sequence[int]) -> Labels:
    """The speaker of each window.

    Args:
        embeddings: (windows, 256) in the order of time.
        regions: The region of each; within one a change of speaker is less likely.

    Returns:
        (windows,) numbered in the order of speaking.
    """
    if not len(embeddings):
        return np.zeros(0, np.int64)
    vectors = embeddings.astype(np.float64)
    labels = _clusters(vectors)
    changes = np.where(np.diff(regions) == 0, _CHANGE, _CHANGE_IN_PAUSE)
    for _ in range(_ROUNDS):
        decoded = voice_groups.in_order(_decode(vectors, labels, changes))
        if np.array_equal(decoded, labels):
            break
        labels = decoded
    return labels


def mixed_windows(embeddings: npt.NDArray[np.float32], speakers: Labels) -> npt.NDArray[np.bool_]:
    """Which windows hold more than one speaker: nearly as like another speaker of the recording as their own.

    Args:
        embeddings: (windows, 256).
        speakers: (windows,) the speaker of each.
    """
    if not len(speakers) or not speakers.any():
        return np.zeros(len(speakers), bool)
    vectors = embeddings.astype(np.float64)
    means = voice_groups.mean_vectors(vectors, speakers, np.ones(len(vectors)))
    alike = np.round(vectors @ means.T, 6)
    rows = np.arange(len(alike))
    own = alike[rows, speakers]
    alike[rows, speakers] = -1
    return np.asarray(own - alike.max(axis=1) < MIXED)


def _clusters(vectors: Vectors) -> Labels:
    """Speakers by likeness alone: within stretches of the recording, and then the speakers of all stretches."""
    pieces: list[Labels] = []
    count = 0
    for start in range(0, len(vectors), _AT_ONCE):
        part = vectors[start : start + _AT_ONCE]
        distances = np.round(1 - part @ part.T, 6)
        own = _without_small(part, voice_groups.agglomerate(distances, DISTANCE))
        pieces.append(own + count)
        count += int(own.max()) + 1
    labels = np.concatenate(pieces)
    if len(pieces) > 1:
        sizes = np.ones(len(vectors))
        heard = np.bincount(labels).astype(np.float64)
        means = voice_groups.mean_vectors(vectors, labels, sizes)
        labels = voice_groups.same_voices(means, heard, SIMILARITY)[labels]
    return voice_groups.in_order(labels)


def _without_small(vectors: Vectors, labels: Labels) -> Labels:
    """Clusters of few windows dissolve into the ones that they are most like."""
    counts = np.bincount(labels)
    kept = np.flatnonzero(counts >= min(_LEAST_WINDOWS, counts.max()))
    means = voice_groups.mean_vectors(vectors, labels, np.ones(len(vectors)))[kept]
    nearest = np.round(vectors @ means.T, 6).argmax(axis=1)
    place = np.full(len(counts), -1)
    place[kept] = np.arange(len(kept))
    return voice_groups.in_order(np.where(place[labels] >= 0, place[labels], nearest))


def _decode(vectors: Vectors, labels: Labels, changes: npt.NDArray[np.float64]) -> Labels:
    """The likeliest speakers, where each change costs (Viterbi): (windows,)."""
    means = voice_groups.mean_vectors(vectors, labels, np.ones(len(vectors)))
    scores = np.round(vectors @ means.T, 6) * _SHARPNESS
    back = np.empty(scores.shape, np.int64)
    best = scores[0].copy()
    stay = np.arange(len(means))
    for number in range(1, len(scores)):
        leader = int(best.argmax())
        switched = best[leader] - changes[number - 1]
        back[number] = np.where(best >= switched, stay, leader)
        best = np.maximum(best, switched) + scores[number]
    path = np.empty(len(scores), np.int64)
    path[-1] = int(best.argmax())
    for number in range(len(scores) - 1, 0, -1):
        path[number - 1] = back[number, path[number]]
    return path


def _windows(number: int, region: Region) -> list[Window]:
    """Windows of 1.6 s, at most 0.4 s apart, from the start of a region to its end; a shorter region is one."""
    length = region.end - region.start
    if length <= WINDOW:
        return [Window(number, region.start, region.end)]
    count = -(-(length - WINDOW) // STEP) + 1
    starts = np.linspace(region.start, region.end - WINDOW, count).round().astype(int).tolist()
    return [Window(number, start, start + WINDOW) for start in starts]


def _turns(regions: Sequence[Region], windows: Sequence[Window], speakers: Labels) -> list[Turn]:
    """Every sample of a region is its nearest window's speaker's."""
    turns: list[Turn] = []
    for window, following, speaker in zip(windows, [*windows[1:], None], speakers.tolist(), strict=True):
        region = regions[window.region]
        is_first = not turns or turns[-1].part != region.part or turns[-1].end <= region.start
        start = region.start if is_first else turns[-1].end
        end = region.end
        if following is not None and following.region == window.region:
            end = (window.start + window.end + following.start + following.end) // 4
        if not is_first and turns[-1].speaker == speaker:
            turns[-1] = turns[-1]._replace(end=end)
        else:
            turns.append(Turn(region.part, start, end, speaker))
    return turns
