"""Where a run works: ``run``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llaso_data.recipe.part import Part


class Run(Part):
    """Where a run works. It changes no result, but for floating-point differences between devices."""

    engine: Literal["ray", "local"] = Field(
        "ray",
        description="ray: many processes and machines. local: this process, one block after the other; shards and "
        "conversions in `num_workers` processes where they are more than 1.",
    )
    address: str | None = Field(None, description="The Ray cluster to join. Null: a local one is started.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is a GPU.")
    num_workers: int | None = Field(None, ge=1, description="The worker processes. Null: one per GPU, or per CPU core.")
    num_gpus: float | None = Field(None, ge=0, description="The GPUs of each worker. Null: 1 with cuda, else 0.")
    scratch: str | None = Field(
        None, description="The folder for archives that are fetched, on each machine. Null: that of temporary files."
    )
    disk_budget: str | None = Field(
        None,
        description="What fetched archives and what is made of them may take of a machine's disk at once: 100GB. Null: "
        "half of what is free.",
    )
    threads: int = Field(1, ge=1, description="The batches that a worker processes at once, each on a CPU core.")
