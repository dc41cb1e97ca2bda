"""Running a command that speaks: text goes in by stdin, a WAV file comes out by stdout. No shell is involved."""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Sequence

import numpy as np

from llaso_data.audio.mixing import Pcm, channel_mean
from llaso_data.instruct.voices import Speech, SpeechError, speech

_TIMEOUT_S = 120.0
_SHOWN = 300  # characters of a command's complaint
_RATES_HZ = (4_000, 192_000)


def run(arguments: Sequence[str], text: str) -> bytes:
    """What a command writes when it is given a text.

    Args:
        arguments: The program and its arguments. They come from the recipe or from this project, never from data.
        text: Goes to its stdin in UTF-8.

    Raises:
        SpeechError: ``engine_failed``, where it cannot be started, takes longer than two minutes, or fails.
    """
    program = arguments[0]
    try:
        done = subprocess.run(arguments, input=text.encode(), capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise SpeechError("engine_failed", f"{program}: not done after {_TIMEOUT_S:.0f} s; it was ended") from error
    except OSError as error:
        raise SpeechError("engine_failed", f"{program} cannot be started: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-_SHOWN:]
        raise SpeechError("engine_failed", f"{program} ended with {done.returncode}: {said or 'it said nothing'}")
    return done.stdout


def read_wav(data: bytes, label: str) -> Speech:
    """The speech of a sound file's bytes; several channels are averaged.

    A WAV file that was written as a stream may say in its header that it has no samples, or endless ones: it has those
    that are there.

    Raises:
        SpeechError: ``bad_sound``, where it is none that libsndfile reads, or no speech: samples that are no numbers,
            a rate that no voice has.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(_with_length(data))) as file:
            if not _RATES_HZ[0] <= file.samplerate <= _RATES_HZ[1]:
                raise ValueError(f"{file.samplerate} samples a second")
            if file.channels == 1 and file.subtype == "PCM_16":
                pcm: Pcm = file.read(dtype="int16")
                return Speech(pcm, file.samplerate)
            samples = file.read(dtype="float32", always_2d=True)
            if not np.isfinite(samples).all():
                raise ValueError("samples that are no numbers")
            return speech(channel_mean(np.ascontiguousarray(samples)), file.samplerate)
    except (soundfile.SoundFileError, ValueError) as error:
        raise SpeechError("bad_sound", f"{label}: what it gave ({len(data)} bytes) is no sound file") from error


def _with_length(data: bytes) -> bytes:
    """A WAV file whose header says how many bytes of samples follow, where it said 0."""
    at = 12
    while data[:4] == b"RIFF" and at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if name == b"data":
            return data if size else data[: at - 4] + struct.pack("<I", len(data) - at) + data[at:]
        at += size + size % 2
    return data
