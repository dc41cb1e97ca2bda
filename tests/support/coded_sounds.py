"""Sounds that were coded with loss, or resampled."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import soxr

from llaso_data import audio
from llaso_data.audio import SAMPLE_RATE_HZ, Pcm


def coded(pcm: Pcm, codec: str, bits_per_s: int, rate_hz: int, container: str) -> Pcm:
    """What is left of a sound of 16 kHz after a lossy codec."""
    return audio.decode_bytes(encoded(pcm, codec, bits_per_s, rate_hz, container))


def encoded(pcm: Pcm, codec: str, bits_per_s: int, rate_hz: int, container: str) -> bytes:
    """A sound of 16 kHz as a file of a codec."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=rate_hz, layout="mono")
        stream.bit_rate = bits_per_s
        frame = av.AudioFrame.from_ndarray(resampled(pcm, SAMPLE_RATE_HZ, rate_hz)[None], "s16", "mono")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(stream.format, "mono", rate_hz)
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(converted))
        out.mux(stream.encode(None))
    return file.getvalue()


def resampled(pcm: Pcm, from_hz: int, to_hz: int) -> Pcm:
    """The sound at another sampling rate."""
    return np.asarray(soxr.resample(pcm, from_hz, to_hz), np.int16)
