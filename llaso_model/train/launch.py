"""Under Ray Train: the same function on several workers, which Ray starts again where one dies."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from llaso_data import outputs, storage
from llaso_data.errors import LLaSOError
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
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=True)
    gpus = torch.cuda.is_available() or ray.cluster_resources().get("GPU", 0) > 0
    trainer = TorchTrainer(
        partial(_in_folder, worker, os.getcwd()),
        train_loop_config={**config, "out": out},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=bool(gpus)),
        run_config=RunConfig(
            name=os.path.basename(out),
            storage_path=None if folder is None else str(folder.parent / ".ray"),
            failure_config=FailureConfig(max_failures=_FAILURES),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:
        raise LLaSOError(f"{what} under Ray failed: {str(error).splitlines()[0]}") from error


def _in_folder(worker: Callable[[dict[str, Any]], None], folder: str, config: dict[str, Any]) -> None:
    """Ray starts its workers elsewhere."""
    os.chdir(folder)
    worker(config)


def _worker(config: dict[str, Any]) -> None:
    from llaso_model.train.loop import train

    train(TrainRecipe.model_validate(config["recipe"]), config["out"])
