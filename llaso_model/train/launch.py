"""Training under Ray Train: the same function on several workers. Ray starts workers again that died."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import outputs, storage
from llaso_data.pipeline.ray_cluster import connection
from llaso_model.train.config import TrainRecipe

_FAILURES = 3  # of workers; after each the run continues from its last checkpoint


def train_on_ray(recipe: TrainRecipe, out: str, workers: int, address: str | None = None) -> None:
    """Trains on ``workers`` processes of a Ray cluster. See :func:`on_ray`."""
    outputs.on_disk(out, "a run of training")
    on_ray(_worker, {"recipe": recipe.model_dump(mode="json")}, out, workers, address, "training")


def on_ray(
    worker: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    out: str,
    workers: int,
    address: str | None,
    what: str,
) -> None:
    """Calls a function on several processes of a Ray cluster, one GPU each where there are GPUs.

    Args:
        worker: Takes ``config`` with ``out`` added. Its working directory is that of this process.
        config: Its argument.
        out: A folder or URI that all workers see.
        workers: How many processes.
        address: A cluster to join; None: a local one is started.
        what: What errors call the run.

    Raises:
        LLaSOError: The run failed after all restarts.
    """
    import ray
    import torch
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    out = storage.absolute(out)
    folder = Path(out) if storage.is_local(out) else None  # Ray keeps its own notes in the user's folder then
    run_config = RunConfig(
        name=os.path.basename(out),
        storage_path=None if folder is None else str(folder.parent / ".ray"),
        failure_config=FailureConfig(max_failures=_FAILURES),
    )
    with (
        connection(address, "--launcher none needs no Ray", log_to_driver=True) as here,
        tempfile.TemporaryDirectory() as meeting,
    ):
        gpus = torch.cuda.is_available() or ray.cluster_resources().get("GPU", 0) > 0
        trainer = TorchTrainer(
            partial(_in_folder, worker, os.getcwd(), meeting if here else None),
            train_loop_config={**config, "out": out},
            torch_config=own_group() if here else None,
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=bool(gpus)),
            run_config=run_config,
        )
        try:
            trainer.fit()
        except Exception as error:
            raise LLaSOError(f"{what} under Ray failed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Why a run failed: the worker's own error for the user where there is one, else the first line of Ray's."""
    of_workers: dict[int, Exception] = getattr(error, "worker_failures", {})
    told = [str(failure) for _, failure in sorted(of_workers.items()) if isinstance(failure, LLaSOError)]
    return told[0] if told else str(error).splitlines()[0]


def _in_folder(
    worker: Callable[[dict[str, Any]], None], folder: str, meeting: str | None, config: dict[str, Any]
) -> None:
    """Calls the worker in that folder: Ray starts its processes elsewhere."""
    os.chdir(folder)
    with nullcontext() if meeting is None else _group(meeting):
        worker(config)


def own_group() -> Any:
    """A Torch configuration for Ray Train whose workers make their process group themselves.

    Ray's own group listens to everybody who reaches the machine.
    """
    from ray.train.backend import Backend
    from ray.train.torch import TorchConfig

    class OwnGroupBackend(Backend):  # type: ignore[misc]
        share_cuda_visible_devices = True  # as in Ray's own

    class OwnGroupConfig(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> type[Backend]:
            return OwnGroupBackend

    return OwnGroupConfig()


@contextmanager
def _group(meeting: str) -> Iterator[None]:
    """The process group of the workers of this machine, who meet in a folder that only their user sees."""
    import torch
    import torch.distributed as dist
    from ray import train
    from ray.train.collective import broadcast_from_rank_zero

    context = train.get_context()
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    if (world_size := context.get_world_size()) == 1:
        yield  # a group of one needs no store
        return
    file = broadcast_from_rank_zero(secrets.token_hex(8))  # another one for every start
    store = torch._C._distributed_c10d.FileStore(str(Path(meeting, file)), world_size)
    dist.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        store=store,
        rank=context.get_world_rank(),
        world_size=world_size,
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def _worker(config: dict[str, Any]) -> None:
    from llaso_model.train.loop import train

    train(TrainRecipe.model_validate(config["recipe"]), config["out"])
