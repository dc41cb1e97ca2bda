"""Under Ray Train: the same function on several workers, which Ray starts again where one dies."""

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

_FAILURES = 3  # of workers, from each of which the run goes on at what it has saved


def train_on_ray(recipe: TrainRecipe, out: str, workers: int, address: str | None = None) -> None:
    """Trains on ``workers`` processes of a Ray cluster; as :func:`on_ray`."""
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
    """Calls ``worker`` on ``workers`` processes of a Ray cluster, one GPU each where there are GPUs.

    It gets the config and ``out``, a folder or URI that all of them see, in the folder that this process is in: paths
    may be relative to it. Raises LLaSOError where the run failed for good.
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
            raise LLaSOError(f"{what} under Ray failed: {str(error).splitlines()[0]}") from error


def _in_folder(
    worker: Callable[[dict[str, Any]], None], folder: str, meeting: str | None, config: dict[str, Any]
) -> None:
    """Ray starts its workers elsewhere."""
    os.chdir(folder)
    with nullcontext() if meeting is None else _group(meeting):
        worker(config)


def own_group() -> Any:
    """For Ray Train: the workers make their group themselves. Ray's is open to all who reach the machine."""
    from ray.train.backend import Backend
    from ray.train.torch import TorchConfig

    class Alone(Backend):  # type: ignore[misc]
        share_cuda_visible_devices = True  # as in Ray's own

    class AloneConfig(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> type[Backend]:
            return Alone

    return AloneConfig()


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
        yield  # needs nobody
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
