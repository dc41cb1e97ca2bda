"""The functions of :mod:`llaso_data.audio` within limits of time and memory, for files that nobody has checked.

They decode in the process of :mod:`llaso_data.audio.decode_worker`. That process ends with the thread that started it:
decode many files in one thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from llaso_data.audio import Pcm, Probe, Span, decode_worker
from llaso_data.audio.mixing import Channels
from llaso_data.errors import AudioError
from llaso_data.records import Source

STALL_S = 120.0
MEMORY_MB = 2048
MAX_DURATION_S = 6 * 3600.0
"""The limits where no recipe sets others: seconds without progress, memory in MiB, seconds of one file."""


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
    (decoded,), probe = _spans(uri, member, [(start_s, end_s, channels)], max_duration_s)
    return _pcm(decoded), probe


def decode_spans(
    uri: str, member: str | None, spans: Sequence[Span], *, as_mixed: bool = False
) -> list[Pcm | AudioError]:
    """Decode many spans of one file in one pass, as :func:`llaso_data.audio.decode_spans` does.

    Args:
        uri: the file, or the tar that it lies in.
        member: the tar's member; None for the file itself.
        spans: start and end in seconds and channels; at most :data:`MAX_DURATION_S` of each.
        as_mixed: average channels that cancel all the same.

    Returns:
        For each span its PCM, int16 of shape (samples,), or why it cannot be had.
    """
    try:
        return _spans(uri, member, list(spans), MAX_DURATION_S, as_mixed=as_mixed)[0]
    except AudioError as error:
        return [error] * len(spans)


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
    (decoded,), _ = _spans(source.uri, source.member, [span], max_duration_s, as_mixed=source.is_probed)
    return _pcm(decoded)


def decode_bytes(data: bytes, name: str = "", max_duration_s: float = MAX_DURATION_S, span: Span = (None, None)) -> Pcm:
    """Decode a file in memory as :func:`llaso_data.audio.decode_bytes` does, within limits.

    Raises:
        AudioError: as :func:`decode` does.
    """
    (decoded,), _ = _spans(name or "audio", None, [span], max_duration_s, data)
    return _pcm(decoded)


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


def decode_beginning(uri: str, member: str | None, max_s: float) -> tuple[Pcm, bool]:
    """Decode the first ``max_s`` seconds of a file.

    Returns:
        int16 samples at 16 kHz, shape (samples,), and whether the file is longer.

    Raises:
        AudioError: as :func:`decode` does.
    """
    (whole, first), _ = _spans(uri, member, [(None, None), (0.0, max_s)], max_s)
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


def _pcm(decoded: Pcm | AudioError) -> Pcm:
    if isinstance(decoded, AudioError):
        raise decoded
    return decoded
