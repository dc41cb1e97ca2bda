"""Whisper's encoder and the projection, read without padding: the frames of all clips lie in one line.

The linear layers, which cost most, see all clips at once. Convolutions and attention see each clip by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers.activations import GELUActivation
from transformers.models.whisper.modeling_whisper import WhisperEncoderLayer

from llaso_data.whisper.linear import Linear, is_plain
from llaso_model.configuration import MEL_FRAMES_PER_S, states_of
from llaso_model.encoders.whisper import WhisperStates


class FlatSpeech:
    """Encodes clips with the weights of a model.

    Args:
        model: One that :func:`is_plain_speech_model` accepts.
        packs: Whether its weights are reordered for this machine.
    """

    def __init__(self, model: Any, packs: bool) -> None:
        self._tower, self._config = model.audio_tower, model.config
        self._tail = round(model.config.tail_s * MEL_FRAMES_PER_S)
        self._layers = [_Layer(layer, packs) for layer in self._tower.layers]
        first, self._act, second = model.aligner.projector
        self._stack = int(model.aligner.stack)
        self._first, self._second = Linear(first, packs=packs), Linear(second, packs=packs)

    def __call__(self, features: Sequence[torch.Tensor], lengths: Sequence[int]) -> list[torch.Tensor]:
        """Embeddings of clips.

        Args:
            features: Log-mel frames (mels, T) of each clip.
            lengths: How many of its frames are valid.

        Returns:
            For each clip, its embeddings (count, width of the language model).
        """
        clips = [self._before_layers(one, length) for one, length in zip(features, lengths, strict=True)]
        sizes = [len(clip) for clip in clips]
        hidden_NW = torch.cat(clips)
        for layer in self._layers:
            hidden_NW = layer(hidden_NW, sizes)
        stacked = [
            self._stacked(states, int(states_of(length, self._config.audio_config)))
            for states, length in zip(self._tower.layer_norm(hidden_NW).split(sizes), lengths, strict=True)
        ]
        projected = self._second(self._act(self._first(torch.cat(stacked))))
        return list(projected.split([len(one) for one in stacked]))

    def count(self, length: int) -> int:
        """How many embeddings a clip of so many valid frames has."""
        return -(-int(states_of(length, self._config.audio_config)) // self._stack)

    def _before_layers(self, features: torch.Tensor, length: int) -> torch.Tensor:
        """What enters the encoder's layers (states, width): see :meth:`WhisperStates.forward`."""
        tower = self._tower
        read = min(length + self._tail, 2 * tower.max_source_positions)
        x_1CT = features[None, :, :read].to(tower.conv1.weight.dtype)
        x_1CT = nn.functional.gelu(tower.conv2(nn.functional.gelu(tower.conv1(x_1CT))))
        hidden_SW: torch.Tensor = x_1CT[0].T + tower.embed_positions.weight[: x_1CT.shape[2]]
        return hidden_SW

    def _stacked(self, states_SW: torch.Tensor, count: int) -> torch.Tensor:
        """So many states, concatenated ``stack`` at a time: see :meth:`Splice.forward`."""
        states_SW = states_SW[:count]
        return nn.functional.pad(states_SW, (0, 0, 0, -count % self._stack)).reshape(
            -1, self._stack * states_SW.shape[1]
        )


class _Layer:
    """A layer of the encoder on clips in a line."""

    def __init__(self, layer: Any, packs: bool) -> None:
        attention = layer.self_attn
        self._layer, self._heads = layer, attention.num_heads
        self._qkv = Linear(attention.q_proj, attention.k_proj, attention.v_proj, packs=packs)
        self._out = Linear(attention.out_proj, packs=packs)
        self._fc1, self._fc2 = Linear(layer.fc1, packs=packs), Linear(layer.fc2, packs=packs)

    def __call__(self, x_NW: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
        projected = self._qkv(self._layer.self_attn_layer_norm(x_NW))
        attended = torch.cat([self._attend(clip) for clip in projected.split(sizes)])
        x_NW = x_NW + self._out(attended)
        return x_NW + self._fc2(self._fc1(self._layer.final_layer_norm(x_NW), "gelu"))

    def _attend(self, projected_S3W: torch.Tensor) -> torch.Tensor:
        count = len(projected_S3W)
        query, key, value = projected_S3W.view(count, 3, self._heads, -1).permute(1, 2, 0, 3)[:, None]
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        return attended[0].transpose(0, 1).reshape(count, -1)


def is_plain_speech_model(model: Any) -> bool:
    """Whether :class:`FlatSpeech` computes what a model's encoder and projection compute."""
    tower, projector = model.audio_tower, model.aligner.projector
    linears = [one for part in (tower, projector) for one in part.modules() if hasattr(one, "in_features")]
    return (
        type(tower) is WhisperStates
        and all(type(layer) is WhisperEncoderLayer for layer in tower.layers)
        and all(isinstance(layer.activation_fn, GELUActivation | nn.GELU) for layer in tower.layers)
        and all(is_plain(one) for one in linears)
    )
