"""The two decoders of :mod:`llaso_data.audio`: libsndfile, and FFmpeg (through PyAV) for what libsndfile cannot read.

Both give a :class:`Track`: float32 blocks of (frames, channels) at the file's own rate. The first decoder that opens
the file decodes it. A fault later in the file is an error, never a reason to try the other one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from llaso_data.audio import unclosed
from llaso_data.audio.containers import container_name, mp3_states_length, present_share, wave_format
from llaso_data.audio.joined import file_ranges
from llaso_data.errors import AudioError
from llaso_data.io.views import View

BLOCK_FRAMES = 65_536
LOSSY_TOLERANCE = 0.01  # mp3, Ogg and what FFmpeg reads state durations to about a packet, so up to this share …
LOSSY_TOLERANCE_S = 0.25  # … or this many seconds may be missing before a file counts as cut short
RATES_HZ = range(1_000, 768_001)
SNDFILE_MALLOC_FAILED = 17  # libsndfile, common.h: SFE_MALLOC_FAILED

RAW = frozenset(("g722",))  # extensions of raw streams, which have no header

# fmt: off
FFMPEG_ONLY = frozenset((
    "aac", "m4a", "m4b", "mp4", "m4v", "mkv", "mka", "webm", "mov", "avi", "wma", "wmv", "asf", "flv", "3gp",
    "amr", "awb", "ac3", "mpg", "mpeg", "ts",
))
# fmt: on
# Without this list FFmpeg also opens playlists, which name other files and addresses to read.
FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,asf,au,avi,caf,eac3,flac,flv,g722,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,"
    "mpegts,ogg,rm,tta,voc,w64,wav,wv,ape"
)

_COUNTING = frozenset(("wav", "wavex", "aiff", "flac", "w64", "rf64", "au", "caf"))
_LOSSLESS = ("pcm_", "float", "double", "ulaw", "alaw", "flac", "alac", "dpcm", "dwvw")
"""The beginnings of libsndfile's and FFmpeg's names of codecs that code every sample."""

Block = npt.NDArray[np.float32]


@dataclass
class Track:
    """The audio of one open file.

    Where files lie one after another in the file (links, as Ogg calls them), ``rate_hz``, ``stated_frames`` and
    ``decoded_frames`` are of the link that blocks come from.

    Attributes:
        rate_hz: the file's own.
        channels: how many.
        codec: container and codec, such as ``wav/pcm_16``.
        stated_frames: the length that the header states; None where it states none.
        blocks: float32 from -1 to 1, shape (frames, channels).
        decoded_frames: how many came so far.
        present_share: as :func:`llaso_data.audio.containers.present_share` gives it.
        link: the number of the link, from 0.
        earlier_links_s: seconds of audio in the links before.
    """

    rate_hz: int
    channels: int
    codec: str
    stated_frames: int | None
    blocks: Iterator[Block] = field(default_factory=lambda: iter(()))
    decoded_frames: int = 0
    present_share: float | None = None
    link: int = 0
    earlier_links_s: float = 0.0

    @property
    def decoded_s(self) -> float:
        """Seconds that came so far, of all links."""
        return self.earlier_links_s + self.decoded_frames / self.rate_hz

    def begin_link(self, rate_hz: int) -> None:
        """Begin the next link, at its own rate."""
        self.earlier_links_s, self.decoded_frames, self.stated_frames = self.decoded_s, 0, None
        self.rate_hz, self.link = rate_hz, self.link + 1


class GuardedFile:
    """A file for C callbacks, which cannot raise. After its first error, which it keeps, it reads as if at its end."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self.error: Exception | None = None

    def read(self, count: int = -1) -> bytes:
        """Read as a file does; nothing after an error."""
        if self.error is not None:
            return b""  # decoders would ask a failed store again and again, and it takes its time each time
        try:
            return self._file.read(count)
        except Exception as error:  # the clients of stores have exceptions of their own
            self.error = self.error or error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, not before the start. Returns the position."""
        try:
            base = {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._size_bytes}[whence]
            return self._file.seek(max(0, base + offset))  # damaged headers lead before the start
        except Exception as error:
            self.error = self.error or error
            return self._file.tell()

    def tell(self) -> int:
        """The position in bytes."""
        return self._file.tell()

    def check(self) -> None:
        """Raise the kept error, if any.

        Raises:
            OSError: also for an error of another kind, which is then its cause.
        """
        if isinstance(self.error, OSError):
            raise self.error
        if self.error is not None:
            raise OSError(f"{type(self.error).__name__}: {self.error}") from self.error


@contextmanager
def open_track(file: BinaryIO, label: str) -> Iterator[Track]:
    """Open the audio of a file. Files that lie one after another in it are one track, without a stated length.

    Args:
        file: seekable.
        label: what messages call it. Only of raw formats its extension matters.

    Raises:
        AudioError: ``empty`` or ``unreadable``; while blocks are taken also ``truncated``.
        OSError: where the file itself cannot be read.
    """
    size_bytes = file.seek(0, os.SEEK_END)
    if size_bytes == 0:
        raise AudioError("empty", f"{label}: the file has no bytes")
    guarded = GuardedFile(file, size_bytes)
    ranges = [(0, size_bytes)] if label.rpartition(".")[2].lower() in RAW else file_ranges(guarded, size_bytes)
    guarded.check()
    if len(ranges) == 1:
        with _open_single(file, size_bytes, label) as track:
            yield track
        return
    with _open_link(file, ranges, 0, label) as first:
        track = replace(first, stated_frames=None)
    track.blocks = _chained_blocks(track, file, ranges, label)
    yield track


@contextmanager
def _open_link(file: BinaryIO, ranges: list[tuple[int, int]], number: int, label: str) -> Iterator[Track]:
    """Open one of the files in a file; its errors say which."""
    start, end = ranges[number]
    try:
        with _open_single(cast(BinaryIO, View(file, start, end - start)), end - start, label) as track:
            yield track
    except AudioError as error:
        position = f"{number + 1} of {len(ranges)} files in it, which begins at byte {start:,}"
        raise AudioError(error.reason, f"{error.detail} ({position})") from error


def _chained_blocks(track: Track, file: BinaryIO, ranges: list[tuple[int, int]], label: str) -> Iterator[Block]:
    """The blocks of all files in a file; ``track`` follows."""
    current = (0, 0)
    for number in range(len(ranges)):
        with _open_link(file, ranges, number, label) as link:
            for block in link.blocks:
                if (number, link.link) != current:
                    current = (number, link.link)
                    track.begin_link(link.rate_hz)
                track.decoded_frames += len(block)
                yield block


@contextmanager
def _open_single(file: BinaryIO, size_bytes: int, label: str) -> Iterator[Track]:
    guarded = GuardedFile(file, size_bytes)
    extension = label.rpartition(".")[2].lower()
    share = None
    try:
        if extension not in RAW and (stated := unclosed.patches(guarded, size_bytes)):
            guarded = GuardedFile(cast(BinaryIO, unclosed.PatchedFile(file, stated)), size_bytes)
        share = None if extension in RAW else present_share(guarded, size_bytes)
        opened = _open_decoder(guarded, label, size_bytes, extension)
    except Exception as error:
        guarded.check()
        if isinstance(error, AudioError) and share is not None:
            raise AudioError("truncated", f"{label}: cut short, nothing came out; fetch the file again") from error
        audio_error = _as_audio_error(error, guarded, label)
        if audio_error is error:
            raise
        raise audio_error from error
    guarded.check()
    track, handle = opened
    track.present_share = share
    with handle:
        if track.rate_hz not in RATES_HZ or track.channels < 1:
            detail = f"{label}: {track.rate_hz} Hz with {track.channels} channels is not audio"
            raise AudioError("unreadable", detail)
        track.blocks = _checked_blocks(track, track.blocks, guarded, label)
        yield track


def _open_decoder(guarded: GuardedFile, label: str, size_bytes: int, extension: str) -> tuple[Track, Any]:
    if extension in RAW:
        name = container_name(guarded)
        if name is not None:
            detail = f"{label}: it is {name}, and its ending stands for a raw stream; rename it or take it out"
            raise AudioError("unreadable", detail)
        return _open_ffmpeg(guarded, label, extension)
    track = None if extension in FFMPEG_ONLY else _open_sndfile(guarded, label, size_bytes)
    return track or _open_ffmpeg(guarded, label, None)


def _as_audio_error(error: Exception, guarded: GuardedFile, label: str) -> Exception:
    """A decoder's exception as the file's AudioError; errors of memory and of the system stay as they are."""
    if isinstance(error, (AudioError, MemoryError, OSError)):
        return error
    format_name = wave_format(guarded) or "its audio"
    cause = f"{type(error).__name__}: {_error_text(error)}"
    return AudioError("unreadable", f"{label}: {format_name} cannot be decoded ({cause}); convert it or take it out")


def _checked_blocks(track: Track, blocks: Iterator[Block], guarded: GuardedFile, label: str) -> Iterator[Block]:
    """Count blocks, and check at the end that all came. A store's error is raised before the decoder's."""
    try:
        for block in blocks:
            track.decoded_frames += len(block)
            yield block
    except Exception as error:
        guarded.check()
        audio_error = _as_audio_error(error, guarded, label)
        if audio_error is error:
            raise
        raise audio_error from error
    guarded.check()
    stated = track.stated_frames or 0
    exact = _states_exactly(track.codec)
    if track.present_share is not None and exact:
        stated = round(track.decoded_frames / track.present_share) if track.present_share else stated
        track.stated_frames = stated
    elif track.present_share is not None:
        raise _truncated(track, label)
    allowed = 0.0 if exact else max(LOSSY_TOLERANCE_S * track.rate_hz, LOSSY_TOLERANCE * stated)
    if stated - track.decoded_frames > allowed:
        raise _truncated(track, label)


def _states_exactly(codec: str) -> bool:
    """Whether exactly as many samples come out as the header states.

    That needs a container that counts samples and a codec that adds none. MP3 in a WAV adds its encoder's delay; ADPCM
    and GSM fill their last block.
    """
    container, _, inside = codec.partition("/")
    return container in _COUNTING and (inside or container).startswith(_LOSSLESS)


def _truncated(track: Track, label: str, why: str = "") -> AudioError:
    decoded = f"{track.decoded_frames / track.rate_hz:.2f} s came out"
    if track.stated_frames:
        decoded += f" of the {track.stated_frames / track.rate_hz:.2f} s that it states"
    return AudioError("truncated", f"{label}: cut short or damaged: {decoded}{why}; fetch the file again")


# libsndfile


def _open_sndfile(guarded: GuardedFile, label: str, size_bytes: int) -> tuple[Track, Any] | None:
    """The track, or None where libsndfile does not know the format."""
    import soundfile

    class Sequential(soundfile.SoundFile):  # type: ignore[misc]
        """A file that soundfile never seeks in after a read: a seek changes what Opus and mp3 decode to."""

        def seekable(self) -> bool:
            return False

    guarded.seek(0)
    try:
        handle = Sequential(cast(Any, guarded))
    except (soundfile.LibsndfileError, TypeError) as error:
        if getattr(error, "code", None) == SNDFILE_MALLOC_FAILED:
            raise MemoryError(_error_text(error)) from error
        return None
    if handle.format == "MP3" and not mp3_states_length(guarded):
        handle.close()
        return None
    frames = handle.frames if 0 < handle.frames < 1 << 62 else None  # a FLAC from a pipe states no length
    track = Track(handle.samplerate, handle.channels, f"{handle.format}/{handle.subtype}".lower(), frames)

    def blocks() -> Iterator[Block]:
        while True:
            try:
                block = handle.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                if guarded.tell() >= size_bytes:
                    raise _truncated(track, label, f" ({_error_text(error)})") from error
                detail = f"{label}: damaged ({_error_text(error)}); fetch the file again"
                raise AudioError("unreadable", detail) from error
            if not len(block):
                break
            yield block

    track.blocks = blocks()
    return track, handle


def _error_text(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).strip().rstrip(".")


# FFmpeg


def _open_ffmpeg(guarded: GuardedFile, label: str, format: str | None) -> tuple[Track, Any]:
    import av

    guarded.seek(0)
    try:
        container = av.open(cast(Any, guarded), format=format, options={"format_whitelist": FORMATS})
    except (av.error.FFmpegError, ValueError) as error:
        cause = f"neither libsndfile nor FFmpeg reads it as audio ({_error_text(error)})"
        detail = f"{label}: {cause}; convert it or take it out"
        raise AudioError("unreadable", detail) from error
    if not container.streams.audio:
        container.close()
        raise AudioError("unreadable", f"{label}: no audio track in it; take it out")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        container.close()
        format_name = wave_format(guarded) or "its audio"
        raise AudioError("unreadable", f"{label}: FFmpeg has no decoder for {format_name}; convert it or take it out")
    rate_hz, channels = stream.codec_context.sample_rate or 0, stream.codec_context.channels
    name = stream.codec_context.name
    codec = name if container.format.name == name else f"{container.format.name.split(',')[0]}/{name}"
    track = Track(rate_hz, channels, codec, _stated_frames(container, stream, guarded))

    def blocks() -> Iterator[Block]:
        try:
            for frame in container.decode(stream):
                if frame.sample_rate != track.rate_hz:
                    if (
                        container.format.name != "mp3" or frame.sample_rate not in RATES_HZ
                    ):  # in joined MP3s without tags it may
                        detail = f"{label}: its rate changes from {rate_hz} to {frame.sample_rate} Hz; convert it first"
                        raise AudioError("unreadable", detail)
                    track.begin_link(frame.sample_rate)
                yield _frame_block(frame)
        except av.error.FFmpegError as error:
            raise _truncated(track, label, f" ({_error_text(error)})") from error

    track.blocks = blocks()
    return track, container


def _stated_frames(container: Any, stream: Any, guarded: GuardedFile) -> int | None:
    """The length of the audio track that the container states, in frames; None where it states none.

    A raw AAC stream and an mp3 without a Xing tag state none: FFmpeg estimates it from the bit rate.
    """
    rate_hz: int = stream.codec_context.sample_rate or 0
    if container.format.name == "aac":
        return None
    if container.format.name == "mp3" and not mp3_states_length(guarded):
        return None
    if stream.duration is not None:
        return round(float(stream.duration * stream.time_base) * rate_hz)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))  # Matroska
    if tag is not None:
        hours, minutes, seconds = (float(part) for part in tag.groups())
        return round((hours * 3600 + minutes * 60 + seconds) * rate_hz)
    if container.duration is not None and len(container.streams) == 1:
        return round(float(container.duration) / 1_000_000 * rate_hz)
    return None


def _frame_block(frame: Any) -> Block:
    """A frame of any sample format as float32 from −1 to 1, shape (samples, channels)."""
    data = frame.to_ndarray()
    channels = frame.layout.nb_channels
    data = data.T if frame.format.is_planar else data.reshape(-1, channels)
    if data.dtype.kind == "f":
        return cast(Block, data.astype(np.float32))
    if data.dtype == np.uint8:
        return cast(Block, (data.astype(np.float32) - np.float32(128)) / np.float32(128))
    return cast(Block, (data / float(-np.iinfo(data.dtype).min)).astype(np.float32))
