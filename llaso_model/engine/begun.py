"""Answers that begin with given tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from llaso_model.fusion import FUSIONS


def continued(
    inputs: dict[str, torch.Tensor], begun: Sequence[int], config: Any
) -> tuple[dict[str, torch.Tensor], tuple[int, ...]]:
    """The inputs of one prompt with the tokens that its answer begins with.

    Where speech attends to the text, as with cross-attention, it attends to the prompt only. These tokens are then read
    after the prompt, as those that a model generates.

    Args:
        inputs: A batch of one, by their names in ``forward``.
        begun: Token ids.
        config: The model's configuration.

    Returns:
        The inputs, and the tokens that are to be read after them.
    """
    if not begun or FUSIONS[config.fusion].token_per_window:
        return inputs, tuple(begun)
    tokens = torch.tensor([list(begun)], dtype=inputs["input_ids"].dtype)
    more = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    return {name: torch.cat([value, more[name]], 1) if name in more else value for name, value in inputs.items()}, ()
