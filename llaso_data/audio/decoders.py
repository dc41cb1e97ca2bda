"""The two decoders behind ``audio.py``: libsndfile first, FFmpeg (through PyAV) for what it does not read.

Both give a :class:`Track`: float32 blocks of (frames, channels) at the file's own rate. A decoder is chosen by
what opens the file, once; a fault later in the file is an error, never a reason to try the other one.
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
from llaso_data.audio.containers import cut_share, mp3_states_length, no_raw_stream, wave_format
from llaso_data.audio.joined import links
from llaso_data.errors import AudioError
from llaso_data.io.views import View

BLOCK_FRAMES = 65_536
LOSSY_TOLERANCE = 0.01  # mp3, Ogg and what FFmpeg reads state durations to about a packet, so up to this share …
LOSSY_TOLERANCE_S = 0.25  # … or this many seconds may be missing before a file counts as cut short
RATES_HZ = range(1_000, 768_001)
SNDFILE_MALLOC_FAILED = 17  # libsndfile, common.h: SFE_MALLOC_FAILED

RAW = frozenset(("g722",))  # nothing in such a file says what it is: the ending does

# fmt: off
FFMPEG_ONLY = frozenset((
    "aac", "m4a", "m4b", "mp4", "m4v", "mkv", "mka", "webm", "mov", "avi", "wma", "wmv", "asf", "flv", "3gp",
    "amr", "awb", "ac3", "mpg", "mpeg", "ts",
))
# fmt: on
# FFmpeg also knows playlists, which name other files and addresses to read. Audio never is one of these.
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
    """The audio of one open file. ``stated_frames``: what its header says; ``decoded_frames``: what came so far."""

    rate_hz: int
    channels: int
    codec: str
    stated_frames: int | None
    blocks: Iterator[Block] = field(default_factory=lambda: iter(()))
    decoded_frames: int = 0
    cut: float | None = None  # see containers.cut_share
    link: int = 0
    """The number of the file in the file that blocks come from; ``rate_hz`` and ``decoded_frames`` are of that one."""
    before_s: float = 0.0

    @property
    def decoded_s(self) -> float:
        return self.before_s + self.decoded_frames / self.rate_hz

    def turn(self, rate_hz: int) -> None:
        """What comes from now on is another file's, at a rate of its own."""
        self.before_s, self.decoded_frames, self.stated_frames = self.decoded_s, 0, None
        self.rate_hz, self.link = rate_hz, self.link + 1


class GuardedFile:
    """A file for C callbacks, which cannot raise: it keeps the first error instead and reads as if at its end."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self.error: Exception | None = None

    def read(self, count: int = -1) -> bytes:
        if self.error is not None:
            return b""  # a store that failed once took its time: decoders would ask again and again
        try:
            return self._file.read(count)
        except Exception as error:  # stores raise their clients' own kinds
            self.error = self.error or error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            base = {os.SEEK_SET: 0, os.SEEK_CUR: self._file.tell(), os.SEEK_END: self._size_bytes}[whence]
            return self._file.seek(max(0, base + offset))  # damaged headers ask for places before the start
        except Exception as error:
            self.error = self.error or error
            return self._file.tell()

    def tell(self) -> int:
        return self._file.tell()

    def check(self) -> None:
        """Raises the kept error as an OSError."""
        if isinstance(self.error, OSError):
            raise self.error
        if self.error is not None:
            raise OSError(f"{type(self.error).__name__}: {self.error}") from self.error


@contextmanager
def open_track(file: BinaryIO, label: str) -> Iterator[Track]:
    """The audio of a seekable file; the extension at the end of ``label`` matters only for raw formats.

    Files that lie one after another in the file are one track, without a stated length. Raises AudioError ``empty``
    or ``unreadable`` here, and those and ``truncated`` while blocks are taken; OSError where the file itself could
    not be read.
    """
    size_bytes = file.seek(0, os.SEEK_END)
    if size_bytes == 0:
        raise AudioError("empty", f"{label}: the file has no bytes")
    guarded = GuardedFile(file, size_bytes)
    places = [(0, size_bytes)] if label.rpartition(".")[2].lower() in RAW else links(guarded, size_bytes)
    guarded.check()
    if len(places) == 1:
        with _one(file, size_bytes, label) as track:
            yield track
        return
    with _linked(file, places, 0, label) as first:
        track = replace(first, stated_frames=None)
    track.blocks = _chained(track, file, places, label)
    yield track


@contextmanager
def _linked(file: BinaryIO, places: list[tuple[int, int]], number: int, label: str) -> Iterator[Track]:
    """One of the files in a file; its errors say which."""
    start, end = places[number]
    try:
        with _one(cast(BinaryIO, View(file, start, end - start)), end - start, label) as track:
            yield track
    except AudioError as error:
        which = f"{number + 1} of {len(places)} files in it, which begins at byte {start:,}"
        raise AudioError(error.reason, f"{error.detail} ({which})") from error


def _chained(track: Track, file: BinaryIO, places: list[tuple[int, int]], label: str) -> Iterator[Block]:
    """The blocks of all files in the file; ``track`` goes along."""
    last = (0, 0)
    for number in range(len(places)):
        with _linked(file, places, number, label) as link:
            for block in link.blocks:
                if (number, link.link) != last:
                    last = (number, link.link)
                    track.turn(link.rate_hz)
                track.decoded_frames += len(block)
                yield block


@contextmanager
def _one(file: BinaryIO, size_bytes: int, label: str) -> Iterator[Track]:
    guarded = GuardedFile(file, size_bytes)
    extension = label.rpartition(".")[2].lower()
    cut = None
    try:
        if extension not in RAW and (stated := unclosed.patches(guarded, size_bytes)):
            guarded = GuardedFile(cast(BinaryIO, unclosed.Patched(file, stated)), size_bytes)
        cut = None if extension in RAW else cut_share(guarded, size_bytes)
        opened = _opened(guarded, label, size_bytes, extension)
    except Exception as error:
        guarded.check()
        if isinstance(error, AudioError) and cut is not None:
            raise AudioError("truncated", f"{label}: cut short, nothing came out; fetch the file again") from error
        failed = _failed(error, guarded, label)
        if failed is error:
            raise
        raise failed from error
    guarded.check()
    track, handle = opened
    track.cut = cut
    with handle:
        if track.rate_hz not in RATES_HZ or track.channels < 1:
            detail = f"{label}: {track.rate_hz} Hz with {track.channels} channels is not audio"
            raise AudioError("unreadable", detail)
        track.blocks = _counted(track, track.blocks, guarded, label)
        yield track


def _opened(guarded: GuardedFile, label: str, size_bytes: int, extension: str) -> tuple[Track, Any]:
    if extension in RAW:
        named = no_raw_stream(guarded)
        if named is not None:
            detail = f"{label}: it is {named}, and its ending stands for a raw stream; rename it or take it out"
            raise AudioError("unreadable", detail)
        return _open_ffmpeg(guarded, label, extension)
    known = None if extension in FFMPEG_ONLY else _open_sndfile(guarded, label, size_bytes)
    return known or _open_ffmpeg(guarded, label, None)


def _failed(error: Exception, guarded: GuardedFile, label: str) -> Exception:
    """A decoder's own exception as the file's failure; what is none of the file's as it is."""
    if isinstance(error, (AudioError, MemoryError, OSError)):
        return error
    what = wave_format(guarded) or "its audio"
    said = f"{type(error).__name__}: {_said(error)}"
    return AudioError("unreadable", f"{label}: {what} cannot be decoded ({said}); convert it or take it out")


def _counted(track: Track, blocks: Iterator[Block], guarded: GuardedFile, label: str) -> Iterator[Block]:
    """The blocks, counted, with the store's own error before the decoder's and a check at the end."""
    try:
        for block in blocks:
            track.decoded_frames += len(block)
            yield block
    except Exception as error:
        guarded.check()
        failed = _failed(error, guarded, label)
        if failed is error:
            raise
        raise failed from error
    guarded.check()
    stated = track.stated_frames or 0
    exact = _states_exactly(track.codec)
    if track.cut is not None and exact:
        stated = round(track.decoded_frames / track.cut) if track.cut else stated
        track.stated_frames = stated
    elif track.cut is not None:
        raise _truncated(track, label)
    allowed = 0.0 if exact else max(LOSSY_TOLERANCE_S * track.rate_hz, LOSSY_TOLERANCE * stated)
    if stated - track.decoded_frames > allowed:
        raise _truncated(track, label)


def _states_exactly(codec: str) -> bool:
    """Whether as many samples come out as the header states: a container that counts them, and a codec with no others.

    MP3 in a WAV has the delay of its encoder, ADPCM and GSM fill a last block.
    """
    container, _, inside = codec.partition("/")
    return container in _COUNTING and (inside or container).startswith(_LOSSLESS)


def _truncated(track: Track, label: str, why: str = "") -> AudioError:
    came = f"{track.decoded_frames / track.rate_hz:.2f} s came out"
    if track.stated_frames:
        came += f" of the {track.stated_frames / track.rate_hz:.2f} s that it states"
    return AudioError("truncated", f"{label}: cut short or damaged: {came}{why}; fetch the file again")


# libsndfile


def _open_sndfile(guarded: GuardedFile, label: str, size_bytes: int) -> tuple[Track, Any] | None:
    """The track, or None where libsndfile does not know the format."""
    import soundfile

    class Sequential(soundfile.SoundFile):  # type: ignore[misc]
        """soundfile seeks after every read of a seekable file, and a seek changes what Opus and mp3 decode to."""

        def seekable(self) -> bool:
            return False

    guarded.seek(0)
    try:
        handle = Sequential(cast(Any, guarded))
    except (soundfile.LibsndfileError, TypeError) as error:
        if getattr(error, "code", None) == SNDFILE_MALLOC_FAILED:
            raise MemoryError(_said(error)) from error
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
                    raise _truncated(track, label, f" ({_said(error)})") from error
                raise AudioError("unreadable", f"{label}: damaged ({_said(error)}); fetch the file again") from error
            if not len(block):
                break
            yield block

    track.blocks = blocks()
    return track, handle


def _said(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return str(text).strip().rstrip(".")


# FFmpeg


def _open_ffmpeg(guarded: GuardedFile, label: str, format: str | None) -> tuple[Track, Any]:
    import av

    guarded.seek(0)
    try:
        container = av.open(cast(Any, guarded), format=format, options={"format_whitelist": FORMATS})
    except (av.error.FFmpegError, ValueError) as error:
        known = "neither libsndfile nor FFmpeg reads it as audio"
        detail = f"{label}: {known} ({_said(error)}); convert it or take it out"
        raise AudioError("unreadable", detail) from error
    if not container.streams.audio:
        container.close()
        raise AudioError("unreadable", f"{label}: no audio track in it; take it out")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        container.close()
        what = wave_format(guarded) or "its audio"
        raise AudioError("unreadable", f"{label}: FFmpeg has no decoder for {what}; convert it or take it out")
    rate_hz, channels = stream.codec_context.sample_rate or 0, stream.codec_context.channels
    name = stream.codec_context.name
    codec = name if container.format.name == name else f"{container.format.name.split(',')[0]}/{name}"
    track = Track(rate_hz, channels, codec, _stated_frames(container, stream, guarded))

    def blocks() -> Iterator[Block]:
        try:
            for frame in container.decode(stream):
                if frame.sample_rate != track.rate_hz:
                    if container.format.name != "mp3" or frame.sample_rate not in RATES_HZ:  # MP3 without tags, joined
                        detail = f"{label}: its rate changes from {rate_hz} to {frame.sample_rate} Hz; convert it first"
                        raise AudioError("unreadable", detail)
                    track.turn(frame.sample_rate)
                yield _frame_block(frame)
        except av.error.FFmpegError as error:
            raise _truncated(track, label, f" ({_said(error)})") from error

    track.blocks = blocks()
    return track, container


def _stated_frames(container: Any, stream: Any, guarded: GuardedFile) -> int | None:
    """What the container says of the audio track's own length, in frames; None where that is a guess.

    A raw AAC stream has no length, an mp3 without a Xing tag neither: FFmpeg estimates it from the bit rate.
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
    """(samples, channels) float32 in −1…1 of a frame of any sample format."""
    data = frame.to_ndarray()
    channels = frame.layout.nb_channels
    data = data.T if frame.format.is_planar else data.reshape(-1, channels)
    if data.dtype.kind == "f":
        return cast(Block, data.astype(np.float32))
    if data.dtype == np.uint8:
        return cast(Block, (data.astype(np.float32) - np.float32(128)) / np.float32(128))
    return cast(Block, (data / float(-np.iinfo(data.dtype).min)).astype(np.float32))
