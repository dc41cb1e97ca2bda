"""A convolutional speech encoder, trained from scratch.

A clip's states do not depend on the other clips of its batch: frames beyond its length are zero wherever a convolution
or a mean would read them, as at the end of a batch of one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, WhisperFeatureExtractor
from transformers.modeling_layers import GradientCheckpointingLayer

from llaso_model.encoders import ENCODERS, Encoder
from llaso_model.masks import valid_positions, zero_padding


class ResNetEncoderConfig(PreTrainedConfig):  # type: ignore[misc]
    """The configuration of the convolutional speech encoder.

    Attributes:
        num_mel_bins: Of the log-mel frames.
        widths: Channels of each block. A block whose width differs from that of the block before halves the frames.
        kernel_size: Frames that a depthwise convolution covers.
        groups: Of the group normalisation and the grouped convolutions.
        pool: Frames after the blocks that are pooled to one state.
        pool_heads: Heads of the attention pooling.
        dropout: In training.
    """

    model_type = "llaso_resnet"

    num_mel_bins: int = 80
    widths: tuple[int, ...] | list[int] = (256,) * 4 + (512,) * 4 + (768,) * 4
    kernel_size: int = 9
    groups: int = 8
    pool: int = 1
    pool_heads: int = 8
    dropout: float = 0.1

    @property
    def hidden_size(self) -> int:
        """Width of the states."""
        return int(self.widths[-1])


class ResNetEncoder(PreTrainedModel):  # type: ignore[misc]
    """Blocks of depthwise-separable and grouped convolutions with residuals, then attention pooling in time."""

    config_class = ResNetEncoderConfig
    supports_gradient_checkpointing = True
    main_input_name = "input_features"

    def __init__(self, config: ResNetEncoderConfig) -> None:
        super().__init__(config)
        widths = [config.widths[0], *config.widths]
        self.stem = nn.Conv1d(config.num_mel_bins, widths[0], 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(_Block(before, after, config) for before, after in pairwise(widths))
        self.pool = _AttentionPool(widths[-1], config.pool, config.pool_heads)
        self.layer_norm = nn.LayerNorm(widths[-1])
        self.post_init()

    def forward(
        self, input_features: torch.Tensor, feature_lengths: torch.Tensor, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`llaso_model.encoders.whisper.WhisperStates.forward`; a tail is not read."""
        input_features = input_features[:, :, : int(feature_lengths.max())]
        x_BCT = zero_padding(input_features.to(self.stem.weight.dtype), feature_lengths)
        lengths = (feature_lengths + 1) // 2
        x_BCT = zero_padding(nn.functional.gelu(self.stem(x_BCT)), lengths)
        for block in self.blocks:
            x_BCT, lengths = block(x_BCT, lengths)
        states_BSW, lengths = self.pool(x_BCT.transpose(1, 2), lengths)
        return self.layer_norm(states_BSW), lengths


class _Block(GradientCheckpointingLayer):  # type: ignore[misc]
    """A residual block: depthwise, grouped and pointwise convolutions. It halves the frames where it widens."""

    def __init__(self, before: int, after: int, config: ResNetEncoderConfig) -> None:
        super().__init__()
        self.stride = 1 if before == after else 2
        kernel = config.kernel_size
        self.norm = _GroupNorm(config.groups, before)
        self.depthwise = nn.Conv1d(before, before, kernel, stride=self.stride, padding=kernel // 2, groups=before)
        self.grouped = nn.Conv1d(before, 2 * after, 1, groups=config.groups)
        self.pointwise = nn.Conv1d(2 * after, after, 1)
        self.shortcut = nn.Identity() if before == after else nn.Conv1d(before, after, 2, stride=2)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BCT: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y_BCT = self.depthwise(self.norm(x_BCT, lengths))
        y_BCT = self.dropout(self.pointwise(nn.functional.gelu(self.grouped(y_BCT))))
        if self.stride == 2:
            lengths = (lengths + 1) // 2
            x_BCT = nn.functional.pad(x_BCT, (0, x_BCT.shape[2] % 2))
        return zero_padding(self.shortcut(x_BCT) + y_BCT, lengths), lengths


class _GroupNorm(nn.GroupNorm):
    """Group normalisation whose statistics are those of the valid frames."""

    def forward(self, x_BCT: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        batch, channels, frames = x_BCT.shape
        x = x_BCT.float().reshape(batch, self.num_groups, -1, frames)
        is_valid = valid_positions(lengths, frames)[:, None, None].float()
        count = (lengths.clamp(min=1) * (channels // self.num_groups)).float()[:, None, None, None]
        mean = (x * is_valid).sum(dim=(2, 3), keepdim=True) / count
        variance = ((x - mean).square() * is_valid).sum(dim=(2, 3), keepdim=True) / count
        scaled = ((x - mean) * torch.rsqrt(variance + self.eps) * is_valid).reshape(batch, channels, frames)
        normalized = scaled * self.weight[:, None].float() + self.bias[:, None].float()
        return zero_padding(normalized.to(x_BCT.dtype), lengths)


class _AttentionPool(nn.Module):
    """Pools each ``size`` frames to one: their mean, with weights that each head computes from the frames."""

    def __init__(self, width: int, size: int, heads: int) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.score = nn.Linear(width, heads)
        self.value = nn.Linear(width, width)

    def forward(self, x_BTW: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch, frames, width = x_BTW.shape
        x_BTW = nn.functional.pad(x_BTW, (0, 0, 0, -frames % self.size))
        pooled = x_BTW.shape[1] // self.size
        is_valid = valid_positions(lengths, x_BTW.shape[1]).view(batch, pooled, self.size, 1)
        score = self.score(x_BTW).view(batch, pooled, self.size, self.heads)
        weight = torch.softmax(score.masked_fill(~is_valid, torch.finfo(score.dtype).min), dim=2)
        value = self.value(x_BTW).view(batch, pooled, self.size, self.heads, -1)
        return (weight[..., None] * value).sum(dim=2).reshape(batch, pooled, width), -(-lengths // self.size)


def states_of(frames: Any, config: Any) -> Any:
    """How many states so many mel frames give. The stem and each widening block halve them; the pooling follows."""
    frames = (frames + 1) // 2
    for before, after in pairwise(config.widths):
        frames = (frames + 1) // 2 if before != after else frames
    return -(-frames // config.pool)


ENCODERS.register(
    ResNetEncoderConfig.model_type,
    Encoder(
        config_class=ResNetEncoderConfig,
        build=ResNetEncoder,
        states_of=states_of,
        features=lambda config: WhisperFeatureExtractor(feature_size=config.num_mel_bins),
        blocks=lambda module: module.blocks,
    ),
)
