"""One way to read audio: any file that libsndfile or FFmpeg reads becomes 16 kHz mono 16-bit PCM.

Decoding streams: blocks come from the decoder, are averaged over channels, resampled (soxr, HQ), rounded and
clipped, so memory is about twice that of the result. A 16 kHz mono 16-bit source comes back bit for bit.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from llaso_data.audio.decoders import open_track
from llaso_data.audio.encoding import SILENCE_DBFS as SILENCE_DBFS
from llaso_data.audio.encoding import encode as encode
from llaso_data.audio.encoding import level as level
from llaso_data.audio.mixing import FULL_SCALE as FULL_SCALE
from llaso_data.audio.mixing import SAMPLE_RATE_HZ as SAMPLE_RATE_HZ
from llaso_data.audio.mixing import ChannelMixer, Channels, file_channel
from llaso_data.audio.mixing import Pcm as Pcm
from llaso_data.audio.mixing import to_int16 as to_int16
from llaso_data.audio.spans import Span as Span
from llaso_data.audio.spans import SpanSlice
from llaso_data.audio.stored import as_stored as as_stored
from llaso_data.audio.tracks import Track
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.io import archive, members, storage
from llaso_data.records import digest

# fmt: off
AUDIO_EXTENSIONS = frozenset((
    "wav", "wave", "w64", "rf64", "flac", "mp3", "mp2", "ogg", "oga", "opus", "spx", "aiff", "aif", "aifc", "au",
    "snd", "caf", "m4a", "m4b", "aac", "g722", "wma", "amr", "awb", "ac3", "mp4", "m4v", "mkv", "mka", "webm",
    "mov", "avi", "mpg", "mpeg", "ts", "flv", "wmv", "asf", "3gp", "sph", "nist", "wv1", "wv2",
))
"""Extensions, lower case and without dot, of what a folder is searched for; content decides how a file is read."""
# fmt: on


@dataclass(frozen=True, slots=True)
class Probe:
    """What a file states of itself.

    Attributes:
        duration_s: None where the file does not state it.
        sampling_rate_hz: the file's own.
        channels: how many.
        codec: container and codec, such as ``wav/pcm_16``.
        taken: for each span the channel that stands for an average that cancels, or None; empty where no span has one.
    """

    duration_s: float | None
    sampling_rate_hz: int
    channels: int
    codec: str
    taken: tuple[int | None, ...] = ()


@contextmanager
def open_audio(uri: str, member: str | None) -> Iterator[BinaryIO]:
    """Open a file, or what lies inside one, for reading; seekable, on a disk or on a store.

    Args:
        uri: the file, or the tar, zip or table.
        member: the member's name as stored, of a table ``COLUMN/ROW``; None for the file itself.

    Raises:
        AudioError: ``missing`` or ``unreadable`` (permissions, a folder).
        LLaSOError: where a remote store fails: that says nothing of the audio and must not be recorded against it.
    """
    label = name_of(uri, member)
    try:
        if member is None:
            with storage.open_read(uri) as file:
                size_bytes = None if storage.is_local(uri) else getattr(file, "size", None)
                if size_bytes is not None and size_bytes <= archive.WHOLE_READ_BYTES:
                    yield io.BytesIO(file.read())  # it is read twice: where another file begins in it, is looked for
                else:
                    yield cast(BinaryIO, file)
        else:
            with members.open_member(uri, member) as file:
                yield file
    except FileNotFoundError as error:
        reason = f"{label}: no such file" if member is None or error.errno else str(error)
        raise AudioError("missing", f"{reason}; correct the path or remove the entry") from error
    except archive.ArchiveError as error:
        raise AudioError("unreadable", f"{label}: {str(error).removeprefix(f'{uri}: ')}") from error
    except storage.AddressError as error:
        raise AudioError("unreadable", str(error)) from error
    except OSError as error:
        if storage.is_local(uri):
            raise AudioError("unreadable", f"{label}: cannot be opened ({error.strerror or error})") from error
        raise LLaSOError(f"{label}: the store failed ({error}); run the command again") from error


def probe(uri: str, member: str | None = None) -> Probe:
    """Read rate, channels, codec and stated duration of a file, or of a tar's ``member``, without decoding it.

    Raises:
        AudioError: as :func:`decode` does.
    """
    label = name_of(uri, member)
    with open_audio(uri, member) as file, open_track(file, label) as track:
        return _probe_of(track)


def decode(
    uri: str,
    member: str | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    max_duration_s: float | None = None,
    channels: Channels | None = None,
) -> tuple[Pcm, Probe]:
    """Decode a file, or a span of it, to 16 kHz mono PCM.

    Channels are averaged. Where they cancel, as two in antiphase do, the louder is taken, else the first, and
    ``Probe.taken`` says which.

    Args:
        uri: the file, or the tar that it lies in.
        member: the tar's member; None for the file itself.
        start_s: where the span begins; None for the beginning.
        end_s: where it ends; None for the end. The span is ``[round(start_s * 16000):round(end_s * 16000)]`` of the
            whole file's PCM.
        max_duration_s: the most that may come out.
        channels: which channels are averaged, counted from 0; None for all.

    Returns:
        int16 samples of shape (samples,), and what the file states of itself.

    Raises:
        AudioError: ``missing``, ``unreadable``, ``empty``, ``truncated`` (less came out than the file states),
            ``not_finite`` (NaN or infinite samples), ``span_outside``, ``too_long`` (longer than ``max_duration_s``)
            or ``bad_channel`` (the file has no such channel).
    """
    pieces, probed = decode_spans(uri, member, [(start_s, end_s, channels)], max_duration_s)
    if isinstance(pieces[0], AudioError):
        raise pieces[0]
    return pieces[0], probed


def decode_spans(
    uri: str,
    member: str | None,
    spans: Sequence[Span],
    max_duration_s: float | None = None,
    *,
    as_mixed: bool = False,
) -> tuple[list[Pcm | AudioError], Probe]:
    """Decode many spans of one file in one pass. A span that ends before a fault in the file is not hurt by it.

    Args:
        uri: the file, or the tar that it lies in.
        member: the tar's member; None for the file itself.
        spans: start and end in seconds and channels, as :func:`decode` takes them.
        max_duration_s: the most that may come out of a span.
        as_mixed: average channels that cancel all the same, as older versions did. Without it such spans are decoded
            in a second pass, of one channel.

    Returns:
        For each span its PCM, int16 of shape (samples,), or its own AudioError; and what the file states of itself.
        Its ``duration_s`` is what was decoded, where the pass reached the end.

    Raises:
        AudioError: where the file cannot be opened at all.
    """
    label = name_of(uri, member)

    def once(chosen: Sequence[Span]) -> tuple[list[Pcm | AudioError], Probe]:
        with open_audio(uri, member) as file, open_track(file, label) as track:
            return _decode(track, label, chosen, max_duration_s)

    return once(spans) if as_mixed else decode_uncancelled(once, spans)


def decode_uncancelled(
    once: Callable[[Sequence[Span]], tuple[list[Pcm | AudioError], Probe]], spans: Sequence[Span]
) -> tuple[list[Pcm | AudioError], Probe]:
    """Decode spans with ``once``, and those whose channels cancel a second time, of one channel.

    Args:
        once: decodes spans in one pass, with results as those of :func:`decode_spans`.
        spans: what to decode.

    Returns:
        As :func:`decode_spans`.
    """
    pieces, probed = once(spans)
    cancelled = [(number, channel) for number, channel in enumerate(probed.taken) if channel is not None]
    if cancelled:
        again, _ = once([(spans[number][0], spans[number][1], (channel,)) for number, channel in cancelled])
        for (number, _), piece in zip(cancelled, again, strict=True):
            pieces[number] = piece
    return pieces, probed


def decode_bytes(data: bytes, name: str = "", span: Span = (None, None)) -> Pcm:
    """Decode an audio file in memory, such as a shard's part, to 16 kHz mono PCM.

    Args:
        data: the file's bytes.
        name: what messages call it.
        span: start and end in seconds, and channels, as :func:`decode` takes them.

    Returns:
        int16 samples of shape (samples,).

    Raises:
        AudioError: as :func:`decode` does.
    """
    label = name or "audio"

    def once(spans: Sequence[Span]) -> tuple[list[Pcm | AudioError], Probe]:
        with open_track(io.BytesIO(data), label) as track:
            return _decode(track, label, spans, None)

    piece = decode_uncancelled(once, [span])[0][0]
    if isinstance(piece, AudioError):
        raise piece
    return piece


def audio_id(pcm: Pcm) -> str:
    """The digest of PCM: 32 hexadecimal digits of its little-endian bytes, alike for equal samples."""
    return digest(np.ascontiguousarray(pcm, "<i2").data.cast("B"))


def name_of(uri: str, member: str | None) -> str:
    """What messages call a file or a member."""
    return uri if member is None else f"{uri}!{member}"


def _probe_of(track: Track) -> Probe:
    stated = None if track.stated_frames is None else track.stated_frames / track.rate_hz
    return Probe(stated, track.rate_hz, track.channels, track.codec)


def _decode(
    track: Track, label: str, spans: Sequence[Span], max_duration_s: float | None
) -> tuple[list[Pcm | AudioError], Probe]:
    parts: list[list[Pcm]] = [[] for _ in spans]
    faults, probed = decode_pass(track, label, spans, max_duration_s, lambda span, part: parts[span].append(part))
    return [np.concatenate(parts[span]) if fault is None else fault for span, fault in enumerate(faults)], probed


def decode_pass(
    track: Track,
    label: str,
    spans: Sequence[Span],
    max_duration_s: float | None,
    take: Callable[[int, Pcm], None],
) -> tuple[list[AudioError | None], Probe]:
    """Decode once and hand out what lies in each span, as it comes. Without spans nothing is decoded.

    Args:
        track: the open file.
        label: what messages call it.
        spans: what to decode.
        max_duration_s: the most that may come out of a span.
        take: called with the number of a span and its next samples.

    Returns:
        For each span its AudioError or None, and what the file states of itself. What was handed out of a span with an
        error counts for nothing. So does that of a span with a channel in ``Probe.taken``: its average cancels.
    """
    probed = _probe_of(track)
    if not spans:
        return [], probed
    slices = [SpanSlice.of(*span[:2], max_duration_s, label) for span in spans]
    mixers: dict[Channels | None, tuple[ChannelMixer, list[int]]] = {}
    for number, span in enumerate(spans):
        channels = tuple(span[2]) if len(span) > 2 and span[2] is not None else None
        mixers.setdefault(channels, (ChannelMixer(track, channels, label), []))[1].append(number)

    def hand_out(mixer: ChannelMixer, numbers: Sequence[int], pcm: Sequence[Pcm]) -> None:
        for block in pcm:
            for number in numbers:
                part = slices[number].part(mixer.position, block, max_duration_s, label)
                if part is not None:
                    take(number, part)
            mixer.position += len(block)

    pass_fault: AudioError | None = None
    try:
        for block in track.blocks:
            start_s = track.decoded_s - len(block) / track.rate_hz
            for mixer, numbers in mixers.values():
                if mixer.fault is not None or all(slices[number].done(mixer.position) for number in numbers):
                    continue
                try:
                    chosen, mono, pcm = mixer.mix(track, block)
                except AudioError as error:
                    mixer.fault = error
                    continue
                if chosen.shape[1] > 1:
                    for number in numbers:
                        slices[number].add_energies(start_s, track.rate_hz, chosen, mono)
                hand_out(mixer, numbers, pcm)
            if all(
                mixer.fault is not None or slices[number].done(mixer.position)
                for mixer, numbers in mixers.values()
                for number in numbers
            ):
                break
        else:
            for mixer, numbers in mixers.values():
                hand_out(mixer, numbers, [] if mixer.fault is not None else mixer.flush())
            probed = replace(probed, duration_s=track.decoded_s)
            if not track.decoded_s:
                pass_fault = AudioError("empty", f"{label}: no audio in it")
    except AudioError as error:
        pass_fault = error
    faults: list[AudioError | None] = [None] * len(spans)
    taken: list[int | None] = [None] * len(spans)
    for channels, (mixer, numbers) in mixers.items():
        for number in numbers:
            faults[number] = slices[number].verdict(mixer.position, mixer.fault or pass_fault, label)
            taken[number] = (
                file_channel(channels, slices[number].energies.substitute()) if faults[number] is None else None
            )
    return faults, probed if all(channel is None for channel in taken) else replace(probed, taken=tuple(taken))


def to_float32(pcm: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
    """16-bit samples, of any shape, as float32 from -1 to 1, exact."""
    return cast("npt.NDArray[np.float32]", pcm.astype(np.float32) / np.float32(FULL_SCALE))
