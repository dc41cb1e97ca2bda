"""Audio inside Kaldi's archives (``.ark``): an entry is named by its byte, as ``wav.scp`` has it (``x.ark:42``).

An entry is a whole file: a WAV, whose header states its length; what kaldiio and ESPnet write, ``AUDIO``, the length
and a file of any kind; or a FLAC that is the last one. Matrices of features are no audio.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from llaso_data.io import storage
from llaso_data.io.archive import WHOLE_READ_BYTES, ArchiveError
from llaso_data.io.views import View

_HEAD_BYTES = 16
_RIFF_HEADER_BYTES = 8
_UNCLOSED = (0, 0xFFFFFFFF)  # what a program that wrote into a pipe states as a WAV's length


@contextmanager
def open_entry(uri: str, member: str) -> Iterator[BinaryIO]:
    """Open one entry, seekable and in place.

    Args:
        uri: The ark.
        member: The byte that the entry begins at, in digits.

    Raises:
        FileNotFoundError: There is no such file, or the member is no number of a byte.
        ArchiveError: There is no audio at this byte.
    """
    if not (member.isascii() and member.isdigit()):
        raise FileNotFoundError(f"{uri}!{member}: an entry of an ark is named by the byte that it begins at")
    with storage.open_read(uri) as file:
        begin, size = _place(uri, int(member[:20]), cast(BinaryIO, file))
        view = cast(BinaryIO, io.BufferedReader(View(file, begin, size)))
        yield view if storage.is_local(uri) or size > WHOLE_READ_BYTES else io.BytesIO(view.read())


def _place(uri: str, offset: int, file: BinaryIO) -> tuple[int, int]:
    """Where the file inside an entry begins, and its length in bytes."""
    end = file.seek(0, io.SEEK_END)
    if offset >= end:
        raise ArchiveError(f"{uri}: it ends before byte {offset}; fetch it again, or make its wav.scp again")
    file.seek(offset)
    head = file.read(_HEAD_BYTES)
    if head[:5] == b"AUDIO" and len(head) > 5:
        digits = head[5]
        length = int.from_bytes(head[6 : 6 + digits], "little")
        begin = offset + 6 + digits
        if digits > 8 or begin + length > end:
            raise ArchiveError(f"{uri}: the entry at byte {offset} is cut short; fetch it again")
        return begin, length
    if head[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        whole = end - offset if length in _UNCLOSED else length + _RIFF_HEADER_BYTES
        return offset, min(whole, end - offset)  # of one that is cut short the decoder says so
    if head[:4] == b"fLaC":
        return offset, end - offset  # it does not state its length: others after it would be taken for its own
    if head[:2] == b"\0B":
        raise ArchiveError(
            f"{uri}: the entry at byte {offset} is a matrix, and no audio; give the wav.scp of the audio"
        )
    raise ArchiveError(f"{uri}: no WAV, FLAC or AUDIO begins at byte {offset}; make its wav.scp again")
