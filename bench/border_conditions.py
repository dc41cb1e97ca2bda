"""Rooms, noises and cuts for ``bench/borders.py``: the same clip whole, and cut inside its first and its last word."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from debian import unpacked
from faults import speech
from scipy.signal import fftconvolve

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ, Pcm, decode_bytes, to_float32
from llaso_data.audio.surroundings import add_reverberation, faster
from llaso_data.filters.planting import seeded
from llaso_data.records import Word
from llaso_model.evaluate.conditions import band_pass, mix_at_snr, noise_excerpt, shaped_noise

LEVELS_DB = (30, 20, 15, 10)
NOISES = ("pink", "brown", "babble")
MUSIC = "music"
TALKERS = 6
ROOMS_S = (0.3, 0.6)
DRAWN_ROOMS = 8  # shoeboxes of each reverberation time
SOUND_M_S = 343.0
_FAR, _FAR_SNR_DB = 0.05, 15.0
CONDITIONS = (
    "clean",
    *(f"{noise} {level}" for noise in NOISES for level in LEVELS_DB),
    *(f"{MUSIC} {level}" for level in LEVELS_DB),
    *(f"room {time_s}" for time_s in ROOMS_S),
    *(f"shoebox {time_s}" for time_s in ROOMS_S),
    "opus",
    "telephone",
)
"""Noises with their signal-to-noise ratio over active speech, dB; rooms with their reverberation time, s: noise that
dies away, and the reflections of six walls."""
TRIMMED = "trimmed"
"""Whole words with 0 to 20 ms before and after them: no condition of cuts."""

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Piece:
    """A clip as it is judged: whole, or cut at one end; ``vowel`` where the cut is in a voiced, loud part."""

    condition: str
    name: str
    cut: str  # whole | start | end
    vowel: bool
    pcm: Pcm


def pieces(condition: str, name: str, pcm: Pcm, words: Sequence[Word], others: Sequence[Pcm]) -> Iterator[Piece]:
    """The clip in a condition, whole and cut; what is coded is cut before it is coded."""
    rng = np.random.default_rng(seeded("condition", condition, name).getrandbits(64))
    if condition == TRIMMED:
        yield Piece(condition, name, "whole", False, trimmed(pcm, rng))
        return
    heard, after = pcm, _unchanged
    if condition == "opus":
        after = opus
    elif condition != "clean":
        heard = in_condition(condition, pcm, rng, others)
    yield Piece(condition, name, "whole", False, after(heard))
    for cut in ("start", "end"):
        place = cut_place(name, pcm, words, cut == "end")
        if place is not None:
            part = heard[:place] if cut == "end" else heard[place:]
            yield Piece(condition, name, cut, is_vowel(pcm, place), after(part))


def in_condition(condition: str, pcm: Pcm, rng: np.random.Generator, others: Sequence[Pcm]) -> Pcm:
    """The clip in a condition that is no codec; ``others``: other voices, or music."""
    kind, _, level = condition.partition(" ")
    clean = to_float32(pcm)
    if kind == "speed":
        return to_pcm(faster(clean, float(level)))
    if kind == "far":  # soft, in a room with some noise
        there = add_reverberation(clean, float(level), rng)
        return to_pcm(_FAR * mix_at_snr(there, shaped_noise(there, "pink", rng), _FAR_SNR_DB))
    if kind == "telephone":
        return to_pcm(band_pass(clean, 300, 3400))
    if kind == "shoebox":
        return to_pcm(_in_shoebox(clean, float(level), rng))
    if kind == "room":
        return to_pcm(add_reverberation(clean, float(level), rng))
    return to_pcm(mix_at_snr(clean, _noise(kind, clean, rng, others), float(level)))


def _noise(kind: str, clean: Samples, rng: np.random.Generator, others: Sequence[Pcm]) -> npt.NDArray[np.floating]:
    if kind == "pink":
        return shaped_noise(clean, "pink", rng)
    if kind == "brown":  # white noise added up
        steps = np.cumsum(rng.standard_normal(len(clean)))
        return np.asarray(steps - steps.mean())
    return babble(others, 1 if kind == MUSIC else TALKERS, len(clean), rng)


def music_on_hold(folder: Path) -> list[Pcm]:
    """The pieces of Debian's music on hold."""
    found = unpacked("asterisk-moh-opsound-g722", folder)
    return [audio.decode(str(path))[0] for path in sorted(found.rglob("*.g722"))]


def babble(voices: Sequence[Pcm], talkers: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """So many of the voices at once (count,), each as loud as the others."""
    total = np.zeros(count)
    for _ in range(talkers):
        voice = np.concatenate([voices[i] for i in rng.integers(len(voices), size=8)]).astype(np.float32)
        total += noise_excerpt(voice, count, rng) / np.sqrt(np.mean(voice.astype(np.float64) ** 2))
    return total


def _in_shoebox(clean: Samples, time_s: float, rng: np.random.Generator) -> Samples:
    """The clip as loud as it was, in one of :data:`DRAWN_ROOMS` rooms."""
    response = _shoebox(time_s, int(rng.integers(DRAWN_ROOMS)))
    wet = fftconvolve(clean, response)[: len(clean)]
    wet *= np.sqrt(np.mean(clean**2) / max(float(np.mean(wet**2)), 1e-12))
    return np.asarray(wet / max(1.0, float(np.abs(wet).max())), np.float32)


@cache
def _shoebox(time_s: float, number: int) -> npt.NDArray[np.float64]:
    """The response between two places in a room, from the direct sound on, by image sources.

    Allen and Berkley (1979): "Image method for efficiently simulating small-room acoustics". Walls absorb alike, as
    much as Sabine's formula says for the reverberation time.
    """
    rng = np.random.default_rng(seeded("shoebox", time_s, number).getrandbits(64))
    size_m = rng.uniform([3, 3, 2.4], [8, 7, 3.5])
    mouth_m, microphone_m = (rng.uniform([0.5, 0.5, 1], size_m - [0.5, 0.5, 0.6]) for _ in range(2))
    walls_m2 = 2 * (size_m[0] * size_m[1] + size_m[1] * size_m[2] + size_m[0] * size_m[2])
    absorbed = min(0.95, 0.161 * float(np.prod(size_m)) / (walls_m2 * time_s))
    distances_m, reflections = np.zeros(1), np.zeros(1)
    for axis in range(3):
        count = int(SOUND_M_S * time_s / (2 * size_m[axis])) + 1
        cells = np.arange(-count, count + 1)
        places = np.concatenate([2 * cells * size_m[axis] + side * mouth_m[axis] for side in (1, -1)])
        bounces = np.concatenate([np.abs(2 * cells), np.abs(2 * cells - 1)])
        distances_m = np.add.outer(distances_m, (places - microphone_m[axis]) ** 2).ravel()
        reflections = np.add.outer(reflections, bounces).ravel()
        near = distances_m < (SOUND_M_S * time_s) ** 2
        distances_m, reflections = distances_m[near], reflections[near]
    distances_m = np.sqrt(distances_m)
    after = np.round((distances_m - distances_m.min()) / SOUND_M_S * SAMPLE_RATE_HZ).astype(int)
    heard = np.sqrt(1 - absorbed) ** reflections / np.maximum(distances_m, 0.1)
    response: npt.NDArray[np.float64] = np.bincount(after, heard)
    return response


def trimmed(pcm: Pcm, rng: np.random.Generator) -> Pcm:
    first_s, last_s = speech(pcm)
    before_s, after_s = rng.uniform(0, 0.02, 2)
    first, last = (round(s * SAMPLE_RATE_HZ) for s in (max(0.0, first_s - before_s), last_s + after_s))
    return pcm[first:last]


def cut_place(name: str, pcm: Pcm, words: Sequence[Word], at_end: bool) -> int | None:
    """The sample at which the clip is cut: 10 to 90 % of its first or last word are lost, of at most 0.8 s."""
    first_s, last_s = speech(pcm)
    start_s, end_s = first_s, last_s
    if len(words) > 1:
        start_s, end_s = (max(words[-1].start_s, first_s), last_s) if at_end else (first_s, min(words[0].end_s, last_s))
    if end_s - start_s < 0.1:
        return None
    length_s = min(end_s - start_s, 0.8)
    lost_s = seeded("border", name, at_end).uniform(0.1, 0.9) * length_s
    place = round((end_s - lost_s if at_end else start_s + lost_s) * SAMPLE_RATE_HZ)
    return place if (place if at_end else len(pcm) - place) > 0.2 * SAMPLE_RATE_HZ else None


def is_vowel(pcm: Pcm, place: int) -> bool:
    """Whether the 40 ms around a sample are voiced, and not 15 dB softer than the clip's loud 10 ms."""
    around = pcm[max(0, place - 320) : place + 320].astype(np.float64)
    frames = pcm[: len(pcm) // 160 * 160].reshape(-1, 160).astype(np.float64)
    loud = np.percentile(np.mean(frames**2, axis=1), 90)
    middle = pcm[max(0, place - 160) : place + 160].astype(np.float64)
    if np.mean(middle**2) < loud * 10**-1.5:
        return False
    lags = range(SAMPLE_RATE_HZ // 400, SAMPLE_RATE_HZ // 70)
    return max(_correlation(around[:-lag], around[lag:]) for lag in lags if lag < len(around) // 2) > 0.6


def _correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b) + 1))


def opus(pcm: Pcm) -> Pcm:
    """Through Opus at 24 kbit/s, exactly as long as before."""
    return coded(pcm, "opus", 24)


def coded(pcm: Pcm, codec: str, kbit_s: int) -> Pcm:
    """Through Opus or MP3; Opus gives exactly as many samples back."""
    encoder, container_format = {"opus": ("libopus", "ogg"), "mp3": ("libmp3lame", "mp3")}[codec]
    file = io.BytesIO()
    with av.open(file, "w", format=container_format) as container:
        stream = container.add_stream(encoder, rate=SAMPLE_RATE_HZ, layout="mono")
        stream.bit_rate = kbit_s * 1000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm)[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return decode_bytes(file.getvalue())


def _unchanged(pcm: Pcm) -> Pcm:
    return pcm


def to_pcm(samples: Samples) -> Pcm:
    return np.round(np.clip(samples, -1, 32767 / 32768) * 32768).astype(np.int16)
