"""Audio files that shards hold as they are: 16 kHz mono 16-bit FLAC and WAV. Only their headers are read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO

import numpy as np

from llaso_data.audio.mixing import SAMPLE_RATE_HZ, Pcm

_MOST_BYTES = 1 << 30
_WAV_HEADER_BYTES = 44
_STREAMINFO_BYTES = 34
_PLAIN_FORMAT = b"\x01\x00\x01\x00" + SAMPLE_RATE_HZ.to_bytes(4, "little") + (2 * SAMPLE_RATE_HZ).to_bytes(4, "little")


@dataclass(frozen=True, slots=True)
class StoredAudio:
    """A file that needs no decoding.

    Attributes:
        data: The whole file.
        extension: ``flac`` or ``wav``.
        duration_s: By its header.
    """

    data: bytes
    extension: str
    duration_s: float

    def pcm(self) -> Pcm | None:
        """The samples of a WAV, int16 of shape (samples,), bit for bit as a decoder gives them; None of a FLAC."""
        return np.frombuffer(self.data, "<i2", offset=_WAV_HEADER_BYTES) if self.extension == "wav" else None


def as_stored(file: IO[bytes]) -> StoredAudio | None:
    """The file as it is, where it is 16 kHz mono 16-bit FLAC, or WAV of a plain header; None where it is another.

    Of a FLAC the frames are not looked at, so damage in them is found by whoever decodes it.

    Args:
        file: Open at its beginning.
    """
    head = file.read(_WAV_HEADER_BYTES)
    samples = _flac_samples(head) or _wav_samples(head)
    if not samples:
        return None
    size_bytes = file.seek(0, os.SEEK_END)
    if size_bytes > _MOST_BYTES:
        return None
    file.seek(0)
    data = file.read(size_bytes)
    if head[:4] == b"RIFF":
        whole = len(data) == _WAV_HEADER_BYTES + 2 * samples
        return StoredAudio(data, "wav", samples / SAMPLE_RATE_HZ) if whole else None
    return StoredAudio(data, "flac", samples / SAMPLE_RATE_HZ)


def _flac_samples(head: bytes) -> int:
    """Number of samples of a FLAC that is 16 kHz, mono and 16 bits (RFC 9639, section 8.2); 0 for another file."""
    info = head[8 : 8 + _STREAMINFO_BYTES]
    if head[:4] != b"fLaC" or head[4] & 0x7F or int.from_bytes(head[5:8], "big") != _STREAMINFO_BYTES:
        return 0
    packed = int.from_bytes(info[10:18], "big")  # rate 20 bits, channels - 1 in 3, bits - 1 in 5, samples in 36
    wanted = SAMPLE_RATE_HZ << 8 | 0 << 5 | 15
    return packed & (1 << 36) - 1 if packed >> 36 == wanted else 0


def _wav_samples(head: bytes) -> int:
    """Number of samples of a WAV of 44 bytes of header that is 16 kHz, mono and 16-bit PCM; 0 for another file."""
    if head[:4] != b"RIFF" or head[8:20] != b"WAVEfmt \x10\x00\x00\x00" or head[36:40] != b"data":
        return 0
    if head[20:32] != _PLAIN_FORMAT or head[32:36] != b"\x02\x00\x10\x00":
        return 0
    size_bytes = int.from_bytes(head[40:44], "little")
    return size_bytes // 2 if size_bytes % 2 == 0 and int.from_bytes(head[4:8], "little") == size_bytes + 36 else 0
