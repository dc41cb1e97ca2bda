"""Opens audio with libsndfile, or with FFmpeg (:mod:`llaso_data.audio.ffmpeg`) if libsndfile cannot read the file.

Both give a :class:`~llaso_data.audio.tracks.Track`: float32 blocks of (frames, channels) at the file's own rate. The
first decoder that opens the file decodes it. A fault later in the file is an error, never a reason to try the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, cast

from llaso_data.audio import unclosed
from llaso_data.audio.containers import container_name, mp3_states_length, present_share, wave_format
from llaso_data.audio.ffmpeg import open_ffmpeg
from llaso_data.audio.joined import file_ranges
from llaso_data.audio.tracks import RATES_HZ, Block, GuardedFile, Track, error_text, truncated
from llaso_data.errors import AudioError
from llaso_data.io.views import View

BLOCK_FRAMES = 65_536
LOSSY_TOLERANCE = 0.01  # mp3, Ogg and what FFmpeg reads state durations to about a packet, so up to this share …
LOSSY_TOLERANCE_S = 0.25  # … or this many seconds may be missing before a file counts as cut short
SNDFILE_MALLOC_FAILED = 17  # libsndfile, common.h: SFE_MALLOC_FAILED

RAW = frozenset(("g722",))  # extensions of raw streams, which have no header

# fmt: off
FFMPEG_ONLY = frozenset((
    "aac", "m4a", "m4b", "mp4", "m4v", "mkv", "mka", "webm", "mov", "avi", "wma", "wmv", "asf", "flv", "3gp",
    "amr", "awb", "ac3", "mpg", "mpeg", "ts",
))
# fmt: on

_COUNTING = frozenset(("wav", "wavex", "aiff", "flac", "w64", "rf64", "au", "caf"))
_LOSSLESS = ("pcm_", "float", "double", "ulaw", "alaw", "flac", "alac", "dpcm", "dwvw")
"""The beginnings of libsndfile's and FFmpeg's names of codecs that code every sample."""


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
        return open_ffmpeg(guarded, label, extension)
    track = None if extension in FFMPEG_ONLY else _open_sndfile(guarded, label, size_bytes)
    return track or open_ffmpeg(guarded, label, None)


def _as_audio_error(error: Exception, guarded: GuardedFile, label: str) -> Exception:
    """A decoder's exception as the file's AudioError; errors of memory and of the system stay as they are."""
    if isinstance(error, (AudioError, MemoryError, OSError)):
        return error
    format_name = wave_format(guarded) or "its audio"
    cause = f"{type(error).__name__}: {error_text(error)}"
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
        raise truncated(track, label)
    allowed = 0.0 if exact else max(LOSSY_TOLERANCE_S * track.rate_hz, LOSSY_TOLERANCE * stated)
    if stated - track.decoded_frames > allowed:
        raise truncated(track, label)


def _states_exactly(codec: str) -> bool:
    """Whether exactly as many samples come out as the header states.

    That needs a container that counts samples and a codec that adds none. MP3 in a WAV adds its encoder's delay; ADPCM
    and GSM fill their last block.
    """
    container, _, inside = codec.partition("/")
    return container in _COUNTING and (inside or container).startswith(_LOSSLESS)


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
            raise MemoryError(error_text(error)) from error
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
                    raise truncated(track, label, f" ({error_text(error)})") from error
                detail = f"{label}: damaged ({error_text(error)}); fetch the file again"
                raise AudioError("unreadable", detail) from error
            if not len(block):
                break
            yield block

    track.blocks = blocks()
    return track, handle
