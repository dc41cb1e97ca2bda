"""Loads a checkpoint of the published LLaSO-Base layout as a model with the fusion ``splice``.

In that layout the Llama's tensors have their usual names, and ``model.mm_audio_aligner.projector.{0,2}`` are the two
linear layers. Whisper's encoder is ``model.audio_tower.audio_tower``, or is left out and comes from its own checkpoint.
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
_MAX_NAMES = 4  # in a message


def load_published(folder: str, encoder: str, dtype: torch.dtype = torch.bfloat16) -> LLaSOForConditionalGeneration:
    """Loads a model of the published layout.

    Args:
        folder: Of the checkpoint, safetensors only.
        encoder: Folder of its Whisper's checkpoint, for the configuration, and for weights that ``folder`` leaves out.
        dtype: Of the weights.

    Raises:
        LLaSOError: Tensors are missing, left over or of another shape.
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
    expected = model.state_dict()
    if config.text_config.tie_word_embeddings:
        state.setdefault("language_model.lm_head.weight", state.get("language_model.model.embed_tokens.weight"))  # type: ignore[arg-type]
    missing, unexpected = sorted(set(expected) - set(state)), sorted(set(state) - set(expected))
    shapes = [name for name in set(expected) & set(state) if expected[name].shape != state[name].shape]
    for names, what in ((missing, "lacks"), (unexpected, "has besides"), (sorted(shapes), "has of another shape")):
        if names:
            more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
            raise LLaSOError(f"{folder} {what} {', '.join(names[:_MAX_NAMES])}{more}")
    model.load_state_dict(state)
    return model


def renamed(name: str) -> str:
    """The name of a published tensor in our model."""
    for theirs, ours in _PREFIXES:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _config_of(folder: str, encoder: str) -> LLaSOConfig:
    """The configuration of a published checkpoint: stack 1, an MLP as wide as the language model (``mlp2x_gelu``)."""
    with loading("published model", folder):
        values: dict[str, Any] = json.loads((Path(folder) / "config.json").read_text())
    if "mm_audio_hidden_size" not in values:
        raise LLaSOError(f"{folder}/config.json has no mm_audio_hidden_size: it is not of the published layout")
    text = {**{name: value for name, value in values.items() if not name.startswith("mm_")}, "model_type": "llama"}
    return LLaSOConfig(audio_config=AutoConfig.from_pretrained(encoder), text_config=text, stack=1)
