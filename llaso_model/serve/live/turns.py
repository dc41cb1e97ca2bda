"""Server VAD: where speech starts and stops in audio that comes piece by piece (Silero)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from llaso_data.audio import SAMPLE_RATE_HZ, Pcm

_FRAME = 512  # Silero's step at 16 kHz
_FALL = 0.15  # speech goes on as long as its probability is at most so much below the threshold


class Turn(NamedTuple):
    """A change: speech ``starts``, ``pauses`` or ``stops`` at a sample, counted from the first one of all.

    After a pause it stops, or it goes on without another change; then it may pause again.
    """

    kind: Literal["starts", "pauses", "stops"]
    sample: int


@dataclass(slots=True)
class TurnDetector:
    """Follows audio.

    Attributes:
        threshold: The probability of speech from which a frame is speech.
        silence_s: Silence after which speech has stopped.
        pause_s: Silence after which it has paused.
    """

    threshold: float = 0.5
    silence_s: float = 0.5
    pause_s: float = 0.2
    is_speech: bool = False
    samples: int = 0
    _rest: Pcm = field(default_factory=lambda: np.zeros(0, np.int16))
    _quiet: int = 0
    _model: Any = None

    def read(self, pcm: Pcm) -> Iterator[Turn]:
        """The turns in 16 kHz mono samples that come next. It takes a millisecond for each 32 ms of audio."""
        if self._model is None:
            self._model = _silero()
        import torch

        audio = np.concatenate([self._rest, pcm])
        whole = len(audio) // _FRAME * _FRAME
        for first in range(0, whole, _FRAME):
            frame = torch.from_numpy(audio[first : first + _FRAME].astype(np.float32) / np.float32(32768))
            prob = float(self._model(frame, SAMPLE_RATE_HZ))
            self.samples += _FRAME
            if prob >= self.threshold:
                self._quiet = 0
                if not self.is_speech:
                    self.is_speech = True
                    yield Turn("starts", self.samples - _FRAME)
            elif self.is_speech and prob < self.threshold - _FALL:
                before, self._quiet = self._quiet, self._quiet + _FRAME
                if before < self.pause_s * SAMPLE_RATE_HZ <= self._quiet:
                    yield Turn("pauses", self.samples)
                if self._quiet >= self.silence_s * SAMPLE_RATE_HZ:
                    self.is_speech, self._quiet = False, 0
                    yield Turn("stops", self.samples)
        self._rest = audio[whole:]


def _silero() -> Any:
    """A model of its own: it has a state."""
    import torch

    threads = torch.get_num_threads()
    import silero_vad  # sets torch to one thread when imported

    torch.set_num_threads(threads)
    return silero_vad.load_silero_vad(onnx=True)
