"""Single notes with instrument, source, pitch and velocity as labels: a General MIDI sound font, a fresh synth each.

pip install --no-deps tinysoundfont==0.3.7    # it asks for pyaudio, which playing alone needs
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE_HZ = 16_000
HELD_S, RELEASE_S = 2.0, 0.8
VELOCITIES = (25, 50, 75, 100, 127)
PROGRAMS: dict[str, dict[str, tuple[int, ...]]] = {  # General MIDI, counted from 0
    "bass": {"acoustic": (32,), "electronic": (33, 34, 35), "synthetic": (38, 39)},
    "brass": {"acoustic": (56, 57, 58, 60), "synthetic": (62, 63)},
    "flute": {"acoustic": (72, 73, 74, 75)},
    "guitar": {"acoustic": (24, 25), "electronic": (26, 27, 29, 30)},
    "keyboard": {"acoustic": (0, 1, 3, 6), "electronic": (4, 5, 7)},
    "mallet": {"acoustic": (8, 9, 11, 12, 13)},
    "organ": {"acoustic": (19, 20), "electronic": (16, 17, 18)},
    "reed": {"acoustic": (64, 65, 66, 68, 70, 71)},
    "string": {"acoustic": (40, 41, 42, 48)},
    "synth lead": {"synthetic": (80, 81, 82, 84, 86)},
    "vocal": {"acoustic": (52, 53), "synthetic": (54,)},
}
RANGES = {"bass": (28, 55), "flute": (62, 96), "mallet": (60, 96), "brass": (45, 80), "reed": (46, 82)}
"""The lowest and the highest pitch that is asked of an instrument; of others :data:`USUAL`."""
USUAL = (40, 84)


@dataclass(frozen=True)
class Note:
    """A note as it is played."""

    instrument: str
    source: str
    program: int
    pitch: int
    velocity: int

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.instrument.replace(' ', '_')}-{self.program:03}-{self.pitch:03}-{self.velocity:03}"


def notes(of_each: int) -> list[Note]:
    """As many notes of each instrument, over its programs, range and velocities; always the same."""
    chosen = []
    for instrument, by_source in PROGRAMS.items():
        programs = [(source, program) for source, of_source in by_source.items() for program in of_source]
        low, high = RANGES.get(instrument, USUAL)
        for number in range(of_each):
            source, program = programs[number % len(programs)]
            pitch = low + (number * 13 + program * 5) % (high - low + 1)  # 13 has no common divisor with the spans
            velocity = VELOCITIES[(number + number // len(programs)) % len(VELOCITIES)]
            chosen.append(Note(instrument, source, program, pitch, velocity))
    return sorted(set(chosen), key=lambda note: note.name)


def play(note: Note, sound_font: Path) -> npt.NDArray[np.float32]:
    """The sound of a note: float32 at 16 kHz, one channel, shape (44,800,)."""
    import tinysoundfont

    synth = tinysoundfont.Synth(samplerate=RATE_HZ)  # a used one keeps something of the note before
    synth.program_select(0, synth.sfload(str(sound_font)), 0, note.program)
    synth.noteon(0, note.pitch, note.velocity)
    parts = [_mono(synth.generate(round(RATE_HZ * HELD_S)))]
    synth.noteoff(0, note.pitch)
    parts.append(_mono(synth.generate(round(RATE_HZ * RELEASE_S))))
    return np.concatenate(parts) * np.float32(0.8)  # the loudest of them are above full scale


def octaves_off(sound: npt.NDArray[np.float32], pitch: int) -> float | None:
    """How far the pitch that is heard lies from the one that was asked for, in octaves; None: no clear pitch.

    The peak of the normalised autocorrelation of 0.5 s after the attack (de Cheveigné and Kawahara 2002, without steps
    4 to 6).
    """
    part = sound[RATE_HZ // 10 : RATE_HZ // 10 + RATE_HZ // 2].astype(np.float64)
    part = part - part.mean()
    spectrum = np.fft.rfft(part, 2 * len(part))
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[: len(part)]
    lags = np.arange(len(part))
    normal = correlation / np.maximum(correlation[0] * (1 - lags / len(part)), 1e-12)
    first, last = RATE_HZ // 2200, RATE_HZ // 30
    best = normal[first:last].max()
    if best < 0.7:
        return None
    middle = normal[first:last]
    is_peak = (middle >= normal[first - 1 : last - 1]) & (middle >= normal[first + 1 : last + 1])
    peaks = np.flatnonzero(is_peak & (middle >= 0.95 * best))
    if not len(peaks):
        return None
    peak = first + int(peaks[0])
    left, centre, right = normal[peak - 1 : peak + 2]
    curve = left - 2 * centre + right
    lag = peak + (0.5 * (left - right) / curve if curve else 0.0)
    return float(np.log2(RATE_HZ / lag / (440 * 2 ** ((pitch - 69) / 12))))


def _mono(stereo: memoryview) -> npt.NDArray[np.float32]:
    return np.frombuffer(bytes(stereo), np.float32).reshape(-1, 2).mean(axis=1, dtype=np.float32)
