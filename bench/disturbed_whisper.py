"""A Whisper that no threshold was ever fitted to: another one's, with noise in every weight.

No third model of use is at hand. Noise of 1 % of a tensor's spread leaves most of what the model hears, and moves all
of its scores.
"""

from __future__ import annotations

from pathlib import Path

import torch
from wider_whisper import save

from llaso_data.io.cache import cached
from llaso_data.io.hub import weights_digest

_NOISE = 0.01  # of the standard deviation of a tensor's values


def disturbed(folder: str | Path) -> Path:
    """A folder with the disturbed form of the Whisper in another one, in Hugging Face form; it is kept in the cache."""
    source = str(folder)
    return cached(f"disturbed-whisper/{weights_digest(source)[:24]}-1", lambda target: _write(source, target))


def _write(source: str, target: Path) -> None:
    from transformers import WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.numel() > 1:
                weight += _NOISE * weight.std() * torch.randn(weight.shape, generator=draw)
    save(model, source, target)
