"""Which device a process computes on, and what that is good at."""

from __future__ import annotations

import os

import torch


def own_device() -> torch.device:
    """This rank's GPU, which becomes the current one; else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every shape, for half a second
    return device


def computes_bf16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16 by itself. A CPU that does not takes several times as long as in fp32."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
