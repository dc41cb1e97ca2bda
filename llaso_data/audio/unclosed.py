"""Headers of unclosed streams: a program that writes into a pipe cannot go back and write the length.

Such a header states 0 or all ones as the length, and the samples follow to the end of the file. libsndfile reads some
of these files, and finds no samples in the others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from llaso_data.audio.containers import PLACEHOLDER_BYTES
from llaso_data.io.views import SeekableFile

_HEAD_BYTES = 1 << 16  # where the headers lie


class PatchedFile:
    """A file that reads with some bytes replaced. ``patches``: the offset in the file → the bytes there."""

    def __init__(self, file: SeekableFile, patches: Mapping[int, bytes]) -> None:
        self._file = file
        self._patches = patches

    def read(self, count: int = -1) -> bytes:
        """Read as a file does, with the patches."""
        start = self._file.tell()
        data = bytearray(self._file.read(count))
        for offset, patch in self._patches.items():
            first, last = max(offset, start), min(offset + len(patch), start + len(data))
            if first < last:
                data[first - start : last - start] = patch[first - offset : last - offset]
        return bytes(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place. Returns the position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position in bytes."""
        return self._file.tell()


def patches(file: SeekableFile, size_bytes: int) -> dict[int, bytes]:
    """The changes that make the header of an unclosed WAV, RF64, AIFF or AU that of a closed one.

    Args:
        file: seekable.
        size_bytes: of all of it.

    Returns:
        The offset in the file → the bytes there; empty where nothing has to change.
    """
    file.seek(0)
    head = file.read(min(_HEAD_BYTES, size_bytes))
    kind, form = head[:4], head[8:12]
    if kind in (b"RIFF", b"RF64") and form == b"WAVE":
        return _wave(head, size_bytes)
    if kind == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _aiff(head, size_bytes)
    if kind == b".snd" and head[8:12] == bytes(4) and size_bytes > int.from_bytes(head[4:8], "big"):
        return {8: b"\xff" * 4}
    return {}


def _wave(head: bytes, size_bytes: int) -> dict[int, bytes]:
    chunks = _chunks(head, "little")
    data_at = chunks.get(b"data")
    if data_at is None:
        return {}
    data_bytes = size_bytes - data_at - 8
    ds64_at = chunks.get(b"ds64")
    stated = int.from_bytes(head[data_at + 4 : data_at + 8], "little")
    if head[:4] == b"RF64" and ds64_at is not None:
        stated = int.from_bytes(head[ds64_at + 16 : ds64_at + 24], "little")
        unstated = stated in (0, (1 << 64) - 1)
    else:
        unstated = stated == 0
    if data_bytes <= 0 or not unstated or _only_chunks(head[data_at + 8 :], data_bytes):
        return {}
    if ds64_at is not None and head[:4] == b"RF64":
        sizes = (size_bytes - 8, data_bytes, 0)
        return {
            data_at + 4: b"\xff" * 4,
            ds64_at + 8: b"".join(size.to_bytes(8, "little") for size in sizes),
        }
    closed_bytes = int.from_bytes(head[4:8], "little")
    if size_bytes - 8 < closed_bytes < PLACEHOLDER_BYTES:  # a file that was closed and lost its end later
        data_bytes, size_bytes = closed_bytes - data_at, closed_bytes + 8
    return {
        4: min(size_bytes - 8, PLACEHOLDER_BYTES).to_bytes(4, "little"),
        data_at + 4: min(data_bytes, PLACEHOLDER_BYTES).to_bytes(4, "little"),
    }


def _aiff(head: bytes, size_bytes: int) -> dict[int, bytes]:
    chunks = _chunks(head, "big")
    sound_at, common_at = chunks.get(b"SSND"), chunks.get(b"COMM")
    if sound_at is None or common_at is None:
        return {}
    stated, sound_bytes = int.from_bytes(head[sound_at + 4 : sound_at + 8], "big"), size_bytes - sound_at - 8
    frames = int.from_bytes(head[common_at + 10 : common_at + 14], "big")
    frame_bytes = int.from_bytes(head[common_at + 8 : common_at + 10], "big") * -(-int.from_bytes(
        head[common_at + 14 : common_at + 16], "big"
    ) // 8)  # fmt: skip
    if frames or stated not in (0, 8) or sound_bytes <= 8 or not frame_bytes:
        return {}
    if _only_chunks(head[sound_at + 16 :], sound_bytes - 8):
        return {}
    return {
        4: (size_bytes - 8).to_bytes(4, "big"),
        sound_at + 4: sound_bytes.to_bytes(4, "big"),
        common_at + 10: ((sound_bytes - 8) // frame_bytes).to_bytes(4, "big"),
    }


def _chunks(head: bytes, endian: Literal["little", "big"]) -> dict[bytes, int]:
    """Where the chunks of a file begin, by their names, up to the one with the samples."""
    offsets: dict[bytes, int] = {}
    at = 12
    while at + 8 <= len(head):
        name = head[at : at + 4]
        offsets.setdefault(name, at)
        if name in (b"data", b"SSND"):
            break
        size = int.from_bytes(head[at + 4 : at + 8], endian)
        at += 8 + size + size % 2
    return offsets


def _only_chunks(rest: bytes, size_bytes: int) -> bool:
    """Whether other chunks follow to the end: then the chunk of samples before them is really empty."""
    for endian in ("little", "big"):
        at = 0
        while at + 8 <= min(len(rest), size_bytes):
            name = rest[at : at + 4]
            if not (name.isascii() and name.decode("ascii").isprintable()):
                break
            size = int.from_bytes(rest[at + 4 : at + 8], endian)
            at += 8 + size + size % 2
        if at and size_bytes <= at <= size_bytes + 1:
            return True
    return False
