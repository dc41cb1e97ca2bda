"""The published LLaSO-Base checkpoint's layout, read as a model of ours with the fusion ``splice``.

There, a Llama's tensors have their usual names; ``model.mm_audio_aligner.projector.{0,2}`` are the two linear layers;
Whisper's encoder is ``model.audio_tower.audio_tower``, or was left out and comes from its own checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from llaso_data.errors import LLaSOError
from llaso_data.io.hub import loading, weights
from llaso_model.configuration import LLaSOConfig
from llaso_model.encoders import encoder_weights
from llaso_model.modeling.llaso import LLaSOForConditionalGeneration

_PREFIXES = (
    ("model.mm_audio_aligner.", "aligner."),
    ("model.audio_tower.audio_tower.", "audio_tower."),
    ("model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)
_SHOWN = 4


def load_published(folder: str, encoder: str, dtype: torch.dtype = torch.bfloat16) -> LLaSOForConditionalGeneration:
    """The model of a folder in the published layout, safetensors only; ``encoder`` is its Whisper's folder.

    Raises LLaSOError where tensors are missing, left over or of another shape.
    """
    from safetensors.torch import load_file

    config = _config_of(folder, encoder)
    state: dict[str, torch.Tensor] = {}
    for file in weights(folder):
        with loading("published model", file):
            state |= {renamed(name): value for name, value in load_file(file).items()}
    if not state:
        raise LLaSOError(f"{folder} has no *.safetensors; weights in pickle files are not loaded")
    model: LLaSOForConditionalGeneration = LLaSOForConditionalGeneration(config).to(dtype)
    if not any(name.startswith("audio_tower.") for name in state):
        own = encoder_weights("encoder", encoder, encoder, config.audio_config, dtype)
        state |= {f"audio_tower.{name}": value for name, value in own.items()}
    wanted = model.state_dict()
    if config.text_config.tie_word_embeddings:
        state.setdefault("language_model.lm_head.weight", state.get("language_model.model.embed_tokens.weight"))  # type: ignore[arg-type]
    missing, left = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    shapes = [name for name in set(wanted) & set(state) if wanted[name].shape != state[name].shape]
    for names, what in ((missing, "lacks"), (left, "has besides"), (sorted(shapes), "has of another shape")):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise LLaSOError(f"{folder} {what} {', '.join(names[:_SHOWN])}{more}")
    model.load_state_dict(state)
    return model


def renamed(name: str) -> str:
    """Our name of a published tensor."""
    for theirs, ours in _PREFIXES:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _config_of(folder: str, encoder: str) -> LLaSOConfig:
    """Stack 1 and an MLP as wide as the language model, as ``mlp2x_gelu`` is."""
    with loading("published model", folder):
        values: dict[str, Any] = json.loads((Path(folder) / "config.json").read_text())
    if "mm_audio_hidden_size" not in values:
        raise LLaSOError(f"{folder}/config.json has no mm_audio_hidden_size: it is not of the published layout")
    text = {**{name: value for name, value in values.items() if not name.startswith("mm_")}, "model_type": "llama"}
    return LLaSOConfig(audio_config=AutoConfig.from_pretrained(encoder), text_config=text, stack=1)
