"""Ranks: the process group of a run, sums over ranks, and how the model is spread over them.

One process is a group of one: every path is the same code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from llaso_data.io.loopback import environment, torch_on_loopback
from llaso_data.stream.loader import placed
from llaso_model.device import own_device

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RankContext:
    """Where this process stands. ``sharded``: FSDP2 spreads the parameters, else each rank has all of them."""

    rank: int
    world_size: int
    device: torch.device
    sharded: bool
    control_group: Any  # the group, on CPUs, of what ranks tell each other
    checkpoint_group: Any  # that of checkpoints, which are written in a thread beside

    @property
    def is_leader(self) -> bool:
        return self.rank == 0

    def all_reduce_sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sums over ranks by name; ranks may have different names."""
        if self.world_size == 1:
            return dict(values)
        names = sorted({name for own in self.all_gather(sorted(values)) for name in own})
        sums = torch.tensor([values.get(name, 0.0) for name in names], dtype=torch.float64)
        dist.all_reduce(sums, group=self.control_group)
        return dict(zip(names, sums.tolist(), strict=True))

    def all_gather(self, value: T) -> list[T]:
        """Every rank's value, by rank."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        dist.all_gather_object(found, value, group=self.control_group)
        return found

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.barrier(group=self.control_group)


@contextmanager
def rank_context(parallel: str) -> Iterator[RankContext]:
    """The process group of what torchrun or Ray Train started, else of this process alone."""
    rank, world_size = placed(None, None)
    device = own_device()
    one_machine = world_size == int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    with environment(torch_on_loopback() if one_machine else {}), _group(device, world_size):
        sharded = parallel == "fsdp" or (parallel == "auto" and device.type == "cuda" and world_size > 1)
        yield RankContext(rank, world_size, device, sharded, *(dist.new_group(backend="gloo") for _ in range(2)))


@contextmanager
def _group(device: torch.device, world_size: int) -> Iterator[None]:
    """The default group; one that is there already stays."""
    if dist.is_initialized():
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if world_size > 1:
        dist.init_process_group(backend)
    else:
        dist.init_process_group(backend, store=torch._C._distributed_c10d.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def shard_parameters(module: Any, context: RankContext, blocks: Sequence[nn.Module], compute: torch.dtype) -> None:
    """FSDP2 over all ranks: each block's parameters are gathered when it is used. In place."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(context.device.type, (context.world_size,))
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
    for block in [*blocks, module]:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    for part in module.modules():
        if hasattr(part, "set_gradient_divide_factor"):
            part.set_gradient_divide_factor(1.0)  # losses are divided already, by what the whole step has
            part.set_force_sum_reduction_for_comms(True)  # gloo knows no other


def sum_gradients(parameters: Sequence[nn.Parameter], context: RankContext) -> None:
    """Adds up the gradients of all ranks, of a model that every rank has whole."""
    if context.sharded or context.world_size == 1:
        return
    for one in parameters:
        if one.grad is None:
            one.grad = torch.zeros_like(one)
    flat = torch.cat([one.grad.reshape(-1) for one in parameters if one.grad is not None])
    dist.all_reduce(flat)
    at = 0
    for one in parameters:
        assert one.grad is not None
        one.grad.copy_(flat[at : at + one.numel()].view_as(one))
        at += one.numel()
