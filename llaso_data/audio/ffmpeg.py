"""The decoder FFmpeg, through PyAV."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from llaso_data.audio.containers import mp3_states_length, wave_format
from llaso_data.audio.tracks import RATES_HZ, Block, GuardedFile, Track, error_text, truncated
from llaso_data.errors import AudioError

# Without this list FFmpeg also opens playlists, which name other files and addresses to read.
FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,asf,au,avi,caf,eac3,flac,flv,g722,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,"
    "mpegts,ogg,rm,tta,voc,w64,wav,wv,ape"
)


def open_ffmpeg(guarded: GuardedFile, label: str, format: str | None) -> tuple[Track, Any]:
    """Open the first audio track of a file.

    Args:
        guarded: the file.
        label: what messages call it.
        format: FFmpeg's name of a raw format; None: FFmpeg recognises the format.

    Returns:
        The track, and the open container to close.

    Raises:
        AudioError: ``unreadable``; while blocks are taken also ``truncated``.
    """
    import av

    guarded.seek(0)
    try:
        container = av.open(cast(Any, guarded), format=format, options={"format_whitelist": FORMATS})
    except (av.error.FFmpegError, ValueError) as error:
        cause = f"neither libsndfile nor FFmpeg reads it as audio ({error_text(error)})"
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
                    # In joined MP3s without tags the rate may change.
                    if container.format.name != "mp3" or frame.sample_rate not in RATES_HZ:
                        detail = f"{label}: its rate changes from {rate_hz} to {frame.sample_rate} Hz; convert it first"
                        raise AudioError("unreadable", detail)
                    track.begin_link(frame.sample_rate)
                yield _frame_block(frame)
        except av.error.FFmpegError as error:
            raise truncated(track, label, f" ({error_text(error)})") from error

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
