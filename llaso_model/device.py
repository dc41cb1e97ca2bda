"""The device that a process computes on, and whether it has bfloat16."""

from __future__ import annotations

import os

import torch


def own_device() -> torch.device:
    """This rank's GPU, by LOCAL_RANK, which becomes the current device; else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    torch.backends.cuda.enable_cudnn_sdp(False)  # it plans half a second for every new shape
    return device


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has bfloat16 instructions. A CPU without them is several times slower in bf16 than in fp32."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
