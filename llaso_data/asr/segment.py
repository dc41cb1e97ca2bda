"""Voice activity (Silero VAD): recordings longer than a Whisper window become segments of speech."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.audio.voice_activity import FRAME_SAMPLES, speech_probabilities
from llaso_data.records import Utterance, digest

if TYPE_CHECKING:
    from llaso_data.recipe import Segment

_GRID_SAMPLES = 16  # edges fall on whole milliseconds, so that seconds with 3 decimals name samples exactly


def segment(
    utterance: Utterance, pcm: NDArray[np.int16], settings: Segment
) -> list[tuple[Utterance, NDArray[np.int16]]]:
    """Cut a recording that is longer than ``settings.longer_than_s`` into segments of speech.

    A segment is an utterance of its own. Its ``source`` has the span in the original: a time in the original is
    ``source.start_s`` plus the time in the segment. Its ``recording`` is the id of what it was cut from. It keeps the
    whole given text; :func:`llaso_data.asr.texts.assign_given` divides that.

    Args:
        utterance: The recording.
        pcm: Its 16 kHz mono samples.
        settings: The recipe's section.

    Returns:
        The segments in order with their samples, each with its ``speech_ratio``; the utterance itself where it is not
        longer; nothing where a longer one has no speech.
    """
    probs = speech_probabilities(pcm)
    if len(pcm) <= settings.longer_than_s * SAMPLE_RATE_HZ:
        return [(_with_speech_ratio(utterance, probs, settings), pcm)]
    offset = round((utterance.source.start_s or 0.0) * SAMPLE_RATE_HZ)
    shift = -offset % _GRID_SAMPLES  # the grid is the file's, wherever in it the utterance begins
    segments = []
    for first, last in ((a + shift, b + shift) for a, b in speech_spans(probs, len(pcm) - shift, settings)):
        start_s, end_s = (offset + first) / SAMPLE_RATE_HZ, (offset + last) / SAMPLE_RATE_HZ
        part = dataclasses.replace(
            utterance,
            id=digest(utterance.id, f"{start_s:.3f}", f"{end_s:.3f}"),
            recording=utterance.id,
            source=dataclasses.replace(utterance.source, start_s=round(start_s, 3), end_s=round(end_s, 3)),
            duration_s=(last - first) / SAMPLE_RATE_HZ,
        )
        part_probs = probs[first // FRAME_SAMPLES : -(-last // FRAME_SAMPLES)]
        segments.append((_with_speech_ratio(part, part_probs, settings), pcm[first:last]))
    return segments


def speech_spans(probs: NDArray[np.float32], length: int, settings: Segment) -> list[tuple[int, int]]:
    """Spans of speech in samples: in order, disjoint, on a grid of one millisecond, none longer than ``max_s``.

    Args:
        probs: As :func:`speech_probabilities` gives them.
        length: Samples at 16 kHz; no span ends after them.
        settings: The recipe's section.
    """
    from silero_vad import get_speech_timestamps_from_probs

    timestamps = get_speech_timestamps_from_probs(
        probs.tolist(),
        sampling_rate=SAMPLE_RATE_HZ,
        threshold=settings.threshold,
        max_speech_duration_s=settings.max_s,
        min_silence_duration_ms=round(settings.min_silence_s * 1000),
        speech_pad_ms=round(settings.pad_s * 1000),
        audio_length_samples=length,
    )
    limit = round(settings.max_s * SAMPLE_RATE_HZ)
    spans: list[tuple[int, int]] = []
    for item in timestamps:
        first = int(item["start"]) // _GRID_SAMPLES * _GRID_SAMPLES
        last = int(item["end"]) // _GRID_SAMPLES * _GRID_SAMPLES
        first = max(first, spans[-1][1] if spans else 0)
        while last - first > limit:  # speech without a pause is cut anywhere
            spans.append((first, first + limit))
            first += limit
        if last > first:
            spans.append((first, last))
    return spans


def _with_speech_ratio(utterance: Utterance, probs: NDArray[np.float32], settings: Segment) -> Utterance:
    """The utterance with the share (0-1) of its 32 ms frames that hold speech."""
    ratio = float((probs >= settings.threshold).mean()) if len(probs) else 0.0
    return dataclasses.replace(utterance, scores=dataclasses.replace(utterance.scores, speech_ratio=ratio))
