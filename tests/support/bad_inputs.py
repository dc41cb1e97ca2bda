"""Corpora of what goes wrong in practice, made from real speech; each item says what must become of it."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from tests.conftest import Clip

WORDS = "The quick brown fox jumps over the lazy dog."
Samples = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Expected:
    """What becomes of one input. ``place`` ends the URI of its record (and member, where it has one).

    ``rules`` are those that may keep it out, none where it is accepted; ``detail`` is what the failure must say
    besides the place: the line, the value.
    """

    place: str
    rules: tuple[str, ...] = ()
    detail: str = ""


class Speech:
    """The quick brown fox, every time at another level, so that no two are duplicates by accident."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        (clip,) = (clip for clip in clips if clip.path.stem == "quick_brown_fox")
        self._samples, self._rate_hz = soundfile.read(str(clip.path), dtype="float32")
        self._words = clip.text
        self._gains = (1.0 - 0.005 * number for number in itertools.count())

    def __call__(self) -> tuple[Samples, int, str]:
        """(samples, rate in Hz, words)"""
        return self._samples * np.float32(next(self._gains)), self._rate_hz, self._words

    def write(self, path: Path, text: str | bytes | None = None) -> Path:
        """A recording with its words, or others, in a transcript beside it."""
        samples, rate_hz, words = self()
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:  # libsndfile refuses some names
            soundfile.write(
                file, samples, rate_hz, subtype="PCM_16", format="FLAC" if path.suffix == ".flac" else "WAV"
            )
        said = words if text is None else text
        path.with_suffix(".txt").write_bytes(said.encode() if isinstance(said, str) else said)
        return path


Torture = Callable[[Path, Speech], list[Expected]]


# A folder: sound


def empty(folder: Path, speech: Speech) -> list[Expected]:
    (folder / "empty.wav").write_bytes(b"")
    return [Expected("/empty.wav", ("failed.empty",))]


def truncated(folder: Path, speech: Speech) -> list[Expected]:
    for name in ("cut.flac", "cut.wav"):
        path = speech.write(folder / name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return [Expected("/cut.flac", ("failed.truncated",)), Expected("/cut.wav", ("failed.truncated",))]


def text_renamed(folder: Path, speech: Speech) -> list[Expected]:
    (folder / "text.wav").write_text("I am not audio, whatever my name says. " * 20)
    return [Expected("/text.wav", ("failed.unreadable",))]


def not_finite(folder: Path, speech: Speech) -> list[Expected]:
    samples, rate_hz, _ = speech()
    for name, value in (("nan", np.nan), ("infinite", np.inf)):
        samples[len(samples) // 2] = value
        soundfile.write(str(folder / f"{name}.wav"), samples, rate_hz, subtype="FLOAT")
    return [Expected("/nan.wav", ("failed.not_finite",)), Expected("/infinite.wav", ("failed.not_finite",))]


def clipped(folder: Path, speech: Speech) -> list[Expected]:
    samples, rate_hz, _ = speech()
    soundfile.write(str(folder / "clipped.wav"), samples * 40, rate_hz, subtype="FLOAT")
    return [Expected("/clipped.wav", ("confidence.clipped_ratio",))]


def nothing_said(folder: Path, speech: Speech) -> list[Expected]:
    """Silence and noise: Whisper may hear something in either, and must not be believed."""
    noise = np.random.default_rng(0).standard_normal(80_000).astype(np.float32)
    sounds = {"silence": np.zeros(80_000, np.float32), "noise": noise * 0.1, "long-silence": np.zeros(640_000)}
    for name, samples in sounds.items():
        soundfile.write(str(folder / f"{name}.wav"), samples, 16_000, subtype="PCM_16")
    unheard: tuple[str, ...] = (
        "confidence.no_text",
        "confidence.no_speech_prob",
        "confidence.rms_dbfs",
        "confidence.avg_logprob",
    )
    unheard += ("confidence.chars_per_s_min", "consistency.phrase", "confidence.compression_ratio")
    return [
        Expected("/silence.wav", unheard),
        Expected("/noise.wav", (*unheard, "consistency.min_word_logprob", "consistency.eot_logprob")),
        Expected("/long-silence.wav", ("confidence.no_speech",)),
    ]


def fifty_milliseconds(folder: Path, speech: Speech) -> list[Expected]:
    samples, rate_hz, _ = speech()
    loudest = int(np.abs(samples).argmax())
    soundfile.write(str(folder / "50ms.wav"), samples[loudest:][: rate_hz // 20], rate_hz, subtype="PCM_16")
    return [Expected("/50ms.wav", ("confidence.duration_min_s",))]


def rates_and_channels(folder: Path, speech: Speech) -> list[Expected]:
    for rate_hz in (8_000, 96_000):
        samples, own_hz, _ = speech()
        soundfile.write(str(folder / f"{rate_hz}hz.wav"), soxr.resample(samples, own_hz, rate_hz), rate_hz)
    samples, own_hz, _ = speech()
    soundfile.write(str(folder / "six_channels.wav"), np.stack([samples] * 6, axis=1), own_hz)
    return [Expected("/8000hz.wav"), Expected("/96000hz.wav"), Expected("/six_channels.wav")]


def same_audio(folder: Path, speech: Speech) -> list[Expected]:
    """Which of the two stays follows from the ids."""
    first = speech.write(folder / "same-1.wav")
    shutil.copyfile(first, folder / "same-2.wav")
    shutil.copyfile(first.with_suffix(".txt"), folder / "same-2.txt")
    return [Expected("/same-1.wav"), Expected("/same-2.wav", ("duplicates.audio",))]


def lying_headers(folder: Path, speech: Speech) -> list[Expected]:
    """More samples than there are: of a program that broke off, and of one that cannot count."""
    wav = speech.write(folder / "two-gigabytes.wav")
    _state_bytes(wav, 0x7FFE0000)
    flac = speech.write(folder / "states-twice.flac")
    _state_samples(flac, 2)
    return [
        Expected("/two-gigabytes.wav", ("failed.truncated",)),
        Expected("/states-twice.flac", ("failed.truncated",)),
    ]


def forgivable_headers(folder: Path, speech: Speech) -> list[Expected]:
    """A size that no one could know, and half the samples: no decoder looks further, and it ends within a sound."""
    wav = speech.write(folder / "streamed.wav")
    _state_bytes(wav, 0xFFFFFFFF)
    flac = speech.write(folder / "states-half.flac")
    _state_samples(flac, 0.5)
    return [Expected("/streamed.wav"), Expected("/states-half.flac", ("confidence.border_db",))]


def _state_bytes(wav: Path, size_bytes: int) -> None:
    data = wav.read_bytes()
    at = data.index(b"data") + 4
    wav.write_bytes(data[:at] + struct.pack("<I", size_bytes) + data[at + 4 :])


def _state_samples(flac: Path, factor: float) -> None:
    data = flac.read_bytes()
    info = int.from_bytes(data[18:26], "big")  # RFC 9639, section 8.2: the last 36 bits count the samples
    stated = round((info & (1 << 36) - 1) * factor)
    flac.write_bytes(data[:18] + (info >> 36 << 36 | stated).to_bytes(8, "big") + data[26:])


def picture_in_mp3(folder: Path, speech: Speech) -> list[Expected]:
    """The picture in the tag is full of what looks like the start of a frame."""
    samples, rate_hz, words = speech()
    path = folder / "picture.mp3"
    soundfile.write(str(path), samples, rate_hz, format="MP3")
    picture = b"\0image/jpeg\0\x03\0" + b"\xff\xfb\x90\x64Xing\0\0\0\x01" * 4_000
    frame = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + size + frame + path.read_bytes())
    path.with_suffix(".txt").write_text(words)
    return [Expected("/picture.mp3")]


# A folder: transcripts


def no_utf8(folder: Path, speech: Speech) -> list[Expected]:
    said = {
        "latin-1": "Grüß dich".encode("latin-1"),
        "utf-16": WORDS.encode("utf-16")[:-1],
        "utf-16-bare": WORDS.encode("utf-16-le"),
    }
    for name, text in said.items():
        speech.write(folder / f"{name}.wav", text)
    return [
        Expected("/latin-1.wav", ("failed.bad_text",), "/latin-1.txt: not UTF-8 (byte 0xfc at 2)"),
        Expected("/utf-16.wav", ("failed.bad_text",), "/utf-16.txt: not UTF-16"),
        Expected("/utf-16-bare.wav", ("failed.bad_text",), "/utf-16-bare.txt: it holds NUL"),
    ]


def odd_transcripts(folder: Path, speech: Speech) -> list[Expected]:
    said: dict[str, str | bytes] = {
        "megabyte": "the quick brown fox " * 50_000,
        "punctuation": "?! ... —",
        "combining": "\u0301\u0302\u0303\u200d\ufe0f",
        "right-to-left": "\u202eمرحبا بالعالم\u202c",
        "blank": " \n\t\u3000\n",
        "bom-and-crlf": b"\xef\xbb\xbf" + WORDS.replace(" fox ", " fox\r\n").encode(),
    }
    for name, text in said.items():
        speech.write(folder / f"{name}.wav", text)
    speech.write(folder / "folder.wav").with_suffix(".txt").unlink()
    (folder / "folder.txt").mkdir()
    return [
        Expected("/megabyte.wav", ("confidence.chars_per_s_max",)),
        *(Expected(f"/{name}.wav", ("confidence.no_text",)) for name in ("punctuation", "combining")),
        Expected("/right-to-left.wav", ("consistency.script",)),
        *(Expected(f"/{name}.wav") for name in ("blank", "bom-and-crlf", "folder")),
    ]


# A folder: names

NAMES = (
    "with space",
    "qu'ot\"es`$(x)",
    "emoji-🎤",
    "new\nline",
    "dots.in.the..name",
    "fold\ner/-escape\x1b[31m\x07",
    "tab\tand\\backslash",
    "{0..9}*?[x]#hash%20+&;",
    "\u202egnp",
)


def names(folder: Path, speech: Speech) -> list[Expected]:
    """Nine names that are only awkward, and one that is no text: no more failures than the default allows."""
    for name in NAMES:
        speech.write(folder / f"{name}.wav")
    raw = speech.write(folder / "caf.wav")
    raw.with_suffix(".txt").unlink()
    os.rename(raw, os.fsencode(folder) + b"/caf\xe9.wav")
    return [*(Expected(f"/{name}.wav") for name in NAMES), Expected("/caf\\udce9.wav", ("failed.bad_name",))]


def not_files(folder: Path, speech: Speech) -> list[Expected]:
    """What has a recording's name and is none; opening the pipe would wait for ever."""
    (folder / "directory.wav").mkdir()
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "itself.wav").symlink_to("itself.wav")
    (folder / "dangling.wav").symlink_to("nowhere.wav")
    (folder / "endless.wav").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.wav")
    speech.write(folder / "said-by-pipe.wav").with_suffix(".txt").unlink()
    os.mkfifo(folder / "said-by-pipe.txt")
    return [
        Expected("/itself.wav", ("failed.missing", "failed.unreadable")),
        Expected("/dangling.wav", ("failed.missing",)),
        Expected("/endless.wav", ("failed.unreadable",)),
        Expected("/pipe.wav", ("failed.unreadable",)),
        Expected("/said-by-pipe.wav", ("failed.bad_text",), "said-by-pipe.txt"),
    ]


FOLDER: tuple[Torture, ...] = (
    empty,
    truncated,
    text_renamed,
    not_finite,
    clipped,
    nothing_said,
    fifty_milliseconds,
    rates_and_channels,
    same_audio,
    lying_headers,
    no_utf8,
    not_files,
)
MORE: tuple[Torture, ...] = (forgivable_headers, picture_in_mp3, odd_transcripts)
"""Much of it is heard, which takes its time."""


# Long recordings


def long(path: Path, speech: Speech, pieces: int, gap_s: float) -> list[str]:
    """A recording of sentences with silence between them; what is said in it."""
    said = []
    with soundfile.SoundFile(str(path), "w", 16_000, 1, subtype="PCM_16") as file:
        for _ in range(pieces):
            samples, rate_hz, words = speech()
            said.append(words)
            file.write(soxr.resample(samples, rate_hz, 16_000))
            file.write(np.zeros(round(gap_s * 16_000), np.float32))
    return said
