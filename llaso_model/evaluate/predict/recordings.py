"""The sounds of rows for people to play: as the system was given them, decoded within limits, and cut.

Noise and other conditions are not stored. They are applied again to the clean sound, by the row's tag and seed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from llaso_data import audio
from llaso_data.audio import Pcm, limited
from llaso_data.errors import LLaSOError
from llaso_model.evaluate import conditions
from llaso_model.evaluate.conditions import Condition, Samples
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.kinds import Row


class ConditionedClip(NamedTuple):
    """A clip as a system was given it.

    Attributes:
        pcm: int16 samples at 16 kHz, mono.
        cut: The clip is the beginning of something longer.
    """

    pcm: Pcm
    cut: bool


class Recordings(NamedTuple):
    """The noise recordings of an evaluation.

    Attributes:
        name: The digest by which rows name them.
        samples: float32 at 16 kHz, one array for each recording.
    """

    name: str
    samples: Sequence[Samples]

    @classmethod
    def of(cls, samples: Sequence[Samples]) -> Recordings:
        """The recordings with their digest."""
        return cls(conditions.noise_name(samples), samples)


def find_audio(root: str, name: str) -> tuple[str, str | None] | None:
    """Finds the audio of a row.

    Args:
        root: Folder that the audio must lie below.
        name: A path, or ``TAR!MEMBER`` as rows of shards have it.

    Returns:
        (file, member of the tar or None); None where there is no such file, or the path leads out of the folder.
    """
    for path, member in ((name, None), name.partition("!")[::2]):
        full_path = os.path.realpath(os.path.join(root, path))
        if full_path.startswith(os.path.realpath(root) + os.sep) and os.path.isfile(full_path):
            return full_path, member or None
    return None


def conditioned_clip(
    root: str, row: Prediction, most_s: float, recordings: Recordings | None = None
) -> ConditionedClip | None:
    """The beginning of the sound that the system was given.

    Args:
        root: Folder that the row's audio path is relative to.
        row: The prediction whose sound is wanted.
        most_s: Longest clip in seconds.
        recordings: Recordings of the evaluation's noise, where there were any.

    Returns:
        The clip; None where the row's audio is not below ``root``. Where the row's condition cannot be made again
        (:func:`missing_condition`) the clip is without it.

    Raises:
        AudioError: The audio cannot be decoded.
        StoreError: The audio cannot be read.
    """
    located = find_audio(root, row.audio[0])
    if located is None:
        return None
    condition = _condition_of(row, recordings)
    if condition is None and not row.span_s and not row.channels:
        return ConditionedClip(*limited.decode_beginning(*located, most_s))
    start_s, end_s, *_ = (*(row.span_s or ()), None, None)
    pcm, _ = limited.decode(*located, start_s, end_s, limited.MAX_DURATION_S, row.channels)
    if condition is not None:  # of all of it: how loud the noise is depends on it
        pcm = audio.to_int16(
            condition.apply(audio.to_float32(pcm), conditions.sample_key(row.id.removesuffix(f"@{condition.tag}")))
        )
    most_samples = round(most_s * audio.SAMPLE_RATE_HZ)
    return ConditionedClip(pcm[:most_samples], len(pcm) > most_samples)


def load_recordings(path: str, rows: Sequence[Row]) -> Recordings:
    """Reads the noise recordings of a file or folder.

    Raises:
        LLaSOError: They are not the recordings that any of these rows was made with.
    """
    noise = conditions.load_noise(path)
    recordings = None if isinstance(noise, str) else Recordings.of(noise)
    if recordings is None or not any(row.prediction.noise == recordings.name for row in rows):
        raise LLaSOError(f"--noise {path}: none of these answers was made with these recordings")
    return recordings


def condition_tag(row: Prediction) -> str | None:
    """The tag of the condition in which a row was asked, such as ``snr:5``; None where its audio was unchanged."""
    return next((tag for tag in row.tags if row.id.endswith(f"@{tag}")), None)


def missing_condition(row: Prediction, recordings: Recordings | None = None) -> str | None:
    """Why the condition of a row cannot be made again; None where it can, or the row has none."""
    if condition_tag(row) is None or _condition_of(row, recordings) is not None:
        return None
    if row.seed is None:
        return "its line does not say how it was made"
    return "it is of recorded noise; name the recordings with --noise, as for the evaluation"


def audio_label(row: Prediction) -> str:
    """The audio of a row in words: its file, the part and the channels of it, and the condition."""
    span = "–".join(f"{end:g}" for end in row.span_s or ())
    channels = ", ".join(map(str, row.channels or ()))
    parts = (
        row.audio[0],
        f"{span} s" if span else "",
        f"channel {channels}" if channels else "",
        condition_tag(row) or "",
    )
    return ", ".join(filter(None, parts))


def _condition_of(row: Prediction, recordings: Recordings | None) -> Condition | None:
    tag = condition_tag(row)
    if tag is None or row.seed is None:
        return None
    shape = next((shape for shape in conditions.NOISE_SHAPES if shape == row.noise), None)
    recorded = recordings.samples if recordings is not None and row.noise == recordings.name else None
    return conditions.condition_of_tag(tag, row.seed, shape or recorded)
