"""Streams that nobody closed are read to their end; lossy sound in any container is whole where it is whole."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from llaso_data import audio
from llaso_data.errors import AudioError
from tests.conftest import Clip
from tests.support.asr_fixtures import named, pcm

ONES = b"\xff" * 8


@pytest.fixture
def speech(clips: list[Clip]) -> NDArray[np.int16]:
    return pcm(named(clips, "en/quick_brown_fox")[0].path)


def made(samples: NDArray[np.int16], format: str, subtype: str = "PCM_16") -> bytearray:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format=format, subtype=subtype)
    return bytearray(file.getvalue())


def unclosed(data: bytearray, kind: str) -> bytearray:
    """The file as it is before its sizes are known: zeros, or ones."""
    at = max(data.find(b"data"), data.find(b"SSND"))
    fill = bytes(24) if kind.endswith("zeros") else b"\xff" * 24
    if kind.startswith("WAV"):
        data[4:8], data[at + 4 : at + 8] = fill[:4], fill[:4]
    elif kind.startswith("RF64"):
        wide = data.find(b"ds64")
        data[wide + 8 : wide + 32] = fill
    elif kind.startswith("AU"):
        data[8:12] = fill[:4]
    elif kind.startswith("AIFF"):
        common = data.find(b"COMM")
        data[4:8] = data[common + 10 : common + 14] = fill[:4]
        data[at + 4 : at + 8] = struct.pack(">I", 8) if kind.endswith("zeros") else fill[:4]
    elif kind.startswith("CAF"):
        data[at + 4 : at + 12] = ONES
    return data


KINDS = [f"{form} {fill}" for form in ("WAV", "RF64", "AU", "AIFF") for fill in ("zeros", "ones")]


@pytest.mark.parametrize("kind", [*KINDS, "CAF ones"])
def test_a_stream_that_nobody_closed_is_read_to_its_end(speech: NDArray[np.int16], kind: str) -> None:
    data = unclosed(made(speech, kind.split()[0]), kind)
    assert np.array_equal(audio.decode_bytes(bytes(data), f"a.{kind.split()[0].lower()}"), speech)


@pytest.mark.parametrize("subtype", ["ULAW", "IMA_ADPCM", "GSM610", "FLOAT"])
def test_so_is_one_of_another_codec(speech: NDArray[np.int16], subtype: str) -> None:
    whole = made(speech, "WAV", subtype)
    expected = audio.decode_bytes(bytes(whole), "a.wav")
    assert np.array_equal(audio.decode_bytes(bytes(unclosed(whole, "WAV zeros")), "a.wav"), expected)


def test_a_wave_without_samples_is_empty_still(speech: NDArray[np.int16]) -> None:
    data = made(speech[:0], "WAV")
    for more in (b"", b"LIST" + struct.pack("<I", 10) + b"INFOabcdef"):
        whole = data + more
        whole[4:8] = struct.pack("<I", len(whole) - 8)
        with pytest.raises(AudioError, match="no audio in it"):
            audio.decode_bytes(bytes(whole), "a.wav")


def test_a_wave_that_was_closed_but_for_its_samples_is_cut(speech: NDArray[np.int16]) -> None:
    data = made(speech, "WAV")
    at = data.find(b"data")
    data[at + 4 : at + 8] = bytes(4)
    assert np.array_equal(audio.decode_bytes(bytes(data), "a.wav"), speech)
    with pytest.raises(AudioError) as cut:
        audio.decode_bytes(bytes(data[: len(data) // 2]), "a.wav")
    assert cut.value.reason == "truncated"


LOSSY = [
    ("wav", "libmp3lame"), ("w64", "libmp3lame"), ("wav", "adpcm_ms"), ("wav", "adpcm_ima_wav"), ("wav", "ac3"),
    ("matroska", "libopus"), ("matroska", "libmp3lame"), ("avi", "libmp3lame"), ("mp4", "aac"), ("matroska", "aac"),
]  # fmt: skip


def encoded(path: Path, format: str, codec: str, samples: NDArray[np.int16], rate_hz: int) -> Path:
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = 16_000
        size = stream.codec_context.frame_size or None
        to = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate_hz, frame_size=size)
        for piece in [*to.resample(frame), *to.resample(None), None]:
            for packet in stream.encode(piece):
                container.mux(packet)
    return path


@pytest.mark.parametrize(("format", "codec"), LOSSY)
def test_lossy_sound_is_whole_in_every_container_and_cut_where_it_is_cut(
    speech: NDArray[np.int16], tmp_path: Path, format: str, codec: str
) -> None:
    speech = np.r_[speech, np.zeros(48_000, np.int16), speech]
    path = encoded(tmp_path / f"a.{format}", format, codec, speech, 48_000 if codec == "ac3" else 16_000)
    found, _ = audio.decode(str(path))
    assert len(speech) - 160 <= len(found) <= len(speech) + 4000
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    with pytest.raises(AudioError) as cut:
        audio.decode(str(path))
    assert cut.value.reason in ("truncated", "unreadable")
