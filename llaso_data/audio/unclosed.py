"""Headers of streams that nobody closed: a program that writes into a pipe cannot come back to say how much it wrote.

What such headers state is 0, or all ones; the samples follow to the end of the file. libsndfile knows some of these and
finds "no samples" in the others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

from llaso_data.audio.containers import PLACEHOLDER_BYTES
from llaso_data.io.views import SeekableFile

_HEAD_BYTES = 1 << 16  # where the headers lie


class Patched:
    """A file some of whose bytes are others. ``patches``: place → the bytes there."""

    def __init__(self, file: SeekableFile, patches: Mapping[int, bytes]) -> None:
        self._file = file
        self._patches = patches

    def read(self, count: int = -1) -> bytes:
        start = self._file.tell()
        data = bytearray(self._file.read(count))
        for place, right in self._patches.items():
            first, last = max(place, start), min(place + len(right), start + len(data))
            if first < last:
                data[first - start : last - start] = right[first - place : last - place]
        return bytes(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def patches(file: SeekableFile, size_bytes: int) -> dict[int, bytes]:
    """What a closed file of the same samples would have in its header; empty where nothing is to be changed.

    Knows WAV, RF64, AIFF and AU.
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
    found = _chunks(head, "little")
    data = found.get(b"data")
    if data is None:
        return {}
    there = size_bytes - data - 8
    wide = found.get(b"ds64")
    stated = int.from_bytes(head[data + 4 : data + 8], "little")
    if head[:4] == b"RF64" and wide is not None:
        stated = int.from_bytes(head[wide + 16 : wide + 24], "little")
        unsaid = stated in (0, (1 << 64) - 1)
    else:
        unsaid = stated == 0
    if there <= 0 or not unsaid or _only_chunks(head[data + 8 :], there):
        return {}
    if wide is not None and head[:4] == b"RF64":
        sizes = (size_bytes - 8, there, 0)
        return {
            data + 4: b"\xff" * 4,
            wide + 8: b"".join(size.to_bytes(8, "little") for size in sizes),
        }
    whole = int.from_bytes(head[4:8], "little")
    if size_bytes - 8 < whole < PLACEHOLDER_BYTES:  # closed, and cut later
        there, size_bytes = whole - data, whole + 8
    return {
        4: min(size_bytes - 8, PLACEHOLDER_BYTES).to_bytes(4, "little"),
        data + 4: min(there, PLACEHOLDER_BYTES).to_bytes(4, "little"),
    }


def _aiff(head: bytes, size_bytes: int) -> dict[int, bytes]:
    found = _chunks(head, "big")
    sound, common = found.get(b"SSND"), found.get(b"COMM")
    if sound is None or common is None:
        return {}
    stated, there = int.from_bytes(head[sound + 4 : sound + 8], "big"), size_bytes - sound - 8
    frames = int.from_bytes(head[common + 10 : common + 14], "big")
    frame_bytes = int.from_bytes(head[common + 8 : common + 10], "big") * -(-int.from_bytes(
        head[common + 14 : common + 16], "big"
    ) // 8)  # fmt: skip
    if frames or stated not in (0, 8) or there <= 8 or not frame_bytes or _only_chunks(head[sound + 16 :], there - 8):
        return {}
    return {
        4: (size_bytes - 8).to_bytes(4, "big"),
        sound + 4: there.to_bytes(4, "big"),
        common + 10: ((there - 8) // frame_bytes).to_bytes(4, "big"),
    }


def _chunks(head: bytes, endian: Literal["little", "big"]) -> dict[bytes, int]:
    """Where the chunks of a file begin, to the one with the samples."""
    found: dict[bytes, int] = {}
    at = 12
    while at + 8 <= len(head):
        name = head[at : at + 4]
        found.setdefault(name, at)
        if name in (b"data", b"SSND"):
            break
        size = int.from_bytes(head[at + 4 : at + 8], endian)
        at += 8 + size + size % 2
    return found


def _only_chunks(rest: bytes, size_bytes: int) -> bool:
    """Whether what follows an empty chunk of samples is other chunks to the end: then it is empty indeed."""
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
