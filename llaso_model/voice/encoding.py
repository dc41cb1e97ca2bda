"""Speech as a file while it comes: each part is encoded when it is spoken."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np

from llaso_data.audio.mixing import Pcm
from llaso_model.voice.speaking import RATE_HZ

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "pcm": "audio/pcm",
}
"""Formats, and their media types. ``pcm`` is 24 kHz, 16 bits, little-endian, one channel."""
_CODECS = {
    "mp3": ("mp3", "mp3", 96_000),
    "opus": ("ogg", "libopus", 32_000),
    "flac": ("flac", "flac", None),
    "aac": ("adts", "aac", 64_000),
}
_ENDLESS = 0xFFFFFFFF  # the size in the header of a wav file whose end is not known yet


class Encoder:
    """Encodes speech at :data:`RATE_HZ` part by part.

    Args:
        form: An entry of :data:`MEDIA_TYPES`.
        samples: How many samples come in all, for the header of wav; None: it is not known.
    """

    def __init__(self, form: str, samples: int | None = None) -> None:
        self._form = form
        self._file = _Sink()
        self._container: Any = None
        self._at = 0
        if form == "wav":
            self._file.write(_wav_header(samples))
        elif form != "pcm":
            import av

            layout, codec, bit_rate = _CODECS[form]
            self._container = av.open(self._file, "w", format=layout)
            self._stream = self._container.add_stream(codec, rate=RATE_HZ, layout="mono")
            if bit_rate is not None:
                self._stream.bit_rate = bit_rate
            self._resampler = av.AudioResampler(self._stream.format, "mono", RATE_HZ)

    def encode(self, pcm: Pcm) -> bytes:
        """The bytes of a further part; encoders keep some of it for the next."""
        if self._container is None:
            self._file.write(np.ascontiguousarray(pcm, "<i2").tobytes())
        elif len(pcm):
            import av

            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm)[None, :], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, self._at
            self._at += len(pcm)
            for ready in self._resampler.resample(frame):
                self._container.mux(self._stream.encode(ready))
        return self._file.take()

    def finish(self) -> bytes:
        """The rest of the file."""
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        return self._file.take()


def encoded(pcm: Pcm, form: str) -> bytes:
    """A whole file."""
    encoder = Encoder(form, len(pcm))
    return encoder.encode(pcm) + encoder.finish()


def closed_wav(data: bytes) -> bytes:
    """A whole wav file of an :class:`Encoder` with its length in its header."""
    header = _wav_header(None)
    return _wav_header((len(data) - len(header)) // 2) + data[len(header) :]


class _Sink(io.RawIOBase):
    """A file that cannot be sought in, whose content is taken away as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._parts = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts += data
        return len(data)

    def take(self) -> bytes:
        """What was written since the last call."""
        taken = bytes(self._parts)
        self._parts.clear()
        return taken


def _wav_header(samples: int | None) -> bytes:
    size = _ENDLESS if samples is None else 2 * samples
    riff = _ENDLESS if samples is None else size + 36
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + form + struct.pack("<4sI", b"data", size)
