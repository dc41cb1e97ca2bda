"""Mono PCM as an audio file, and how loud it is."""

from __future__ import annotations

import io
import math
from typing import Literal

import numpy as np

from llaso_data.audio.mixing import FULL_SCALE, SAMPLE_RATE_HZ, Pcm

SILENCE_DBFS = -120.0
"""What :func:`level` gives for digital silence."""

_OPUS_BITS_PER_S = 32_000


def encode(
    pcm: Pcm, format: Literal["flac", "opus", "wav"], rate_hz: int = SAMPLE_RATE_HZ, comment: str | None = None
) -> bytes:
    """Write PCM as an audio file; the same PCM gives the same bytes.

    Args:
        pcm: int16 samples, shape (samples,).
        format: wav and flac are lossless; opus is lossy (32 kbit/s) but keeps the exact number of samples.
        rate_hz: Samples a second; of opus 16,000.
        comment: Text for the header of a flac file.

    Returns:
        The file's bytes.
    """
    if format == "opus":
        return _encode_opus(pcm)
    import soundfile

    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate_hz, 1, "PCM_16", format=format.upper()) as sound:
        if comment is not None:
            sound.comment = comment
        sound.buffer_write(np.ascontiguousarray(pcm), "int16")
    return file.getvalue()


def level(pcm: Pcm) -> tuple[float, float]:
    """Measure the loudness of PCM.

    Returns:
        The root mean square in dB of full scale, not below −120; and the share (0–1) of samples at full scale.
    """
    if not len(pcm):
        return SILENCE_DBFS, 0.0
    energy = clipped = 0
    for start in range(0, len(pcm), 1 << 20):
        block = pcm[start : start + (1 << 20)].astype(np.int64)
        energy += int(block @ block)
        clipped += int(np.count_nonzero(np.abs(block) >= FULL_SCALE - 1))
    rms = math.sqrt(energy / len(pcm)) / FULL_SCALE
    return max(SILENCE_DBFS, 20 * math.log10(rms)) if rms else SILENCE_DBFS, clipped / len(pcm)


def _encode_opus(pcm: Pcm) -> bytes:
    """Ogg Opus through FFmpeg: libsndfile's muxer puts a random serial number into every file."""
    import av
    from av.codec.context import Flags

    file = io.BytesIO()
    with av.open(file, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="mono")
        stream.codec_context.flags |= Flags.bitexact
        stream.bit_rate = _OPUS_BITS_PER_S
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm)[None, :], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()
