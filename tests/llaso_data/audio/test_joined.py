"""Files that lie one after another in one file are heard whole, each as it is alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from llaso_data import audio
from llaso_data.audio import decode_worker
from llaso_data.errors import AudioError
from tests.llaso_data.audio.test_audio import mux, reason, sweep

SNDFILE = {
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3"},
    **{name: {} for name in ("flac", "wav", "aiff", "au", "caf", "w64")},
}
FFMPEG = {
    "opus": ("ogg", "libopus"),
    "oga": ("ogg", "flac"),
    "mp3": ("mp3", "libmp3lame"),
    "m4a": ("mp4", "aac"),
    "mka": ("matroska", "libopus"),
    "wma": ("asf", "wmav2"),
}


def joined(folder: Path, parts: list[Path]) -> Path:
    path = folder / f"joined{parts[0].suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def heard_as_parts(path: Path, parts: list[Path]) -> None:
    alone = [audio.decode(str(part))[0] for part in parts]
    pcm, probe = audio.decode(str(path))
    assert np.array_equal(pcm, np.concatenate(alone))
    assert probe.duration_s == pytest.approx(len(pcm) / 16_000, abs=0.001)
    assert audio.probe(str(path)).duration_s is None  # nobody says it
    start_s = len(alone[0]) / 16_000 - 0.25
    span, _ = audio.decode(str(path), start_s=start_s, end_s=start_s + 0.5)
    assert np.array_equal(span, pcm[round(start_s * 16_000) : round((start_s + 0.5) * 16_000)])


@pytest.mark.parametrize("ending", SNDFILE)
def test_files_of_other_rates_and_channels(tmp_path: Path, ending: str) -> None:
    other_hz = 48_000 if ending == "opus" else 44_100
    parts = [tmp_path / f"{number}.{ending}" for number in range(3)]
    for part, seconds, rate_hz, channels in zip(parts, (1, 2, 1), (16_000, other_hz, 16_000), (1, 2, 1), strict=True):
        samples = np.stack([sweep(seconds, rate_hz)] * channels, 1)
        soundfile.write(str(part), samples, rate_hz, **SNDFILE[ending])
    heard_as_parts(joined(tmp_path, parts), parts)


@pytest.mark.parametrize("ending", FFMPEG)
def test_files_of_other_programs(tmp_path: Path, ending: str) -> None:
    """FFmpeg gives every Ogg the same serial number here: only the pages say that another stream begins."""
    parts = [mux(sweep(1 + number), tmp_path / f"{number}.{ending}", *FFMPEG[ending]) for number in range(2)]
    heard_as_parts(joined(tmp_path, parts), parts)


def test_mp3_with_tags_between_and_without_a_stated_length(tmp_path: Path) -> None:
    """ID3 before and after, a length in the tag that is stale, and frames that no tag counts."""
    tagged = mux(sweep(1), tmp_path / "a.mp3", "mp3", "libmp3lame")
    bare = mux(sweep(2), tmp_path / "b.mp3", "mp3", "libmp3lame", options={"write_xing": "0", "id3v2_version": "0"})
    data = tagged.read_bytes() + b"TAG" + bytes(125), bare.read_bytes()
    first, second = (len(audio.decode(str(path))[0]) for path in (tagged, bare))
    for number, order in enumerate([(0, 1), (1, 0), (0, 0, 0), (1, 1)]):
        path = tmp_path / f"{number}.mp3"
        path.write_bytes(b"".join(data[which] for which in order))
        expected = sum((first, second)[which] for which in order)
        assert abs(len(audio.decode(str(path))[0]) - expected) <= 3 * 1152  # what a decoder needs to begin


def test_a_tag_that_is_off_by_a_frame_makes_no_other_file(tmp_path: Path) -> None:
    path = mux(sweep(2), tmp_path / "a.mp3", "mp3", "libmp3lame")
    whole, data = audio.decode(str(path))[0], bytearray(path.read_bytes())
    at = data.index(b"Xing") if b"Xing" in data else data.index(b"Info")
    stated = int.from_bytes(data[at + 12 : at + 16], "big")
    for wrong in (stated - 200, stated + 200, 1, 0, 1 << 31):
        data[at + 12 : at + 16] = wrong.to_bytes(4, "big")
        path.write_bytes(data)
        assert np.array_equal(audio.decode(str(path))[0], whole), wrong


def test_a_broken_file_among_them_is_named(tmp_path: Path) -> None:
    for ending in ("flac", "ogg"):
        first, second = (tmp_path / f"{number}.{ending}" for number in range(2))
        soundfile.write(str(first), sweep(2), 16_000)
        soundfile.write(str(second), sweep(1), 16_000)
        first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])
        for order, number in (([first, second], 1), ([second, first], 2)):
            path = joined(tmp_path, order)
            with pytest.raises(AudioError, match=f"{number} of 2 files in it") as caught:
                audio.decode(str(path))
            assert caught.value.reason in ("truncated", "unreadable")
        kept, _ = audio.decode(str(path), end_s=1.0)  # of the whole one before it
        assert len(kept) == 16_000


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    """A raw AAC stream has no beginnings: one of another rate is no file of its own."""
    parts = [mux(sweep(1, rate), tmp_path / f"{rate}.aac", "adts", "aac", rate) for rate in (16_000, 44_100)]
    assert reason(joined(tmp_path, parts)) == "unreadable"
    alike = joined(tmp_path, [parts[0], parts[0]])
    assert len(audio.decode(str(alike))[0]) > 31_000


def test_what_only_looks_like_a_beginning_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    inside = np.frombuffer(b"OggS\0\2" + b"fLaC\0\0\0\x22" + b"RIFF\0\0\0\0WAVEfmt " + bytes(500), "<i2")
    samples = np.concatenate([sweep(1), np.tile(inside, 20), sweep(1)])
    soundfile.write(str(path), samples, 16_000)
    assert np.array_equal(audio.decode(str(path))[0], samples)
    path.write_bytes(path.read_bytes() + b"RIFFjunk at the end, as some editors leave it")
    assert np.array_equal(audio.decode(str(path))[0], samples)


def test_the_worker_hears_the_same(tmp_path: Path) -> None:
    parts = [tmp_path / "a.ogg", tmp_path / "b.ogg"]
    for number, part in enumerate(parts):
        soundfile.write(str(part), sweep(1 + number, 22_050), 22_050)
    path = joined(tmp_path, parts)
    (inside,), probe = decode_worker.decode_spans(str(path), None, [(None, None)], stall_s=20, memory_mb=512)
    assert isinstance(inside, np.ndarray)
    assert np.array_equal(inside, audio.decode(str(path))[0])
    assert probe.duration_s == pytest.approx(3.0, abs=0.001)
