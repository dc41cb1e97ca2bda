"""The device that a process computes on."""

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
