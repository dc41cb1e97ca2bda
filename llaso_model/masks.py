"""Which positions of padded batches are valid."""

from __future__ import annotations

import torch


def valid_positions(lengths: torch.Tensor, count: int) -> torch.Tensor:
    """A mask (B, count), true at the first ``lengths`` (B,) positions of each row."""
    return torch.arange(count, device=lengths.device)[None] < lengths[:, None]


def zero_padding(x_BCT: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """``x_BCT`` with zeros at positions beyond each clip's length (B,)."""
    return x_BCT * valid_positions(lengths, x_BCT.shape[2])[:, None].to(x_BCT.dtype)


def attention_mask(lengths: torch.Tensor, hidden_BSW: torch.Tensor) -> torch.Tensor:
    """An additive attention mask (B, 1, 1, S): 0 within each length (B,), the lowest number of the dtype beyond."""
    is_padding = ~valid_positions(lengths, hidden_BSW.shape[1])
    mask = torch.zeros(is_padding.shape, dtype=hidden_BSW.dtype, device=hidden_BSW.device)
    return mask.masked_fill(is_padding, torch.finfo(hidden_BSW.dtype).min)[:, None, None]
