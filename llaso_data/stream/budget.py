"""What a micro-batch may cost, and what a sample does."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from llaso_data.errors import LLaSOError
from llaso_data.stream.batching import Ints
from llaso_data.stream.index_columns import Floats

SCALE = 1000  # costs are counted in thousandths
FRAMES_PER_S = 50.0  # states of Whisper's encoder
BYTES_PER_TOKEN = 4.0  # of text, where the index has no column of tokens

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(s|f|t|)")
_UNITS: dict[str, Literal["seconds", "frames", "tokens", "samples"]] = {
    "s": "seconds",
    "f": "frames",
    "t": "tokens",
    "": "samples",
}


@dataclass(frozen=True, slots=True)
class Budget:
    """What a micro-batch may cost, padding included.

    Attributes:
        unit: ``seconds`` of audio; ``frames`` after the encoder; ``tokens``: those frames and the tokens of the text;
            or ``samples``.
        amount: How many of them.
        per_second: Frames of a second of audio.
        tokens: The column of the index that counts a text's tokens; None: a quarter of the text's bytes.
        longest: How many times longer augmentation may make an audio.
    """

    unit: Literal["seconds", "frames", "tokens", "samples"]
    amount: float
    per_second: float = FRAMES_PER_S
    tokens: str | None = None
    longest: float = 1.0

    @classmethod
    def of(
        cls, text: str | int, per_second: float = FRAMES_PER_S, tokens: str | None = None, longest: float = 1.0
    ) -> Budget:
        """Reads a budget as people write it.

        Args:
            text: ``300s``, ``15000f`` (frames), ``8000t`` (tokens) or ``64`` (samples).
            per_second: Frames of a second of audio.
            tokens: The column of the index that counts a text's tokens.
            longest: How many times longer augmentation may make an audio.

        Raises:
            LLaSOError: The text is none of these.
        """
        match = _FORM.fullmatch(str(text).strip())
        if not match or not float(match[1]) or not per_second > 0:
            raise LLaSOError(f"budget {text!r}: write 300s, 15000f (frames), 8000t (tokens) or 64 (samples)")
        return cls(_UNITS[match[2]], float(match[1]), per_second, tokens, longest)

    def __str__(self) -> str:
        letter = next(key for key, unit in _UNITS.items() if unit == self.unit)
        rate = f" at {self.per_second:g}/s" if self.unit in ("frames", "tokens") else ""
        longer = f" for audio {self.longest:.4g} times longer" if self.longest != 1 else ""
        return f"{self.amount:g}{letter}{rate}{f' and {self.tokens}' if self.tokens else ''}{longer}"

    @property
    def limit(self) -> int:
        """The most that a micro-batch may cost, in thousandths."""
        return round(self.amount * SCALE)

    def costs(self, column: Callable[[str], Floats], count: int) -> Ints:
        """The cost of samples.

        Args:
            column: Gives a column of the index for them, (N,) float64.
            count: N.

        Returns:
            (N,) thousandths of the unit, rounded up.
        """
        if self.unit == "samples":
            return np.full(count, SCALE, np.int64)
        costs: npt.NDArray[np.float64] = column("duration_s") * self.longest
        if self.unit != "seconds":
            costs = np.ceil(costs * self.per_second)
        if self.unit == "tokens":
            text = column("text_bytes") / BYTES_PER_TOKEN if self.tokens is None else column(self.tokens)
            costs = costs + np.ceil(text)
        return np.ceil(costs * SCALE).astype(np.int64)
