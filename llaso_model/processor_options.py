"""Options that processors of Hugging Face take, and what becomes of them here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import BatchFeature

from llaso_model.sounds import InputError

_NEUTRAL = ("tools", "documents", "load_audio_from_video", "continue_final_message")


def without_neutral(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a chat template without those that are given, but ask for nothing."""
    return {name: value for name, value in options.items() if value or name not in _NEUTRAL}


def as_tensors(inputs: BatchFeature, kind: str | None) -> BatchFeature:
    """The inputs as tensors of ``pt`` or ``np``. Raises InputError for another kind."""
    if kind in ("pt", None):
        return inputs
    if kind != "np":
        raise InputError(f"return_tensors={kind!r}: there are pt and np")
    return BatchFeature({k: one.numpy() if isinstance(one, torch.Tensor) else one for k, one in inputs.items()})


def listed(audio: Any) -> list[Any]:
    """One audio or several as a list. A list of numbers is one audio."""
    if audio is None:
        return []
    if isinstance(audio, list | tuple):
        return [audio] if len(audio) and isinstance(audio[0], int | float | np.number) else list(audio)
    return [audio]


def check_padding(padding: bool | str | None, options: dict[str, Any]) -> None:
    """Removes options of padding and truncation that other processors have. Raises InputError where one asks for more.

    Rows are padded to the longest, prompts on the left, and nothing is truncated.
    """
    wrong = []
    if padding not in (True, "longest", None):
        wrong.append(f"padding={padding!r}: rows are padded to the longest")
    if options.pop("padding_side", "left") not in ("left", None):
        wrong.append("padding_side: prompts are padded on the left, labels on the right")
    if options.pop("truncation", None) not in (None, False):
        wrong.append("truncation: nothing is cut")
    if options.pop("max_length", None) is not None:
        wrong.append("max_length: nothing is cut, and rows are padded to the longest")
    if wrong:
        raise InputError("; ".join(wrong))
