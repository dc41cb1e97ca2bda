"""Linear layers whose weights lie in the layout that this machine multiplies fastest, and whether it has bfloat16.

On CPUs oneDNN multiplies matrices of one row up to many faster than torch's default where the weights are
reordered once (``bench/answering.py --pieces``). The sums are the same up to their order. The reordered weights are a
second copy, so they are made only where memory allows.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

_X86 = ("x86_64", "amd64")
_ROWS = 32  # oneDNN is told to expect so many; it takes any
_FEWEST_ROWS = 4  # fewer take oneDNN longer than these
_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256", "LRU_CACHE_CAPACITY": "64"}
"""How many kernels oneDNN, and PyTorch's layer above it, keep. There is one for each number of rows, of about 0.3 MiB,
and clips are of all lengths: with 1,024 in each, their default, memory grows by 1 GiB. Both read this once."""
_SHARE_OF_MEMORY = 0.5  # of what is available, that copies may take


class Linear:
    """One or several ``nn.Linear`` of the same input as one product.

    Args:
        layers: Their outputs are concatenated.
        packs: Whether to reorder the weights for oneDNN.
        dtype: What is computed in, inputs are converted to and outputs have; None: that of the weights.
    """

    def __init__(self, *layers: nn.Linear, packs: bool, dtype: torch.dtype | None = None) -> None:
        self._dtype = dtype or layers[0].weight.dtype
        self._weight: Any = None  # a copy, beside which the layers need not be kept
        self._packs = packs
        self._layers: tuple[nn.Linear, ...] = ()
        if not packs and self._dtype == layers[0].weight.dtype:
            self._layers = layers
            return
        weight, bias = torch.cat([layer.weight.detach() for layer in layers]).to(self._dtype), _joined_bias(layers)
        self._weight, self._bias = weight, None if bias is None else bias.to(self._dtype)
        if packs:
            limit_kernels()
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)

    def __call__(self, x_NI: torch.Tensor, activation: str = "none") -> torch.Tensor:
        """The outputs of all layers, side by side (N, O).

        Args:
            x_NI: Inputs.
            activation: ``none``, or ``gelu`` without approximation.
        """
        x_NI = x_NI.to(self._dtype)
        if self._packs:
            algorithm = "none" if activation == "gelu" else ""
            count = len(x_NI)
            if count < _FEWEST_ROWS:
                x_NI = nn.functional.pad(x_NI, (0, 0, 0, _FEWEST_ROWS - count))
            packed: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
                x_NI, self._weight, self._bias, activation, [], algorithm
            )
            return packed[:count]
        if self._weight is not None:
            out = nn.functional.linear(x_NI, self._weight, self._bias)
        else:
            outs = [layer(x_NI) for layer in self._layers]
            out = outs[0] if len(outs) == 1 else torch.cat(outs, dim=-1)
        return nn.functional.gelu(out) if activation == "gelu" else out


def limit_kernels() -> None:
    """Bound how many kernels oneDNN and PyTorch keep. It has an effect before the first of them only."""
    for name, count in _KEPT.items():
        os.environ.setdefault(name, count)


def _joined_bias(layers: Sequence[nn.Linear]) -> torch.Tensor | None:
    """The biases of layers, zero where one has none; None: no layer has one."""
    if all(layer.bias is None for layer in layers):
        return None
    return torch.cat(
        [layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in layers]
    ).detach()


def is_plain(layer: Any) -> bool:
    """Whether a layer is a linear layer and nothing else: no adapter, no hook, no quantised weight."""
    return (
        type(layer) is nn.Linear
        and type(layer.weight.data) is torch.Tensor
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
    )


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has bfloat16 instructions. A CPU without them is several times slower in bf16 than in fp32."""
    if device.type != "cpu":
        return True
    if platform.machine().lower() not in _X86:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    # oneDNN takes bfloat16 from AVX-512 on, and emulates it where the processor has no instruction for it.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def has_vnni() -> bool:
    """Whether the CPU has AVX-512's instructions for products of int8."""
    return platform.machine().lower() in _X86 and torch.cpu._is_vnni_supported()


def can_pack(model: nn.Module) -> bool:
    """Whether oneDNN has a faster layout for a model's weights, and there is memory for a copy of them."""
    weights = list(model.parameters())
    if any(one.device.type != "cpu" for one in weights) or not all(map(can_reorder, {one.dtype for one in weights})):
        return False
    return sum(one.nbytes for one in weights) < _SHARE_OF_MEMORY * _available_bytes()


def can_reorder(dtype: torch.dtype) -> bool:
    """Whether oneDNN has a layout of its own for weights of a dtype on this CPU."""
    if not torch.backends.mkldnn.is_available() or platform.machine().lower() not in _X86:
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and computes_bf16(torch.device("cpu")))


def _available_bytes() -> float:
    try:
        with open("/proc/meminfo") as lines:
            found = next(line for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux
        return float("inf")
    return float(found.split()[1]) * 1024
