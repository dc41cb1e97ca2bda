"""A fingerprint of sound that survives lossy coding, resampling, another level and other ends.

Each frame of a clip gives 32 bits: the signs of the differences of the energies of 33 bands, between neighbours in
frequency and between frames (Haitsma & Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002, section 4.2).
Theirs is made for music. Here the frames are shorter, since clips of speech are, and quiet frames say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import scipy.fft

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm

Codes = npt.NDArray[np.uint32]
"""Codes of 32 bits, one for each frame; :data:`QUIET` where the frame says nothing."""

QUIET = np.uint32(0)
"""The code of a frame that is too quiet to say anything."""

HOP = 256  # samples, 16 ms
FRAME = 4096  # samples, 256 ms: half a hop, which clips may lie apart, is 3 % of it
BANDS = 33
LOWEST_HZ, HIGHEST_HZ = 300.0, 3400.0  # what the narrowest telephone leaves
DOUBTS = 4  # bits of a code that may be wrong
_DELAY = 8  # frames between those that are compared, 128 ms
_QUIET_DB = 35.0  # below the loudest frame of the clip
_FLOOR = 1e-9  # of the energy of a band at full scale: below what 16 bits hold
_BATCH_FRAMES = 512


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is compared of a clip.

    Attributes:
        codes: (frames,) one each 16 ms.
        doubts: (frames, 4) uint32, each with the one bit set that is the least certain, the second, …: what changes
            first where the sound was coded anew.
    """

    codes: Codes
    doubts: Codes


def fingerprint(pcm: Pcm) -> Fingerprint:
    """The fingerprint of a clip.

    Args:
        pcm: (samples,) int16, 16 kHz.

    Returns:
        No frames of a clip shorter than 0.4 s.
    """
    energies = _band_energies(pcm)
    if len(energies) <= _DELAY:
        return Fingerprint(np.zeros(0, np.uint32), np.zeros((0, DOUBTS), np.uint32))
    slopes = np.diff(energies, axis=1)
    turns = slopes[_DELAY:] - slopes[:-_DELAY]
    codes = np.packbits(turns > 0, axis=1, bitorder="little").view("<u4")[:, 0].astype(np.uint32)
    loudness = energies.max(axis=1)
    loud = np.minimum(loudness[_DELAY:], loudness[:-_DELAY]) > loudness.max() - _QUIET_DB / 10
    codes[~loud] = QUIET
    weakest = np.argpartition(np.abs(turns), range(DOUBTS), axis=1)[:, :DOUBTS]
    return Fingerprint(codes, np.left_shift(np.uint32(1), weakest.astype(np.uint32)))


def _band_energies(pcm: Pcm) -> npt.NDArray[np.float32]:
    """log10 of the energy of each band, shape (frames, 33)."""
    count = max(0, (len(pcm) - FRAME) // HOP + 1)
    if not count:
        return np.zeros((0, BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(pcm, FRAME)[::HOP]
    window, bands = _window(), _bands()
    parts = []
    for first in range(0, count, _BATCH_FRAMES):
        spectra = scipy.fft.rfft(frames[first : first + _BATCH_FRAMES] * window, axis=1)
        power = np.square(spectra.real) + np.square(spectra.imag)
        parts.append(np.add.reduceat(power, bands, axis=1)[:, :-1])
    energies: npt.NDArray[np.float32] = np.log10(np.concatenate(parts) + np.float32(_FLOOR))
    return energies


@cache
def _window() -> npt.NDArray[np.float32]:
    return (np.hanning(FRAME) / (32768 * FRAME)).astype(np.float32)


@cache
def _bands() -> npt.NDArray[np.intp]:
    """First bins of the bands, equally wide on a logarithmic scale, and of what lies above them."""
    edges_hz = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1)
    return np.round(edges_hz * FRAME / SAMPLE_RATE_HZ).astype(np.intp)
