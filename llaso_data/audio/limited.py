"""What :mod:`llaso_data.audio` gives of a file, decoded within limits of time and memory: for the files of strangers.

All of it goes through the process of :mod:`llaso_data.audio.decode_worker`, which ends with the thread that asked
first: decode many files in one thread.
"""

from __future__ import annotations

from llaso_data.audio import Pcm, Probe, Span, decode_worker
from llaso_data.audio.mixing import Channels
from llaso_data.errors import AudioError
from llaso_data.records import Source

STALL_S = 120.0
MEMORY_MB = 2048
MOST_S = 6 * 3600.0
"""The limits where no recipe says others; the last is of one sound."""


def decode(
    uri: str,
    member: str | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    max_duration_s: float | None = None,
    channels: Channels | None = None,
) -> tuple[Pcm, Probe]:
    """Decode as :func:`llaso_data.audio.decode` does, within limits.

    Raises:
        AudioError: as there, and ``stuck``, ``too_much_memory`` and ``crashed``.
    """
    (piece,), probe = _spans(uri, member, [(start_s, end_s, channels)], max_duration_s)
    return _pcm(piece), probe


def decode_source(source: Source, max_duration_s: float | None = None) -> Pcm:
    """Decode the very sound that a record points to: its file, span and channels.

    Args:
        source: of the record.
        max_duration_s: the most that may come out.

    Returns:
        int16 samples at 16 kHz, shape (samples,).

    Raises:
        AudioError: as :func:`decode` does.
    """
    span = (source.start_s, source.end_s, source.chosen)
    (piece,), _ = _spans(source.uri, source.member, [span], max_duration_s, as_mixed=source.is_probed)
    return _pcm(piece)


def decode_bytes(data: bytes, name: str = "", max_duration_s: float = MOST_S) -> Pcm:
    """Decode a file in memory as :func:`llaso_data.audio.decode_bytes` does, within limits.

    Raises:
        AudioError: as :func:`decode` does.
    """
    (piece,), _ = _spans(name or "audio", None, [(None, None)], max_duration_s, data)
    return _pcm(piece)


def probe(uri: str, member: str | None = None, data: bytes | None = None) -> Probe:
    """Read what a file states of itself as :func:`llaso_data.audio.probe` does, within limits.

    Args:
        uri: the file, or the tar that it lies in.
        member: the tar's member; None for the file itself.
        data: the bytes of a file in memory, which ``uri`` then only names.

    Raises:
        AudioError: as :func:`decode` does.
    """
    return _spans(uri, member, [], None, data)[1]


def beginning(uri: str, member: str | None, most_s: float) -> tuple[Pcm, bool]:
    """Decode the first ``most_s`` seconds of a file.

    Returns:
        int16 samples at 16 kHz, shape (samples,), and whether the file is longer.

    Raises:
        AudioError: as :func:`decode` does.
    """
    (whole, first), _ = _spans(uri, member, [(None, None), (0.0, most_s)], most_s)
    if isinstance(whole, AudioError) and whole.reason == "too_long":
        return _pcm(first), True
    return _pcm(whole), False


def _spans(
    uri: str,
    member: str | None,
    spans: list[Span],
    max_duration_s: float | None,
    data: bytes | None = None,
    as_mixed: bool = False,
) -> tuple[list[Pcm | AudioError], Probe]:
    return decode_worker.decode_spans(
        uri, member, spans, max_duration_s, stall_s=STALL_S, memory_mb=MEMORY_MB, data=data, as_mixed=as_mixed
    )


def _pcm(piece: Pcm | AudioError) -> Pcm:
    if isinstance(piece, AudioError):
        raise piece
    return piece
