"""The two engines behind one name: ``ray`` and ``local`` give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from llaso_data.recipe import Observe, Run

if TYPE_CHECKING:  # else conversions would import what only observing needs
    from llaso_data.pipeline.blocks import PlannedBlock
    from llaso_data.pipeline.observe import BlockResult
    from llaso_data.whisper.engine import Instructions

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Machines:
    """What the machines that observe have.

    Attributes:
        device: ``cpu`` or ``cuda``: what observers compute on.
        instructions: What the processors of all of them have.
    """

    device: str
    instructions: Instructions


def machines(run: Run) -> Machines:
    """Ask the machines that the engine has now what they have.

    Raises:
        LLaSOError: A device is asked for that is not there, or there is no connection to the cluster.
    """
    from llaso_data.whisper.engine import resolve_device

    if run.engine == "local":
        return Machines(resolve_device(run), instructions(run))
    from llaso_data.pipeline import ray_cluster

    with ray_cluster.cluster(run):
        if ray_cluster.gpus_per_actor(run) or run.device == "cuda":
            return Machines("cuda", frozenset())
        return Machines("cpu", instructions(run))


def instructions(run: Run) -> Instructions:
    """What the processors of all machines have that the engine has now.

    Raises:
        LLaSOError: There is no connection to the cluster.
    """
    from llaso_data.whisper.engine import own_instructions

    if run.engine == "local":
        return own_instructions()
    from llaso_data.pipeline import ray_cluster

    with ray_cluster.cluster(run):
        return frozenset.intersection(*ray_cluster.ask_nodes(own_instructions))


def observe(blocks: Iterable[PlannedBlock], settings: Observe, run: Run, out: str) -> Iterator[BlockResult]:
    """Observes blocks with the engine that ``run`` names.

    Args:
        blocks: Planned blocks, taken from the iterator as they are needed.
        settings: What is observed, and with which models.
        run: The engine, its devices, threads and workers.
        out: Folder or URI of build-align's output.

    Returns:
        A result per block, in no fixed order. The block's file is committed when its result comes.

    Raises:
        LLaSOError: A model or stage cannot be loaded or fails, or workers keep dying.
    """
    if run.engine == "local":
        from llaso_data.pipeline import local

        return local.observe(blocks, settings, run, out)
    from llaso_data.pipeline import ray

    return ray.observe(blocks, settings, run, out)


def map_unordered(function: Callable[[T], R], tasks: Iterable[T], run: Run) -> Iterator[R]:
    """Applies ``function`` to every task with the engine that ``run`` names; the results are in no fixed order."""
    if run.engine == "local":
        from llaso_data.pipeline import local

        return local.map_unordered(function, tasks, run)
    from llaso_data.pipeline import ray

    return ray.map_unordered(function, tasks, run)


def connected(run: Run) -> AbstractContextManager[None]:
    """While it is open the engine stays: a cluster that several calls need is started, or joined, once."""
    if run.engine == "local":
        return nullcontext()
    from llaso_data.pipeline.ray_cluster import cluster

    return cluster(run)
