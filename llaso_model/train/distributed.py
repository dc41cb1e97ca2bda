"""Ranks: the process group of a run, sums over ranks, and sharded parameters.

A single process is a group of one rank and runs the same code.
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
    """This process among the ranks of a run.

    Attributes:
        rank: Its number.
        world_size: How many there are.
        device: It computes on.
        sharded: Whether FSDP2 shards the parameters; else each rank has all of them.
        control_group: Process group, on CPUs, of what ranks exchange.
        checkpoint_group: Process group of checkpoints, which are written in a thread of their own.
    """

    rank: int
    world_size: int
    device: torch.device
    sharded: bool
    control_group: Any
    checkpoint_group: Any

    @property
    def is_leader(self) -> bool:
        """Whether this is rank 0, which writes files and messages."""
        return self.rank == 0

    def all_reduce_sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sums over ranks by name. Ranks may have different names. Called on all ranks."""
        if self.world_size == 1:
            return dict(values)
        names = sorted({name for own in self.all_gather(sorted(values)) for name in own})
        sums = torch.tensor([values.get(name, 0.0) for name in names], dtype=torch.float64)
        dist.all_reduce(sums, group=self.control_group)
        return dict(zip(names, sums.tolist(), strict=True))

    def all_gather(self, value: T) -> list[T]:
        """Every rank's value, by rank. Called on all ranks."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.control_group)
        return values

    def barrier(self) -> None:
        """Waits until all ranks are here."""
        if self.world_size > 1:
            dist.barrier(group=self.control_group)


@contextmanager
def rank_context(parallel: str) -> Iterator[RankContext]:
    """The process group of the ranks that torchrun or Ray Train started, else of this process alone.

    Args:
        parallel: The recipe's ``run.parallel``: ``auto``, ``ddp`` or ``fsdp``.
    """
    rank, world_size = placed(None, None)
    device = own_device()
    one_machine = world_size == int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    with environment(torch_on_loopback() if one_machine else {}), _group(device, world_size):
        sharded = parallel == "fsdp" or (parallel == "auto" and device.type == "cuda" and world_size > 1)
        yield RankContext(rank, world_size, device, sharded, *(dist.new_group(backend="gloo") for _ in range(2)))


@contextmanager
def _group(device: torch.device, world_size: int) -> Iterator[None]:
    """The default process group. One that exists already is used and not destroyed."""
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
    """Shards a module over all ranks with FSDP2, in place. Each block's parameters are gathered when it is used.

    Args:
        module: The training module.
        context: This rank's.
        blocks: Submodules that are sharded by themselves.
        compute: Dtype of the forward.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(context.device.type, (context.world_size,))
    policy = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32)
    for block in [*blocks, module]:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    for part in module.modules():
        if hasattr(part, "set_gradient_divide_factor"):
            part.set_gradient_divide_factor(1.0)  # losses are divided by the counts of the whole step
            part.set_force_sum_reduction_for_comms(True)  # gloo has no average


def sum_gradients(parameters: Sequence[nn.Parameter], context: RankContext) -> None:
    """Sums the gradients of all ranks, in place. Does nothing for sharded parameters, which FSDP2 sums."""
    if context.sharded or context.world_size == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([parameter.grad.reshape(-1) for parameter in parameters if parameter.grad is not None])
    dist.all_reduce(flat)
    start = 0
    for parameter in parameters:
        assert parameter.grad is not None
        parameter.grad.copy_(flat[start : start + parameter.numel()].view_as(parameter))
        start += parameter.numel()
