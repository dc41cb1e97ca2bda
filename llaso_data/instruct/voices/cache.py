"""What was spoken, kept by content: the same engine, voice, speed, seed and text give the same file."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from llaso_data.audio.encoding import encode
from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import MAX_SPEECH_S, SPEEDS, Speech, VoiceEngine, require_length
from llaso_data.io import storage
from llaso_data.records.digests import digest

_LAYOUT = "voice-cache-2"
_EXTENSION = ".flac"


@dataclass(frozen=True, slots=True)
class Line:
    """One text to speak, and how.

    Attributes:
        text: What :func:`~llaso_data.instruct.voices.speakable.spoken_text` gives.
        language: Its code.
        voice: One of the engine's for the language.
        speed: How many times faster than the voice's own, within :data:`SPEEDS`; it counts to two decimals.
        seed: Decides what the engine draws.

    Raises:
        LLaSOError: The speed is out of range.
    """

    text: str
    language: str
    voice: str
    speed: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not SPEEDS[0] <= self.speed <= SPEEDS[1]:
            raise LLaSOError(f"voices: a speed of {SPEEDS[0]} to {SPEEDS[1]} is expected, not {self.speed}")
        object.__setattr__(self, "speed", round(self.speed, 2))


class VoiceCache:
    """A folder of FLAC files, on a disk or a store, that holds what was spoken.

    Files appear whole, so that a killed run leaves none in part, and several processes may share the folder. Two that
    speak one line at once write the same bytes where the engine repeats itself. Where it does not, the later file
    stays: a run that must equal its rerun speaks each line in one task.
    """

    def __init__(self, folder: str) -> None:
        """Use a folder, which is made when something is spoken."""
        self.folder = storage.absolute(folder)

    def path(self, name: str, engine: VoiceEngine, line: Line) -> str:
        """Where the file of a line lies.

        Args:
            name: The engine's in :data:`~llaso_data.instruct.voices.VOICES`.
            engine: The engine.
            line: The line.
        """
        parts = (name, engine.version, line.voice, f"{line.speed:.2f}", line.seed, line.language, line.text)
        return sound_uri(self.folder, digest(_LAYOUT, *parts))

    def speak(self, name: str, engine: VoiceEngine, line: Line) -> Speech:
        """The speech of a line: what the cache has, else what the engine says, which the cache keeps.

        Raises:
            SpeechError: The engine failed, gave no sound (``no_sound``), or spoke for more than 30 s (``too_long``).
            LLaSOError: The cache's file is damaged.
        """
        path = self.path(name, engine, line)
        try:
            return kept(path)
        except FileNotFoundError:
            pass
        spoken = engine.speak(line.text, line.language, line.voice, line.speed, line.seed)
        require_length(spoken, name, line.text)
        storage.write_bytes(path, sealed(spoken))
        return spoken


def sound_uri(folder: str, name: str) -> str:
    """Where the file of a name, 32 hexadecimal digits, lies in the folder of a cache."""
    return storage.join(folder, name[:2], f"{name}{_EXTENSION}")


def sound_name(uri: str) -> str:
    """The name of a file of the cache: the digest of all that made it."""
    return uri.rpartition("/")[2].removesuffix(_EXTENSION)


def kept(uri: str) -> Speech:
    """The speech of a file of the cache.

    Raises:
        FileNotFoundError: There is no such file.
        LLaSOError: It is damaged.
    """
    return _decoded(storage.read_bytes(uri), uri)


def sealed(speech: Speech) -> bytes:
    """Speech as a FLAC file whose comment is a checksum of the samples and their rate.

    FLAC's own checksums leave out its header.
    """
    return encode(speech.pcm, "flac", speech.rate_hz, _checksum(speech))


def _decoded(data: bytes, path: str) -> Speech:
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.frames <= (MAX_SPEECH_S + 1) * file.samplerate:
                speech = Speech(file.read(dtype="int16"), file.samplerate)
                if file.comment == _checksum(speech):
                    return speech
    except (soundfile.SoundFileError, ValueError):
        pass
    raise LLaSOError(f"{path}: a damaged file in the cache of voices; delete it, and it is spoken again")


def _checksum(speech: Speech) -> str:
    return f"llaso {digest(speech.rate_hz, np.ascontiguousarray(speech.pcm).tobytes())}"
