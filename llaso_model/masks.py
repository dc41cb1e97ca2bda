"""Which positions of padded batches are valid."""

from __future__ import annotations

import torch


def valid_positions(lengths: torch.Tensor, count: int) -> torch.Tensor:
    """(B, count) bool, true within each length."""
    return torch.arange(count, device=lengths.device)[None] < lengths[:, None]


def zero_padding(x_BCT: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The same with zeros beyond each clip's length (B,)."""
    return x_BCT * valid_positions(lengths, x_BCT.shape[2])[:, None].to(x_BCT.dtype)


def attention_mask(lengths: torch.Tensor, hidden_BSW: torch.Tensor) -> torch.Tensor:
    """What is added to attention scores: nothing within a clip, the lowest number beyond, (B, 1, 1, S)."""
    outside = ~valid_positions(lengths, hidden_BSW.shape[1])
    mask = torch.zeros(outside.shape, dtype=hidden_BSW.dtype, device=hidden_BSW.device)
    return mask.masked_fill(outside, torch.finfo(hidden_BSW.dtype).min)[:, None, None]
