"""Conversations that are made of recordings of known voices, and the diarisation error on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ, Pcm
from llaso_data.demo import assets
from llaso_data.estimate.diarisation import Turn

FRAME = 160  # samples: 10 ms
_PAUSE_FRAMES = 25  # a pause of up to 0.25 s is within a turn
_FAINT = 1e-4  # of the power of the loud frames: 40 dB below
Activity = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Conversation:
    """What was made.

    Attributes:
        pcm: int16 at 16 kHz.
        active: Who speaks in every 10 ms, (speakers, frames).
        names: Of the speakers.
    """

    pcm: Pcm
    active: Activity
    names: tuple[str, ...]


def recorded_voices(clips: int = 60, only: Sequence[str] = ()) -> dict[str, list[npt.NDArray[np.float32]]]:
    """Real voices: four of Debian's prompts (the Spanish one is the English one's), five of pytest-audioeval.

    Its Spanish, Polish and Portuguese clips sound like one voice, so that only the others are used.

    Args:
        clips: At most so many of each.
        only: The voices; all where none is named.
    """
    corpus, spoken = assets.demo_corpus(), assets.clips()
    folders = {f"prompts-{code}": corpus.root / code for code in ("en", "fr", "it", "ru")}
    folders |= {f"clips-{code}": spoken / code for code in ("fr", "hi", "it", "ja", "zh")}
    voices = {}
    for name, folder in ((name, folders[name]) for name in only or folders):
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".g722", ".wav"))[:clips]
        voices[name] = trimmed([audio.to_float32(audio.decode(str(path))[0]) for path in files])
    return voices


def trimmed(clips: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """Clips without silence before and after; those of a quarter of a second to 8 s."""
    kept = []
    for clip in clips:
        loud = np.flatnonzero(_loud(clip))
        if len(loud) and SAMPLE_RATE_HZ // 4 < (loud[-1] + 1 - loud[0]) * FRAME < 8 * SAMPLE_RATE_HZ:
            kept.append(clip[loud[0] * FRAME : (loud[-1] + 1) * FRAME])
    return kept


def make(
    voices: Mapping[str, Sequence[npt.NDArray[np.float32]]],
    speakers: int,
    seconds: float,
    seed: int,
    overlap: float = 0.0,
    snr_db: float = 40.0,
) -> Conversation:
    """A conversation of voices that are drawn.

    Turns last 1.2 to 6 s, with 0.1 to 1 s between; levels differ by up to 6 dB; white noise is added.

    Args:
        voices: Clips of each, trimmed.
        speakers: How many take part.
        seconds: About how long it is.
        seed: Decides everything.
        overlap: The share of turns that begin 0.3 to 1 s before the turn before ends.
        snr_db: Of the noise.
    """
    rng = np.random.default_rng(seed)
    names = [str(name) for name in rng.choice(sorted(voices), speakers, replace=False)]
    queues = {name: list(rng.permutation(len(voices[name]))) for name in names}
    gains = {name: 0.05 * 10 ** (rng.uniform(-3, 3) / 20) for name in names}
    first = [str(name) for name in rng.permutation(names)]
    turns: list[tuple[int, str, npt.NDArray[np.float32]]] = []
    at_s = end_s = 0.3
    while at_s < seconds:
        others = [name for name in names if not turns or name != turns[-1][1]] or names
        name = first.pop(0) if first else str(rng.choice(others))
        sound = _turn(voices[name], queues[name], rng)
        sound *= np.float32(gains[name] / np.sqrt(np.mean(sound**2)))
        if turns and rng.random() < overlap:
            at_s = max(0.0, end_s - rng.uniform(0.3, 1.0))
        start = int(at_s * 100) * FRAME
        turns.append((start, name, sound))
        end_s = (start + len(sound)) / SAMPLE_RATE_HZ
        at_s = end_s + rng.uniform(0.1, 1.0)
    length = max(start + len(sound) for start, _, sound in turns) + SAMPLE_RATE_HZ // 2
    mixed, active = np.zeros(length, np.float32), np.zeros((speakers, length // FRAME + 1), bool)
    for start, name, sound in turns:
        mixed[start : start + len(sound)] += sound
        frames = activity(sound)
        active[names.index(name), start // FRAME : start // FRAME + len(frames)] |= frames
    noise = rng.standard_normal(length).astype(np.float32)
    mixed += noise * np.float32(np.sqrt(np.mean(mixed**2)) * 10 ** (-snr_db / 20))
    return Conversation(audio.to_int16(mixed), active, tuple(names))


def activity(sound: npt.NDArray[np.float32]) -> Activity:
    """Whether each 10 ms has speech: it is not 40 dB below the loud frames, or is a pause of up to 0.25 s."""
    loud = _loud(sound)
    places = np.flatnonzero(loud)
    for before, after in pairwise(places):
        if after - before <= _PAUSE_FRAMES:
            loud[before:after] = True
    return loud


def active_of(turns: Sequence[Turn], frames: int) -> Activity:
    """Turns as who speaks in every 10 ms, (speakers, frames)."""
    active = np.zeros((max((turn.speaker for turn in turns), default=-1) + 1, frames), bool)
    for turn in turns:
        active[turn.speaker, turn.start // FRAME : turn.end // FRAME] = True
    return active


def diarisation_error(truth: Activity, found: Activity, collar_s: float = 0.0) -> npt.NDArray[np.float64]:
    """Miss, false alarm and confusion, each over the time of all speakers (NIST's md-eval; overlap counts).

    Args:
        truth: (speakers, frames).
        found: (speakers, frames), as many frames.
        collar_s: What is not scored on both sides of every change in the truth.
    """
    from scipy.optimize import linear_sum_assignment

    scored = np.ones(truth.shape[1], bool)
    for frame in np.flatnonzero(np.diff(truth.astype(np.int8), axis=1).any(axis=0)) + 1:
        collar = round(collar_s * 100)
        scored[max(0, frame - collar) : frame + collar] = False
    truth, found = truth[:, scored], found[:, scored]
    rows, columns = linear_sum_assignment(-(truth.astype(int) @ found.astype(int).T))
    right = (truth[rows] & found[columns]).sum(axis=0)
    spoken, named = truth.sum(axis=0), found.sum(axis=0)
    wrong = np.array([np.maximum(spoken - named, 0), np.maximum(named - spoken, 0), np.minimum(spoken, named) - right])
    errors: npt.NDArray[np.float64] = wrong.sum(axis=1) / max(1, int(spoken.sum()))
    return errors


def _loud(sound: npt.NDArray[np.float32]) -> Activity:
    power = (sound[: len(sound) // FRAME * FRAME].reshape(-1, FRAME) ** 2).mean(axis=1)
    return np.asarray(power > (np.percentile(power, 95) if len(power) else 0) * _FAINT)


def _turn(
    clips: Sequence[npt.NDArray[np.float32]], queue: list[int], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Clips of one voice, one after another; the queue begins again where it ends."""
    wanted = int(rng.uniform(0.8, 4.2) * SAMPLE_RATE_HZ)
    parts: list[npt.NDArray[np.float32]] = []
    while sum(map(len, parts)) < wanted:
        number = queue.pop(0)
        queue.append(number)
        parts += [clips[number], np.zeros(int(rng.uniform(0.1, 0.25) * SAMPLE_RATE_HZ), np.float32)]
    return np.concatenate(parts[:-1])
