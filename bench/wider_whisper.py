"""A Whisper of medium's shape that says what base says: each of base's values stands in it twice.

No larger Whisper is at hand here, and random weights never end a text. So base is widened from 512 to 1,024 without a
change of what it computes: states stand side by side twice, whatever reads them reads half of both, and each head has a
copy. The 18 layers after base's 6 add nothing to the states, and take as long as others. Every tool decodes base's
texts with it, at medium's cost.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from llaso_data.io.cache import cached
from llaso_data.io.hub import weights_digest

_TIMES = 2
_LAYERS = 24
_STD = 0.02  # of the weights in layers that add nothing
_KEPT = ("*.json", "*.txt")


def medium_of(folder: str | Path) -> Path:
    """A folder with the widened form of the Whisper in another one; it is kept in the cache.

    Args:
        folder: A checkpoint of base's shape, in Hugging Face form.
    """
    source = str(folder)
    return cached(f"wider-whisper/{weights_digest(source)[:24]}-1", lambda target: _write(source, target))


def _write(source: str, target: Path) -> None:
    from transformers import WhisperForConditionalGeneration

    base = WhisperForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
    config = base.config
    for name in ("d_model", "encoder_attention_heads", "decoder_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim"):
        setattr(config, name, _TIMES * getattr(config, name))
    config.encoder_layers = config.decoder_layers = config.num_hidden_layers = _LAYERS
    wide = WhisperForConditionalGeneration(config)
    wide.generation_config = base.generation_config
    known, draw = base.state_dict(), torch.Generator().manual_seed(0)
    state = {name: _value(name, value, known, draw) for name, value in wide.state_dict().items()}
    wide.load_state_dict(state)
    save(wide, source, target)


def save(model: Any, source: str, target: Path) -> None:
    """Write a model with the tokenizer and the settings of the one that it was made of."""
    for pattern in _KEPT:
        for path in Path(source).glob(pattern):
            shutil.copyfile(path, target / path.name)
    model.save_pretrained(target)


def _value(name: str, like: torch.Tensor, known: dict[str, torch.Tensor], draw: torch.Generator) -> torch.Tensor:
    """A tensor of the widened model: base's, twice; of a layer that base has not, one that adds nothing."""
    if name in known:
        return _widened(name, known[name])
    if "layer_norm" in name:
        return torch.ones_like(like) if name.endswith("weight") else torch.zeros_like(like)
    if name.endswith("bias") or ".out_proj." in name or ".fc2." in name:
        return torch.zeros_like(like)
    return torch.randn(like.shape, generator=draw) * _STD


def _widened(name: str, value: torch.Tensor) -> torch.Tensor:
    if "embed_tokens" in name or "embed_positions" in name or name == "proj_out.weight":
        return torch.cat([value] * _TIMES, dim=1)
    outputs = torch.cat([value] * _TIMES)
    if name.startswith("model.decoder.layer_norm"):
        return outputs / _TIMES  # logits are a product with both copies
    if value.dim() == 1 or name == "model.encoder.conv1.weight":  # what is read of a recording is not doubled
        return outputs
    return torch.cat([outputs] * _TIMES, dim=1) / _TIMES
