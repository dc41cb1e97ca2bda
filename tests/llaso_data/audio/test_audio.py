"""Decoding: every format to the same PCM, and every fault to its name."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from pathlib import Path

import av
import fsspec
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from llaso_data import audio
from llaso_data.audio import decode_worker
from llaso_data.errors import AudioError, LLaSOError


def sweep(seconds: float, rate_hz: int = 16_000) -> np.ndarray:
    """A sine from 100 Hz to 3 kHz, int16."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.rint(12_000 * np.sin(2 * np.pi * (100 + 1450 * times / seconds) * times)).astype(np.int16)


def mux(
    pcm: np.ndarray, path: Path, format: str, codec: str, rate_hz: int = 16_000, options: dict | None = None
) -> Path:
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        if codec == "wmav2":
            stream.bit_rate = 32_000  # it has no default that fits
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate_hz, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Largest normalised cross-correlation: codecs delay by up to a packet."""
    one, other = one.astype(float), other.astype(float)
    size = 1 << (len(one) + len(other)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size)))
    return float(correlation.max() / np.sqrt((one @ one) * (other @ other)))


def reason(path: Path | str, **span: float) -> str:
    with pytest.raises(AudioError) as caught:
        audio.decode(str(path), **span)
    assert os.path.basename(str(path)) in caught.value.detail
    return caught.value.reason


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.wav"
    soundfile.write(path, sweep(3), 16_000)
    return path


def test_a_16_khz_mono_source_comes_back_bit_for_bit(tmp_path: Path) -> None:
    every = np.arange(-32_768, 32_768, dtype=np.int16)
    for name in ("a.wav", "a.flac", "a.aiff"):
        soundfile.write(tmp_path / name, every, 16_000, subtype="PCM_16")
        pcm, probe = audio.decode(str(tmp_path / name))
        assert np.array_equal(pcm, every)
        assert (probe.sampling_rate_hz, probe.channels) == (16_000, 1)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_other_rates_give_the_same_sound(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "a.wav", sweep(2, rate_hz), rate_hz)
    pcm, probe = audio.decode(str(tmp_path / "a.wav"))
    expected = sweep(2)
    assert probe.sampling_rate_hz == rate_hz
    assert abs(len(pcm) - len(expected)) <= 1
    middle = slice(800, -800)  # the resampler's filter rings at the borders
    assert np.abs(pcm[: len(expected)][middle].astype(int) - expected[: len(pcm)][middle]).max() < 40


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = sweep(1), np.zeros(16_000, np.int16)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 16_000)
    pcm, probe = audio.decode(str(tmp_path / "a.wav"))
    assert probe.channels == 2
    assert np.abs(pcm * 2 - left.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("name", "format", "codec"),
    [
        ("a.m4a", "mp4", "aac"),
        ("a.aac", "adts", "aac"),
        ("a.mkv", "matroska", "aac"),
        ("a.webm", "webm", "libopus"),
        ("a.opus", "ogg", "libopus"),
        ("a.mp3", "mp3", "libmp3lame"),
        ("a.g722", "g722", "g722"),
        ("a.wma", "asf", "wmav2"),
    ],
)
def test_lossy_formats_decode(tmp_path: Path, name: str, format: str, codec: str) -> None:
    original = sweep(3)
    pcm, probe = audio.decode(str(mux(original, tmp_path / name, format, codec)))
    assert abs(len(pcm) - len(original)) < 4_000  # encoders pad to whole packets
    assert probe.duration_s == pytest.approx(len(pcm) / 16_000, abs=0.001)
    assert alike(pcm, original) > 0.95


def test_the_audio_track_of_a_video_is_heard(tmp_path: Path) -> None:
    path, pcm = tmp_path / "a.mp4", sweep(1)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=5)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for _ in range(15):  # the picture lasts three seconds, the sound one: the container's length is not the sound's
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux([*sound.encode(frame), *sound.encode(None)])
    heard, _ = audio.decode(str(path))
    assert 16_000 <= len(heard) < 20_000


@settings(max_examples=30)
@given(start=st.floats(0, 2.9), length=st.floats(0.01, 2.9))
def test_a_span_is_a_slice_of_the_whole(tmp_path_factory: pytest.TempPathFactory, start: float, length: float) -> None:
    path = tmp_path_factory.getbasetemp() / "span.wav"
    if not path.exists():
        soundfile.write(path, np.stack([sweep(3, 44_100)] * 2, 1), 44_100)
    end = min(start + length, 3.0)
    whole, _ = audio.decode(str(path))
    piece, _ = audio.decode(str(path), start_s=start, end_s=end)
    assert np.array_equal(piece, whole[round(start * 16_000) : round(end * 16_000)])


def test_many_spans_in_one_pass_equal_one_pass_each(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, sweep(20, 48_000), 48_000)
    spans = [(12.5, 13.0), (None, 1.0), (0.5, 0.75), (19.0, None), (5.0, 25.0)]
    pieces, _ = audio.decode_spans(str(path), None, spans)
    for span, piece in zip(spans[:4], pieces, strict=False):
        assert np.array_equal(piece, audio.decode(str(path), start_s=span[0], end_s=span[1])[0])
    assert isinstance(pieces[4], AudioError)
    assert pieces[4].reason == "span_outside"


def test_a_fault_hurts_only_the_spans_that_it_reaches(tmp_path: Path) -> None:
    data = audio.encode(sweep(60), "flac")
    (tmp_path / "a.flac").write_bytes(data[: len(data) * 2 // 3])
    (early, late), _ = audio.decode_spans(str(tmp_path / "a.flac"), None, [(1.0, 2.0), (58.0, 59.0)])
    assert np.array_equal(early, sweep(60)[16_000:32_000])
    assert isinstance(late, AudioError)
    assert late.reason == "truncated"


def test_spans_outside_the_file_are_named(wav: Path) -> None:
    assert reason(wav, start_s=3.0, end_s=4.0) == "span_outside"
    assert reason(wav, start_s=2.0, end_s=3.2) == "span_outside"
    assert reason(wav, start_s=2.0, end_s=1.0) == "span_outside"
    assert reason(wav, start_s=-1.0, end_s=1.0) == "span_outside"
    assert reason(wav, start_s=float("nan"), end_s=1.0) == "span_outside"
    assert len(audio.decode(str(wav), start_s=2.0, end_s=3.05)[0]) == 16_000  # a rounded manifest


def test_too_long_counts_the_result(wav: Path) -> None:
    assert reason(wav, max_duration_s=2.9) == "too_long"
    assert reason(wav, start_s=0.0, end_s=2.0, max_duration_s=1.0) == "too_long"
    assert len(audio.decode(str(wav), start_s=1.0, end_s=2.0, max_duration_s=1.0)[0]) == 16_000


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.opus", "a.aiff", "a.m4a", "a.mkv", "a.aac"])
def test_a_file_cut_short_is_never_taken_for_whole(tmp_path: Path, name: str) -> None:
    path, pcm = tmp_path / name, sweep(20)
    if name == "a.opus":
        path.write_bytes(audio.encode(pcm, "opus"))
    elif name in ("a.m4a", "a.mkv", "a.aac"):
        format = {"a.m4a": "mp4", "a.mkv": "matroska", "a.aac": "adts"}[name]
        mux(pcm, path, format, "aac", options={"movflags": "faststart"} if format == "mp4" else None)
    else:
        soundfile.write(path, pcm, 16_000)
    assert len(audio.decode(str(path))[0]) >= len(pcm)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 + 1])
    assert reason(path) == "truncated"


@pytest.mark.parametrize("name", ["a.au", "a.caf", "a.w64", "a.rf64"])
def test_rarer_containers_cut_short_are_seen_too(tmp_path: Path, name: str) -> None:
    path, pcm = tmp_path / name, sweep(4)
    soundfile.write(path, pcm, 16_000, format=name[2:].upper())
    assert np.array_equal(audio.decode(str(path))[0], pcm)
    path.write_bytes(path.read_bytes()[:-3_000])
    assert reason(path) == "truncated"


def test_an_mp3_of_variable_rate_without_a_length_is_heard_to_its_end(tmp_path: Path) -> None:
    path, pcm = tmp_path / "a.mp3", sweep(30)
    with av.open(str(path), "w", format="mp3", options={"write_xing": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=16_000, layout="mono", options={"q": "4"})
        stream.codec_context.qscale = True
        frame = av.AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert soundfile.info(str(path)).duration < 20  # libsndfile's guess, where it would stop
    assert len(audio.decode(str(path))[0]) == pytest.approx(30 * 16_000, abs=4_000)


@settings(max_examples=150)
@given(st.sampled_from(["flac", "wav", "opus", "mp3", "mkv"]), st.data())
def test_damage_is_an_audio_error_or_nothing(damaged: dict[str, bytes], kind: str, data: st.DataObject) -> None:
    content = bytearray(damaged[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        pcm = audio.decode_bytes(bytes(content), f"a.{kind}")
    except AudioError as error:
        assert error.reason in {"unreadable", "truncated", "empty", "not_finite"}
    else:
        assert pcm.dtype == np.int16
        assert len(pcm)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder, pcm = tmp_path_factory.mktemp("whole"), sweep(1)
    files = {kind: audio.encode(pcm, kind) for kind in ("flac", "wav", "opus")}
    files["mp3"] = mux(pcm, folder / "a.mp3", "mp3", "libmp3lame").read_bytes()
    files["mkv"] = mux(pcm, folder / "a.mkv", "matroska", "aac").read_bytes()
    return files


def test_a_recorder_that_could_not_seek_back_is_believed(tmp_path: Path) -> None:
    data = bytearray(audio.encode(sweep(1), "wav"))
    data[4:8] = data[40:44] = b"\xff" * 4
    assert np.array_equal(audio.decode_bytes(bytes(data), "pipe.wav"), sweep(1))


def test_faults_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is no sound\n" * 100)
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5_000))
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.int16), 16_000)
    samples = sweep(1).astype(np.float32) / 32_768
    samples[8_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    (tmp_path / "folder.wav").mkdir()
    names = ["absent.wav", "empty.wav", "text.wav", "noise.mp4", "none.wav", "nan.wav", "folder.wav"]
    expected = ["missing", "empty", "unreadable", "unreadable", "empty", "not_finite", "unreadable"]
    assert [reason(tmp_path / name) for name in names] == expected
    with pytest.raises(AudioError):
        audio.probe(str(tmp_path / "text.wav"))


def test_a_playlist_opens_nothing(tmp_path: Path, wav: Path) -> None:
    (tmp_path / "list.m4a").write_text(f"ffconcat version 1.0\nfile '{wav.name}'\n")
    (tmp_path / "live.m4a").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{wav}\n#EXT-X-ENDLIST\n")
    assert reason(tmp_path / "list.m4a") == "unreadable"
    assert reason(tmp_path / "live.m4a") == "unreadable"


def test_members_of_a_tar_decode_as_the_files_do(tmp_path: Path, wav: Path) -> None:
    g722 = mux(sweep(2), tmp_path / "b.g722", "g722", "g722")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for path in (wav, g722):
            tar.add(path, f"x/{path.name}")
    for path in (wav, g722):
        inside, _ = audio.decode(str(tmp_path / "a.tar"), f"x/{path.name}")
        assert np.array_equal(inside, audio.decode(str(path))[0])
    with pytest.raises(AudioError) as caught:
        audio.decode(str(tmp_path / "a.tar"), "x/absent.wav")
    assert caught.value.reason == "missing"
    with pytest.raises(LLaSOError, match="not a plain tar"):
        audio.decode(str(wav), "x")


def test_remote_files_and_members_decode_alike(tmp_path: Path, wav: Path) -> None:
    store = fsspec.filesystem("memory")
    store.pipe_file("/bucket/sweep.wav", wav.read_bytes())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(wav, "k.wav")
    store.pipe_file("/bucket/a.tar", buffer.getvalue())
    expected = audio.decode(str(wav))[0]
    assert np.array_equal(audio.decode("memory://bucket/sweep.wav")[0], expected)
    assert np.array_equal(audio.decode("memory://bucket/a.tar", "k.wav")[0], expected)
    store.rm("/bucket", recursive=True)


class LostConnection(Exception):
    """What a store's client raises; not an OSError."""


class HalfFile(io.BytesIO):
    """A remote file whose connection is lost half way."""

    def read(self, count: int | None = -1) -> bytes:
        if self.tell() > len(self.getbuffer()) // 2:
            raise LostConnection("connection reset")
        return super().read(count)


class HalfStore(fsspec.AbstractFileSystem):
    protocol = "half"

    def _open(self, path: str, mode: str = "rb", **options: object) -> HalfFile:
        return HalfFile(audio.encode(sweep(60), path[-4:]))

    def info(self, path: str, **options: object) -> dict:
        return {"name": path, "size": 1, "type": "file"}


@pytest.mark.parametrize("name", ["a.flac", "a.opus"])
def test_a_store_that_fails_is_not_held_against_the_audio(name: str) -> None:
    fsspec.register_implementation("half", HalfStore, clobber=True)
    with pytest.raises(LLaSOError, match="connection reset") as caught:
        audio.decode(f"half://{name}")
    assert not isinstance(caught.value, AudioError)


@pytest.mark.parametrize("format", ["flac", "wav", "opus"])
def test_the_same_pcm_encodes_to_the_same_bytes(format: str) -> None:
    pcm = sweep(2.345)
    data = audio.encode(pcm, format)
    assert data == audio.encode(pcm, format)
    back = audio.decode_bytes(data, f"a.{format}")
    assert len(back) == len(pcm)
    assert np.corrcoef(back, pcm)[0, 1] > 0.99
    if format != "opus":
        assert np.array_equal(back, pcm)


def test_audio_id_sees_every_sample() -> None:
    pcm = sweep(1)
    other = pcm.copy()
    other[77] += 1
    assert audio.audio_id(pcm) == audio.audio_id(pcm.astype(">i2")) != audio.audio_id(other)
    assert len(audio.audio_id(pcm)) == 32


def test_level_of_known_signals() -> None:
    square = np.tile(np.array([16_384, -16_384], np.int16), 800)
    assert audio.level(square) == (pytest.approx(-6.0206, abs=1e-3), 0.0)
    assert audio.level(np.full(100, -32_768, np.int16)) == (0.0, 1.0)
    assert audio.level(np.zeros(100, np.int16)) == (-120.0, 0.0)


def test_real_speech_decodes_to_what_its_header_says(clips: list) -> None:
    for clip in clips[:5]:
        pcm, probe = audio.decode(str(clip.path))
        info = soundfile.info(str(clip.path))
        assert probe.sampling_rate_hz == info.samplerate
        assert len(pcm) == pytest.approx(info.frames * 16_000 / info.samplerate, abs=1)
        assert audio.level(pcm)[0] > -45


def wave(tag: int, bits: int, data: bytes) -> bytes:
    size = bits // 8
    kind = struct.pack("<HHIIHH", tag, 1, 16_000, 16_000 * size, size, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + kind + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("tag", "bits", "said"),
    [
        (1, 64, "WAVE with 64-bit integers"),
        (1, 40, "WAVE with 40-bit integers"),
        (3, 16, "WAVE with 16-bit floats"),
        (0x1234, 16, "WAVE with 16-bit samples of format 0x1234"),
    ],
)
def test_samples_that_nobody_decodes_are_named(tmp_path: Path, tag: int, bits: int, said: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wave(tag, bits, sweep(1).astype("<i8").tobytes()))
    try:
        (found,), _ = decode_worker.decode_spans(str(path), None, [(None, None)], stall_s=20, memory_mb=512)
    except AudioError as error:
        found = error
    assert isinstance(found, AudioError) and found.reason == "unreadable"
    assert said in found.detail and "; convert it" in found.detail


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"I am a text, whatever my ending says. ", "text"),
        ("Привет, мир! ".encode() * 9, "text"),
        ("Grüße aus der Küche. ".encode("latin-1"), "text"),
        ("hallo".encode("utf-16"), "UTF-16 text"),
        (wave(1, 16, sweep(1).tobytes()), "RIFF"),
        (b"PK\x03\x04" + bytes(range(256)), "zip"),
        (b"OggS\0\2" + bytes(range(200)), "Ogg"),
        (b"\0\0\0\x18ftypM4A " + bytes(range(200)), "MP4"),
    ],
)
def test_a_raw_ending_takes_no_other_file_for_sound(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a.g722").write_bytes(data)
    with pytest.raises(AudioError, match=f"it is {said}") as caught:
        audio.decode(str(tmp_path / "a.g722"))
    assert caught.value.reason == "unreadable"


def test_quiet_and_loud_raw_sound_is_no_text(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal(16_000)
    for pcm in (np.zeros(16_000), np.full(16_000, 7), noise * 3, noise * 3_000, sweep(1)):
        path = mux(pcm.astype(np.int16), tmp_path / "a.g722", "g722", "g722")
        assert len(audio.decode(str(path))[0]) == 16_000
