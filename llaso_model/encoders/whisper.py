"""Whisper's encoder without the padding to 30 s.

A clip's states do not depend on the other clips of its batch: frames beyond its length are zero for both convolutions,
as at the end of a batch of one, and masked in attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from llaso_data.io.hub import pretrained
from llaso_model.encoders import ENCODERS, Encoder
from llaso_model.masks import attention_mask, zero_padding


class WhisperStates(WhisperEncoder):  # type: ignore[misc]
    """Whisper's encoder without the padding to 30 s: a clip of 2 s costs 2 s."""

    def forward(
        self, input_features: torch.Tensor, feature_lengths: torch.Tensor, tail: int = 0, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States of mel frames.

        Args:
            input_features: Log-mel frames (B, mels, T).
            feature_lengths: How many frames of each clip are valid (B,).
            tail: How many frames after each clip's own are read with it, as far as there are some.
            **kwargs: Ignored.

        Returns:
            States (B, S, width), and how many of each are valid (B,).
        """
        read_lengths = (feature_lengths + tail).clamp(max=2 * self.max_source_positions)
        lengths = states_of(read_lengths, self.config)
        x_BCT = input_features[:, :, : int(read_lengths.max())].to(self.conv1.weight.dtype)
        x_BCT = zero_padding(nn.functional.gelu(self.conv1(zero_padding(x_BCT, read_lengths))), read_lengths)
        x_BST = nn.functional.gelu(self.conv2(x_BCT)).transpose(1, 2)
        hidden_BSW = x_BST + self.embed_positions.weight[: x_BST.shape[1]]
        hidden_BSW = nn.functional.dropout(hidden_BSW, p=self.dropout, training=self.training)
        mask = attention_mask(lengths, hidden_BSW)
        for layer in self.layers:
            hidden_BSW = layer(hidden_BSW, mask)
        return self.layer_norm(hidden_BSW), states_of(feature_lengths, self.config)


def states_of(frames: Any, config: Any) -> Any:
    """How many states so many mel frames give: 50 a second."""
    return (frames + 1) // 2


def _weights(key: str, model: str, folder: str, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    from transformers import WhisperModel

    options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    weights: dict[str, torch.Tensor] = pretrained(WhisperModel, key, model, folder, **options).encoder.state_dict()
    return weights


ENCODERS.register(
    WhisperConfig.model_type,
    Encoder(
        config_class=WhisperConfig,
        build=WhisperStates,
        states_of=states_of,
        features=lambda config: WhisperFeatureExtractor(feature_size=config.num_mel_bins),
        blocks=lambda module: module.layers,
        pretrained=_weights,
    ),
)
